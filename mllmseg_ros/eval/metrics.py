# SPDX-License-Identifier: Apache-2.0
"""The paper's metrics as its own code computes them, quirks included. NumPy only.

RES: every expression has a target. GRES: some have none, and the model may reject them. Each mask
is reduced to a few numbers, so any number of images fits in memory.

Source: arXiv 2508.04107, section 4; gRefCOCO's evaluation; docs/reference.md, section 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class MaskComparison:
    """One predicted mask against its target."""

    intersection_px: int
    union_px: int
    predicted_px: int
    target_px: int  # 0: the expression has no target
    box_iou: float  # [0, 1]
    rejected: bool  # by the model


@dataclass(frozen=True, kw_only=True)
class ResScores:
    """Percent."""

    c_iou: float
    g_iou: float
    precision_at_half: float  # boxes with IoU > 0.5


@dataclass(frozen=True, kw_only=True)
class GresScores:
    """Percent; NaN where there is no expression to count."""

    c_iou: float
    g_iou: float
    n_acc: float  # rejected expressions of those without a target
    t_acc: float  # expressions not rejected, of those with a target
    presence: float  # Matthews correlation of "there / not there", percent


def compare_mask(
    probability: NDArray[np.floating[Any]],
    target: NDArray[Any],
    *,
    rejected: bool = False,
    target_box: Box | None = None,
) -> MaskComparison:
    """Compare one predicted mask with the truth.

    Args:
        probability: (H, W) in [0, 1], foreground at 0.5 and more; for the box above 0.5.
        target: (H, W), foreground above 0.
        rejected: the model's decision.
        target_box: x0, y0, x1, y1 of an annotation; default is the target's own.

    Raises:
        ValueError: if the two differ in size.
    """
    if probability.shape != target.shape:
        raise ValueError(f"probability is {probability.shape}, the target {target.shape}")
    predicted, true = probability >= 0.5, target > 0
    intersection = int(np.count_nonzero(predicted & true))
    n_predicted, n_true = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    box = _box(true) if target_box is None else target_box
    return MaskComparison(
        intersection_px=intersection,
        union_px=n_predicted + n_true - intersection,
        predicted_px=n_predicted,
        target_px=n_true,
        box_iou=_box_iou(_box(probability > 0.5), box),
        rejected=rejected,
    )


def xywh_to_target_box(xywh: Sequence[float]) -> Box:
    """Turn an annotated box into corners, rounded to half precision as the reference does."""
    x, y, width, height = np.asarray(xywh, dtype=np.float32)
    x0, y0, x1, y1 = (float(v) for v in np.array([x, y, x + width, y + height]).astype(np.float16))
    return x0, y0, x1, y1


def res_scores(images: Sequence[Sequence[MaskComparison]]) -> ResScores:
    """Score expressions that all have a target, grouped by image."""
    comparisons = [comparison for image in images for comparison in image]
    per_image = [np.mean([_iou(comparison) for comparison in image]) for image in images]
    return ResScores(
        c_iou=_c_iou(comparisons),
        g_iou=100 * float(np.sum(per_image)) / (len(images) + 1e-5),
        precision_at_half=precision_at_half(comparisons),
    )


def gres_scores(comparisons: Sequence[MaskComparison]) -> GresScores:
    """Score expressions of which some have no target.

    A mask counts in both IoUs even where its expression was wrongly rejected; that shows in t_acc.
    """
    present = [comparison for comparison in comparisons if comparison.target_px]
    absent = [comparison for comparison in comparisons if not comparison.target_px]
    terms = [comparison.intersection_px / (comparison.union_px + 1e-8) for comparison in present]
    terms += [float(comparison.rejected) for comparison in absent]
    # A mask without a target enlarges the union, unless it was rejected.
    counted = present + [comparison for comparison in absent if not comparison.rejected]
    return GresScores(
        c_iou=_c_iou(counted),
        g_iou=percent(terms),
        n_acc=percent([comparison.rejected for comparison in absent]),
        t_acc=percent([not comparison.rejected for comparison in present]),
        presence=matthews_correlation(
            [bool(comparison.target_px) for comparison in comparisons],
            [not comparison.rejected for comparison in comparisons],
        ),
    )


def matthews_correlation(truth: Sequence[bool], decision: Sequence[bool]) -> float:
    """Matthews correlation of two yes-or-no answers, percent; 0 for random guessing.

    Returns:
        100 if all decisions are right, about 0 if they do not depend on the truth, -100 if all are
        wrong. 0 if all decisions are the same; NaN if all truths are, or there are none.
    """
    true, decided = np.asarray(truth, np.bool_), np.asarray(decision, np.bool_)
    if not len(true) or true.all() or not true.any():
        return float("nan")
    if decided.all() or not decided.any():
        return 0.0
    return 100 * float(np.corrcoef(true, decided)[0, 1])


def precision_at_half(comparisons: Sequence[MaskComparison]) -> float:
    """Percent of predicted boxes with IoU > 0.5; NaN if empty."""
    return percent([comparison.box_iou > 0.5 for comparison in comparisons])


def percent(values: Sequence[float]) -> float:
    """Mean of shares as percent; NaN if there are none."""
    return 100 * float(np.mean(values)) if len(values) else float("nan")


def _c_iou(comparisons: Sequence[MaskComparison]) -> float:
    if not comparisons:
        return float("nan")
    union = sum(comparison.union_px for comparison in comparisons)
    return 100 * sum(comparison.intersection_px for comparison in comparisons) / (union + 1e-10)


def _iou(comparison: MaskComparison) -> float:
    return comparison.intersection_px / (comparison.union_px + 1e-5) if comparison.union_px else 1.0


def _box(mask: NDArray[np.bool_]) -> Box:
    """First and last index, no pixel added; all zero where the mask is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])


def _box_iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0.0) * max(height, 0.0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / both if both > 0 else 0.0
