# SPDX-License-Identifier: Apache-2.0
"""The segmentation of one referring expression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros import masks
from mllmseg_ros.masks import Box
from mllmseg_ros.probability_map import ProbabilityMap

__all__ = ["Segmentation", "Status", "build_segmentation", "replace_mask"]


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
    doubt: str = ""  # why it is not FOUND, or would not be by its score; "" if the score says it
    unconfirmed: bool = False  # the next inferences may decide otherwise; never of a single call

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
        doubt: why it is not found, where the score does not say it.
        within: a box that contains all pixels of the mask, if one is known: saves time.
    """
    return Segmentation(
        expression=expression,
        score=score,
        mask_score=mask_score,
        doubt=doubt,
        **_decided_fields(status, mask, probability, within),
    )


def replace_mask(
    segmentation: Segmentation,
    mask: NDArray[np.bool_],
    probability: NDArray[np.float32] | ProbabilityMap,
    mask_score: float,
    *,
    status: Status | None = None,
    doubt: str | None = None,
    within: Box | None = None,
) -> Segmentation:
    """Return a segmentation with another mask, on its image or on another one.

    Everything that is not named here stays, whatever fields a segmentation has.

    Args:
        segmentation: to change.
        mask: (H, W).
        probability: (H, W) in [0, 1], or the map that it is read from.
        mask_score: mean probability over the mask, 0 if it is empty.
        status: the new decision; None: as before.
        doubt: the new reason; None: as before.
        within: as of :func:`build_segmentation`.
    """
    status = segmentation.status if status is None else status
    return replace(
        segmentation,
        mask_score=mask_score,
        doubt=segmentation.doubt if doubt is None else doubt,
        **_decided_fields(status, mask, probability, within),
    )


def _decided_fields(
    status: Status,
    raw_mask: NDArray[np.bool_],
    probability: NDArray[np.float32] | ProbabilityMap,
    within: Box | None,
) -> dict[str, Any]:
    """Return the fields that follow from the decision and the mask."""
    mask = np.zeros(raw_mask.shape, np.bool_) if status is Status.NO_TARGET else raw_mask
    box, centroid_uv, inside_uv, area_px = _measure(mask, within)
    return {
        "status": status,
        "found": status is Status.FOUND,
        "mask": mask,
        "raw_mask": raw_mask,
        "probability_map": _as_map(probability, raw_mask),
        "box_xyxy": box,
        "centroid_uv": centroid_uv,
        "inside_uv": inside_uv,
        "area_px": area_px,
    }


def _measure(
    mask: NDArray[np.bool_], within: Box | None
) -> tuple[Box | None, tuple[float, float] | None, tuple[int, int] | None, int]:
    """Return box, centroid, inner pixel and area of a mask."""
    box = masks.box_xyxy(mask, within)
    if box is None:
        return None, None, None, 0
    return box, masks.centroid_uv(mask, box), masks.inside_uv(mask, box), masks.area_px(mask, box)


def _as_map(
    probability: NDArray[np.float32] | ProbabilityMap, mask: NDArray[np.bool_]
) -> ProbabilityMap:
    if isinstance(probability, ProbabilityMap):
        return probability
    return ProbabilityMap(values=probability, size_hw=(mask.shape[0], mask.shape[1]))
