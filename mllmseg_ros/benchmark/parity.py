# SPDX-License-Identifier: Apache-2.0
"""Whether the embedded model gives its recorded results here, before any time is measured.

First in float32 on the CPU, which tells of a broken installation; then as it is going to be
measured: device, dtype and whatever else, against the masks of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from mllmseg_ros.masks import iou
from mllmseg_ros.segmentation import Segmentation
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.samples import load_sample

__all__ = ["Parity", "check_parity"]


@dataclass(frozen=True)
class _Recorded:
    """A result of the embedded model on a sample frame, in float32 on a CPU."""

    frame: int
    expression: str
    found: bool
    score: float
    area_px: int


_RECORDED = (
    _Recorded(0, "the book", False, 0.03224, 50),
    _Recorded(0, "the bowl", True, 0.99368, 17472),
    _Recorded(0, "all the blue objects", True, 0.99957, 36306),
    _Recorded(0, "tin to the left of the bowl", True, 0.97759, 7230),
    _Recorded(0, "the green banana", False, 0.00919, 4245),
    _Recorded(3, "the green duck", True, 0.99469, 7633),
    _Recorded(3, "the red mug", True, 0.99616, 9714),
    _Recorded(3, "all ducks", True, 0.99810, 19464),
    _Recorded(3, "the purple plate", True, 0.99916, 13625),
    _Recorded(3, "the red bowl in front of the box", True, 0.99224, 11603),
    _Recorded(4, "the leftmost item", True, 0.99986, 6085),
    _Recorded(4, "the black cube", True, 0.96571, 3379),
)
# Other processors round otherwise, by 1e-5 of a probability: far less than this.
_SCORE_TOLERANCE, _AREA_TOLERANCE = 1e-3, 0.005
# Of the worst mask. Measured on a CPU: 1.000 in float32, 0.988 in bfloat16.
_MIN_IOU = {torch.float32: 0.99, torch.bfloat16: 0.95, torch.float16: 0.95}


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far the embedded model, as measured, is from its own results in float32 on the CPU."""

    n_masks: int
    mean_iou: float
    min_iou: float


def check_parity(load: Callable[[], Segmenter]) -> Parity:
    """Compare the embedded model with its recorded results.

    Args:
        load: loads the embedded model as it is going to be measured.

    Raises:
        ValueError: if a result differs, with its expression.
    """
    reference = _run(Segmenter.from_pretrained(device="cpu", dtype="float32", backend="torch"))
    for recorded, result in zip(_RECORDED, reference, strict=True):
        if (
            result.found != recorded.found
            or abs(result.score - recorded.score) > _SCORE_TOLERANCE
            or abs(result.area_px - recorded.area_px) > 2 + _AREA_TOLERANCE * recorded.area_px
        ):
            raise ValueError(
                f"this installation computes wrong results: the embedded model in float32 on the "
                f"CPU gives {recorded.expression!r} score {result.score:.4f} and "
                f"{result.area_px} px, recorded are {recorded.score:.4f} and {recorded.area_px}; "
                "install torch and transformers again"
            )
    segmenter = load()
    results = _run(segmenter)
    ious = []
    for expected, result in zip(reference, results, strict=True):
        overlap = iou(expected.mask, result.mask)
        if result.found != expected.found or (
            expected.found and overlap < _MIN_IOU[segmenter.dtype]
        ):
            raise ValueError(
                f"{_name(segmenter)} computes wrong results: the embedded model gives "
                f"{expected.expression!r} {result.status.value}, with a mask IoU of {overlap:.3f} "
                f"with float32 on the CPU, which gives {expected.status.value}; use another device "
                "or dtype"
            )
        if expected.found:
            ious.append(overlap)
    return Parity(n_masks=len(ious), mean_iou=float(np.mean(ious)), min_iou=min(ious))


def _run(segmenter: Segmenter) -> list[Segmentation]:
    results: list[Segmentation] = []
    for frame in sorted({each.frame for each in _RECORDED}):
        expressions = [each.expression for each in _RECORDED if each.frame == frame]
        results += segmenter(load_sample(frame).rgb, expressions)
    return results


def _name(segmenter: Segmenter) -> str:
    dtype = str(segmenter.dtype).removeprefix("torch.")
    return f"backend {segmenter.backend} on {segmenter.device} in {dtype}"
