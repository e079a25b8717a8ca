# SPDX-License-Identifier: Apache-2.0
"""The paper's measures as its own code computes them, quirks included. NumPy only.

RES: every expression has a target. GRES: some name nothing, and the model may say so.
Masks go in one at a time and leave a few numbers behind, so any number of pictures fits in memory.

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
class Judged:
    """One predicted mask against its target."""

    intersection_px: int
    union_px: int
    predicted_px: int
    target_px: int  # 0: the expression names nothing
    box_iou: float  # [0, 1]
    rejected: bool  # the model said that the target is not there


@dataclass(frozen=True, kw_only=True)
class ResScores:
    """Percent."""

    c_iou: float
    g_iou: float
    precision_at_half: float  # boxes with IoU > 0.5


@dataclass(frozen=True, kw_only=True)
class GresScores:
    """Percent; NaN where no expression counts."""

    c_iou: float
    g_iou: float
    n_acc: float  # expressions that name nothing, and were rejected
    t_acc: float  # expressions with a target, and not rejected


def judge(
    probability: NDArray[np.floating[Any]],
    target: NDArray[Any],
    *,
    rejected: bool = False,
    target_box: Box | None = None,
) -> Judged:
    """Compare one answer with the truth.

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
    return Judged(
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


def res_scores(images: Sequence[Sequence[Judged]]) -> ResScores:
    """Score expressions that all have a target, grouped by picture."""
    every = [judged for image in images for judged in image]
    per_image = [np.mean([_iou(judged) for judged in image]) for image in images]
    return ResScores(
        c_iou=_c_iou(every),
        g_iou=100 * float(np.sum(per_image)) / (len(images) + 1e-5),
        precision_at_half=precision_at_half(every),
    )


def gres_scores(answers: Sequence[Judged]) -> GresScores:
    """Score expressions of which some name nothing.

    A mask counts in both IoUs even where its expression was wrongly rejected; that shows in t_acc.
    """
    there = [judged for judged in answers if judged.target_px]
    absent = [judged for judged in answers if not judged.target_px]
    terms = [judged.intersection_px / (judged.union_px + 1e-8) for judged in there]
    terms += [float(judged.rejected) for judged in absent]
    # What was drawn for nothing enlarges the union, where it was not taken back.
    drawn = there + [judged for judged in absent if not judged.rejected]
    return GresScores(
        c_iou=_c_iou(drawn),
        g_iou=_percent(terms),
        n_acc=_percent([judged.rejected for judged in absent]),
        t_acc=_percent([not judged.rejected for judged in there]),
    )


def precision_at_half(answers: Sequence[Judged]) -> float:
    """Percent of predicted boxes with IoU > 0.5; NaN of none."""
    return _percent([judged.box_iou > 0.5 for judged in answers])


def _percent(values: Sequence[float]) -> float:
    return 100 * float(np.mean(values)) if len(values) else float("nan")


def _c_iou(answers: Sequence[Judged]) -> float:
    if not answers:
        return float("nan")
    union = sum(judged.union_px for judged in answers)
    return 100 * sum(judged.intersection_px for judged in answers) / (union + 1e-10)


def _iou(judged: Judged) -> float:
    return judged.intersection_px / (judged.union_px + 1e-5) if judged.union_px else 1.0


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
