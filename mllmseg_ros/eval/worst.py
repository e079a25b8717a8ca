# SPDX-License-Identifier: Apache-2.0
"""Pictures of what went worst: what was answered, and the outline of what was meant.

Entry points: :func:`draw_worst`, :func:`with_outline`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.check import grid_of_tiles
from mllmseg_ros.data.picture import read_rgb
from mllmseg_ros.data.region import decode
from mllmseg_ros.data.sample import Sample, Target
from mllmseg_ros.eval.dataset import Asked
from mllmseg_ros.overlay import draw_overlay
from mllmseg_ros.segmenter import Segmenter

_OUTLINE_RGB = (255, 255, 255)


def draw_worst(segmenter: Segmenter, asked: Sequence[Asked], n: int = 16) -> NDArray[np.uint8]:
    """Ask the worst answered expressions again, each on its own, and draw the answers.

    Args:
        segmenter: the model.
        asked: of a report, deployment protocol.
        n: how many.

    Returns:
        RGB (H, W, 3): tiles, the worst first; the true target is outlined in white.

    Raises:
        ValueError: if nothing was asked.
    """
    worst = sorted(asked, key=_goodness)[:n]
    tiles = []
    for each in worst:
        rgb = read_rgb(each.sample)
        answers = segmenter(rgb, [each.expression])
        tiles.append(with_outline(draw_overlay(rgb, answers), each.sample, each.target))
    return grid_of_tiles(tiles)


def with_outline(drawn: NDArray[np.uint8], sample: Sample, target: Target) -> NDArray[np.uint8]:
    """Outline in white what was meant, in place; (H, W, 3) RGB at the sample's size."""
    if target.region is not None:
        mask = decode(target.region, sample.size_hw).astype(np.uint8)
        outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outline, -1, _OUTLINE_RGB, 2)
    return drawn


def _goodness(asked: Asked) -> float:
    """IoU where something was meant; a wrong decision is worse than any mask."""
    wrong = asked.judged.rejected == (asked.judged.target_px > 0)
    if wrong:
        return -1.0
    return asked.iou if asked.judged.target_px else 1.0
