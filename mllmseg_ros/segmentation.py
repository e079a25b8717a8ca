# SPDX-License-Identifier: Apache-2.0
"""The answer to one referring expression."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros import masks

__all__ = ["Segmentation", "Status", "segmentation_of"]


class Status(str, Enum):
    """What the model says about one expression."""

    FOUND = "FOUND"
    NO_TARGET = "NO_TARGET"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """One expression, decided and drawn. Pixel centres lie at integers, boxes are half-open."""

    expression: str  # as asked
    status: Status
    found: bool  # the model says that the target is there
    score: float  # p([SEG]) / (p([SEG]) + p([REJ])); NaN where the checkpoint cannot reject
    mask_score: float  # mean probability over the mask, 0 where it is empty
    mask: NDArray[np.bool_]  # (H, W) probability >= 0.5, whatever the decision was
    probability: NDArray[np.float32]  # (H, W) in [0, 1]
    box_xyxy: tuple[int, int, int, int] | None  # px, None where the mask is empty
    centroid_uv: tuple[float, float] | None  # px, mean of the mask's pixels; may lie off the mask
    inside_uv: tuple[int, int] | None  # a pixel of the mask, as deep inside as it gets
    area_px: int
    doubt: str = ""  # why it is not sure, where that is known


def segmentation_of(
    expression: str,
    status: Status,
    score: float,
    mask_score: float,
    probability: NDArray[np.float32],
    mask: NDArray[np.bool_],
    doubt: str = "",
) -> Segmentation:
    """Put an answer together: box, points and area follow from the mask (H, W)."""
    return Segmentation(
        expression=expression,
        status=status,
        found=status is not Status.NO_TARGET,
        score=score,
        mask_score=mask_score,
        mask=mask,
        probability=probability,
        box_xyxy=masks.box_xyxy(mask),
        centroid_uv=masks.centroid_uv(mask),
        inside_uv=masks.inside_uv(mask),
        area_px=int(np.count_nonzero(mask)),
        doubt=doubt,
    )
