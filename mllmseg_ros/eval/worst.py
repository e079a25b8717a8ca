# SPDX-License-Identifier: Apache-2.0
"""Draw the worst results, with the outline of the true target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.check import draw_grid
from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.eval.metrics import MaskComparison
from mllmseg_ros.segmenter import Segmenter

__all__ = ["Case", "draw_outline", "draw_worst"]

_OUTLINE_RGB = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One evaluated expression."""

    expression: str
    comparison: MaskComparison
    image: Callable[[], NDArray[np.uint8]]  # RGB (H, W, 3)
    target: Callable[[], NDArray[np.bool_]]  # (H, W), empty without a target


def draw_worst(segmenter: Segmenter, cases: Iterable[Case], n: int = 16) -> NDArray[np.uint8]:
    """Segment the worst expressions again, each on its own, and draw the results.

    Args:
        segmenter: the model.
        cases: evaluated with the deployment protocol.
        n: how many.

    Returns:
        RGB (H, W, 3): tiles, the worst first; the true target is outlined in white.

    Raises:
        ValueError: if there is no case.
    """
    tiles = []
    for case in sorted(cases, key=lambda each: quality(each.comparison))[:n]:
        rgb = case.image()
        overlay = draw_overlay(rgb, segmenter(rgb, [case.expression]))
        tiles.append(draw_outline(overlay, case.target()))
    return draw_grid(tiles)


def draw_outline(image: NDArray[np.uint8], target: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw the outline of a target (H, W) in white, in place; the image is (H, W, 3) RGB."""
    outline, _ = cv2.findContours(target.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, outline, -1, _OUTLINE_RGB, 2)
    return image


def quality(comparison: MaskComparison) -> float:
    """Rate a result: IoU if there is a target; a wrong decision is worse than any mask."""
    if comparison.rejected == (comparison.target_px > 0):
        return -1.0
    if not comparison.target_px:
        return 1.0
    return comparison.intersection_px / max(1, comparison.union_px)
