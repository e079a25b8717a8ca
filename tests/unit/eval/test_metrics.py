# SPDX-License-Identifier: Apache-2.0
"""The metrics on cases small enough to compute by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mllmseg_ros.eval.metrics import (
    compare_mask,
    gres_scores,
    matthews_correlation,
    precision_at_half,
    res_scores,
    xywh_to_target_box,
)


def square(x0: int, x1: int, value: float = 1.0) -> np.ndarray:
    """Columns x0 to x1 (not included) of rows 0 to 9, in a 20 x 20 image."""
    mask = np.zeros((20, 20), np.float32)
    mask[:10, x0:x1] = value
    return mask


def test_counts_and_box() -> None:
    comparison = compare_mask(square(0, 10), square(5, 15))
    assert (comparison.intersection_px, comparison.union_px) == (50, 150)
    assert (comparison.predicted_px, comparison.target_px) == (100, 100)
    # Index boxes: 9 x 9 each, 4 columns in common.
    assert comparison.box_iou == pytest.approx(36 / (81 + 81 - 36))


def test_exactly_half_is_foreground_but_not_in_the_box() -> None:
    comparison = compare_mask(square(0, 10, 0.5), square(0, 10))
    assert comparison.intersection_px == 100
    assert comparison.box_iou == 0


def test_gres_rules() -> None:
    right = compare_mask(square(0, 10), square(0, 10))
    wrongly_rejected = compare_mask(square(0, 5), square(0, 10), rejected=True)
    rightly_rejected = compare_mask(square(0, 20), square(0, 0), rejected=True)
    seen_for_nothing = compare_mask(square(0, 20), square(0, 0))
    scores = gres_scores([right, wrongly_rejected, rightly_rejected, seen_for_nothing])
    assert scores.c_iou == pytest.approx(100 * (100 + 50) / (100 + 100 + 200))
    assert scores.g_iou == pytest.approx(100 * (1 + 0.5 + 1 + 0) / 4)
    assert scores.n_acc == scores.t_acc == 50
    assert precision_at_half([right, seen_for_nothing]) == 50


def test_nothing_to_count_is_nan() -> None:
    scores = gres_scores([compare_mask(square(0, 10), square(0, 10))])
    assert math.isnan(scores.n_acc)
    assert scores.t_acc == 100
    assert math.isnan(precision_at_half([]))


def test_res_averages_images_first() -> None:
    right, wrong = (
        compare_mask(square(0, 10), square(0, 10)),
        compare_mask(square(10, 20), square(0, 10)),
    )
    scores = res_scores([[right], [right, wrong, wrong, wrong]])
    assert scores.g_iou == pytest.approx(100 * (1 + 0.25) / 2, rel=1e-4)
    assert scores.c_iou == pytest.approx(100 * 200 / (200 + 3 * 200))


def test_annotated_boxes_lose_precision_as_in_the_reference() -> None:
    assert xywh_to_target_box([100.03, 0, 2000.4, 1]) == (100.0, 0.0, 2100.0, 1.0)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="target"):
        compare_mask(square(0, 10), np.zeros((4, 4)))


def test_presence_is_a_correlation() -> None:
    def correlation(
        present_found: int, present_missed: int, absent_found: int, absent: int
    ) -> float:
        truth = [True] * (present_found + present_missed) + [False] * (absent_found + absent)
        found = [True] * present_found + [False] * present_missed
        return matthews_correlation(truth, found + [True] * absent_found + [False] * absent)

    assert correlation(5, 0, 0, 5) == pytest.approx(100)
    assert correlation(0, 5, 5, 0) == pytest.approx(-100)
    assert correlation(4, 4, 2, 2) == pytest.approx(0, abs=1e-9)
    # (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))
    assert correlation(8, 2, 1, 4) == pytest.approx(100 * 30 / math.sqrt(9 * 10 * 5 * 6))
    assert correlation(5, 0, 5, 0) == 0  # it finds everything
    assert math.isnan(correlation(5, 1, 0, 0))
    assert math.isnan(matthews_correlation([], []))
