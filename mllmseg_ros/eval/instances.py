# SPDX-License-Identifier: Apache-2.0
"""Compare the instances of a result with annotated ones.

Source: PBench's metric (tiiuae/Falcon-Perception, ``eval/README.md``). Needs pycocotools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.tracking.association import assign_pairs

__all__ = ["InstanceF1", "compare_instances"]

_THRESHOLDS = 0.5 + 0.05 * np.arange(10)  # of IoU
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class InstanceF1:
    """F1 of the instances of one expression, [0, 1]."""

    mean: float  # over the IoUs 0.5, 0.55, … 0.95 from which on a pair counts
    at_half: float


def compare_instances(
    predicted: Sequence[NDArray[np.bool_]], true: Sequence[dict[str, Any]]
) -> InstanceF1:
    """Pair predicted with annotated instances so that the sum of IoUs is largest, and count.

    Args:
        predicted: masks (H, W).
        true: run lengths, one or more, as pycocotools has them.
    """
    from pycocotools import mask as coco

    if not predicted:
        return InstanceF1(mean=0.0, at_half=0.0)
    encoded = [coco.encode(np.asfortranarray(mask, np.uint8)) for mask in predicted]
    ious = np.asarray(coco.iou(encoded, list(true), [False] * len(true)), np.float64)
    matched = np.array([ious[pair] for pair in assign_pairs(ious)])
    hits = (matched[:, None] >= _THRESHOLDS - _ROUNDING).sum(axis=0)
    f1 = 2 * hits / (len(predicted) + len(true))
    return InstanceF1(mean=float(f1.mean()), at_half=float(f1[0]))
