# SPDX-License-Identifier: Apache-2.0
"""The best pairs together, not the first that come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from mllmseg_ros.geometry.instances import Instance
from mllmseg_ros.segmentation import Status, build_segmentation
from mllmseg_ros.tracking.association import Observation, Track, assign_pairs, associate


def disc(u: float, v: float, radius: float = 10) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:100, :200]
    return np.asarray((columns - u) ** 2 + (rows - v) ** 2 <= radius**2)


def instance(u: float, v: float) -> Instance:
    mask = disc(u, v)
    segmentation = build_segmentation(
        "the ball", Status.FOUND, 0.9, 0.9, mask.astype(np.float32), mask
    )
    return Instance(expression_index=0, instance_index=0, segmentation=segmentation, position=None)


def observation(name: str, u: float, v: float, *, expression: str = "the ball") -> Observation:
    mask = disc(u, v)
    centre = np.array([u, v])
    track = Track(
        track_id=name,
        expression=expression,
        seen_ns=0,
        centre_uv=centre,
        area_px=float(mask.sum()),
        split_from=None,
    )
    return Observation(track=track, mask=mask, centre_uv=centre)


def names(*instances: Instance, on: list[Observation]) -> list[str]:
    return [track.track_id for track in associate(instances, on, 0) if track is not None]


def test_instances_get_the_tracks_with_the_largest_sum() -> None:
    # The first instance is nearest to b, but then the second could have neither.
    a, b = observation("a", 60, 50), observation("b", 76, 50)
    assert names(instance(69, 50), instance(92, 50), on=[a, b]) == ["a", "b"]


def test_what_is_out_of_reach_or_named_otherwise_gets_a_new_track() -> None:
    far, other = observation("far", 20, 50), observation("other", 150, 50, expression="the box")
    (new,) = names(instance(150, 50), on=[far, other])
    assert new not in ("far", "other")


def test_the_sum_counts_not_who_comes_first() -> None:
    assert assign_pairs(np.array([[0.9, 0.8], [0.8, 0.1]])) == [(0, 1), (1, 0)]


def test_a_pair_without_gain_is_left_out() -> None:
    assert assign_pairs(np.array([[0.0, 0.0], [0.0, 0.4]])) == [(1, 1)]
    assert assign_pairs(np.zeros((0, 3))) == []
    assert assign_pairs(np.zeros((3, 0))) == []


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 6), (6, 3), (5, 5)])
def test_no_other_pairing_is_better(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        gain = rng.random(shape) * (rng.random(shape) < 0.6)
        pairs = assign_pairs(gain)
        rows, columns = [r for r, _ in pairs], [c for _, c in pairs]
        assert len(set(rows)) == len(rows)
        assert len(set(columns)) == len(columns)
        wide = gain if shape[0] <= shape[1] else gain.T
        best = max(
            sum(wide[row, column] for row, column in enumerate(chosen))
            for chosen in itertools.permutations(range(wide.shape[1]), wide.shape[0])
        )
        assert sum(gain[pair] for pair in pairs) == pytest.approx(best)
