# SPDX-License-Identifier: Apache-2.0
"""The segmentation of one referring expression."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros import masks
from mllmseg_ros.masks import Box
from mllmseg_ros.probability_map import ProbabilityMap

__all__ = ["Segmentation", "Status", "build_segmentation"]


class Status(str, Enum):
    """The decision of the model about one expression."""

    FOUND = "FOUND"
    NO_TARGET = "NO_TARGET"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Decision and mask of one expression, with the meaning of mllmseg_ros/msg/Segmentation.

    Mask, box, points and area are those of the result: empty for NO_TARGET, and of LOW_CONFIDENCE
    too uncertain to act on. Pixel centres lie at integers, boxes are half-open.
    """

    expression: str  # as given
    status: Status
    found: bool  # FOUND: neither NO_TARGET nor LOW_CONFIDENCE
    score: float  # p([SEG]) / (p([SEG]) + p([REJ])); NaN if the checkpoint cannot reject
    mask_score: float  # mean probability over the raw mask, 0 if it is empty
    mask: NDArray[np.bool_]  # (H, W); empty for NO_TARGET
    raw_mask: NDArray[np.bool_]  # (H, W) probability >= 0.5, whatever the decision
    probability_map: ProbabilityMap  # the probabilities of any part of the image
    box_xyxy: Box | None  # px, None if the mask is empty
    centroid_uv: (
        tuple[float, float] | None
    )  # px, mean of the mask's pixels; may lie outside the mask
    inside_uv: tuple[int, int] | None  # px, the pixel of the mask farthest from its border
    area_px: int
    doubt: str = ""  # reason for a low confidence, "" if unknown

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """Probabilities (H, W) in [0, 1], float32; computed when it is first read."""
        height, width = self.mask.shape
        return self.probability_map.read((0, 0, width, height))


def build_segmentation(
    expression: str,
    status: Status,
    score: float,
    mask_score: float,
    probability: NDArray[np.float32] | ProbabilityMap,
    mask: NDArray[np.bool_],
    doubt: str = "",
    *,
    within: Box | None = None,
) -> Segmentation:
    """Build a segmentation; box, points and area are computed from the mask.

    Args:
        expression: as given.
        status: the decision; for NO_TARGET, the mask becomes the raw mask alone.
        score: probability that the target is there, NaN if it is not known.
        mask_score: mean probability over the mask, 0 if it is empty.
        probability: (H, W) in [0, 1], or the map that it is read from.
        mask: (H, W), the pixels of probability 0.5 and more.
        doubt: reason for a low confidence.
        within: a box that contains all pixels of the mask, if one is known: saves time.
    """
    if not isinstance(probability, ProbabilityMap):
        size_hw = (mask.shape[0], mask.shape[1])
        probability = ProbabilityMap(values=probability, size_hw=size_hw)
    raw_mask = mask
    if status is Status.NO_TARGET:
        mask = np.zeros(mask.shape, np.bool_)
    box = None if status is Status.NO_TARGET else masks.box_xyxy(mask, within)
    return Segmentation(
        expression=expression,
        status=status,
        found=status is Status.FOUND,
        score=score,
        mask_score=mask_score,
        mask=mask,
        raw_mask=raw_mask,
        probability_map=probability,
        box_xyxy=box,
        centroid_uv=masks.centroid_uv(mask, box) if box else None,
        inside_uv=masks.inside_uv(mask, box) if box else None,
        area_px=masks.area_px(mask, box) if box else 0,
        doubt=doubt,
    )
