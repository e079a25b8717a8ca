# SPDX-License-Identifier: Apache-2.0
"""The segmentation of one referring expression."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros import masks

__all__ = ["Segmentation", "Status", "build_segmentation"]


class Status(str, Enum):
    """The decision of the model about one expression."""

    FOUND = "FOUND"
    NO_TARGET = "NO_TARGET"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Decision and mask of one expression. Pixel centres lie at integers, boxes are half-open."""

    expression: str  # as given
    status: Status
    found: bool  # not NO_TARGET
    score: float  # p([SEG]) / (p([SEG]) + p([REJ])); NaN if the checkpoint cannot reject
    mask_score: float  # mean probability over the mask, 0 if it is empty
    mask: NDArray[np.bool_]  # (H, W) probability >= 0.5, whatever the decision
    probability: NDArray[np.float32]  # (H, W) in [0, 1]
    box_xyxy: tuple[int, int, int, int] | None  # px, None if the mask is empty
    centroid_uv: (
        tuple[float, float] | None
    )  # px, mean of the mask's pixels; may lie outside the mask
    inside_uv: tuple[int, int] | None  # px, the pixel of the mask farthest from its border
    area_px: int
    doubt: str = ""  # reason for a low confidence, "" if unknown


def build_segmentation(
    expression: str,
    status: Status,
    score: float,
    mask_score: float,
    probability: NDArray[np.float32],
    mask: NDArray[np.bool_],
    doubt: str = "",
) -> Segmentation:
    """Build a segmentation; box, points and area are computed from the mask (H, W)."""
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
