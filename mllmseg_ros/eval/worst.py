# SPDX-License-Identifier: Apache-2.0
"""Draw the worst results, with the outlines of result and true target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.contact_sheet import LEGEND, Tile, draw_contact_sheet, format_iou
from mllmseg_ros.eval.metrics import MaskComparison
from mllmseg_ros.segmenter import Segmenter, Status

__all__ = ["Case", "draw_worst", "quality"]


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
        RGB (H, W, 3): a contact sheet, the worst first.

    Raises:
        ValueError: if there is no case.
    """
    tiles = []
    for case in sorted(cases, key=lambda each: quality(each.comparison))[:n]:
        rgb, truth = case.image(), case.target()
        (segmentation,) = segmenter(rgb, [case.expression])
        result = segmentation.mask & (segmentation.status is not Status.NO_TARGET)
        note = format_iou(result, truth)
        if not np.isnan(segmentation.score):
            note += f", score {segmentation.score:.2f}"
        tiles.append(Tile(rgb=rgb, caption=case.expression, note=note, result=result, truth=truth))
    return draw_contact_sheet(tiles, f"The {len(tiles)} worst results", LEGEND)


def quality(comparison: MaskComparison) -> float:
    """Rate a result: IoU if there is a target; a wrong decision is worse than any mask."""
    if comparison.rejected == (comparison.target_px > 0):
        return -1.0
    if not comparison.target_px:
        return 1.0
    return comparison.intersection_px / max(1, comparison.union_px)
