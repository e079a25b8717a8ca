# SPDX-License-Identifier: Apache-2.0
"""Images of what went worst: what was answered, and the outline of what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.check import grid_of_tiles
from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.eval.metrics import Judged
from mllmseg_ros.segmenter import Segmenter

__all__ = ["Case", "draw_worst", "with_outline"]

_OUTLINE_RGB = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One answered expression."""

    expression: str
    judged: Judged
    image: Callable[[], NDArray[np.uint8]]  # RGB (H, W, 3)
    meant: Callable[[], NDArray[np.bool_]]  # (H, W), nothing where nothing was meant


def draw_worst(segmenter: Segmenter, cases: Iterable[Case], n: int = 16) -> NDArray[np.uint8]:
    """Ask the worst answered expressions again, each on its own, and draw the answers.

    Args:
        segmenter: the model.
        cases: what was asked, deployment protocol.
        n: how many.

    Returns:
        RGB (H, W, 3): tiles, the worst first; the true target is outlined in white.

    Raises:
        ValueError: if nothing was asked.
    """
    tiles = []
    for case in sorted(cases, key=lambda each: goodness(each.judged))[:n]:
        rgb = case.image()
        drawn = draw_overlay(rgb, segmenter(rgb, [case.expression]))
        tiles.append(with_outline(drawn, case.meant()))
    return grid_of_tiles(tiles)


def with_outline(drawn: NDArray[np.uint8], meant: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Outline in white what was meant (H, W), in place; (H, W, 3) RGB."""
    outline, _ = cv2.findContours(meant.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outline, -1, _OUTLINE_RGB, 2)
    return drawn


def goodness(judged: Judged) -> float:
    """IoU where something was meant; a wrong decision is worse than any mask."""
    if judged.rejected == (judged.target_px > 0):
        return -1.0
    if not judged.target_px:
        return 1.0
    return judged.intersection_px / max(1, judged.union_px)
