# SPDX-License-Identifier: Apache-2.0
"""The best pairs together, not the first that come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mllmseg_ros.tracking.assignment import best_pairs


def test_the_sum_counts_not_who_comes_first() -> None:
    assert best_pairs(np.array([[0.9, 0.8], [0.8, 0.1]])) == [(0, 1), (1, 0)]


def test_what_has_no_gain_is_no_pair() -> None:
    assert best_pairs(np.array([[0.0, 0.0], [0.0, 0.4]])) == [(1, 1)]
    assert best_pairs(np.zeros((0, 3))) == []
    assert best_pairs(np.zeros((3, 0))) == []


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 6), (6, 3), (5, 5)])
def test_no_other_pairing_is_better(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        gain = rng.random(shape) * (rng.random(shape) < 0.6)
        pairs = best_pairs(gain)
        rows, columns = [r for r, _ in pairs], [c for _, c in pairs]
        assert len(set(rows)) == len(rows)
        assert len(set(columns)) == len(columns)
        wide = gain if shape[0] <= shape[1] else gain.T
        best = max(
            sum(wide[row, column] for row, column in enumerate(chosen))
            for chosen in itertools.permutations(range(wide.shape[1]), wide.shape[0])
        )
        assert sum(gain[pair] for pair in pairs) == pytest.approx(best)
