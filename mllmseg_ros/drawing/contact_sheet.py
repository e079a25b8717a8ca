# SPDX-License-Identifier: Apache-2.0
"""Arrange images with captions in a grid, under a title.

Masks are drawn as outlines at the size at which they are shown: the prediction in orange, the truth
in white. Entry points: :class:`Tile`, :func:`draw_contact_sheet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.text import Color, draw_text, fit_text, render_text

__all__ = ["LEGEND", "Tile", "draw_contact_sheet", "format_iou"]

LEGEND = "white: ground truth, orange: result"

_TILE_WH = (320, 240)
_GAP_PX, _MARGIN_PX = 12, 16
_TITLE_PX, _TEXT_PX, _BADGE_PX = 22, 15, 15
_INK, _SOFT, _BACKGROUND = (20, 20, 20), (95, 95, 95), (255, 255, 255)
_TRUTH, _RESULT = (255, 255, 255), (255, 140, 0)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One image of a sheet."""

    rgb: NDArray[np.uint8]  # (H, W, 3)
    caption: str  # what was asked for
    note: str = ""  # a second line, such as the IoU
    badge: str = ""  # in the corner of the image, such as "before"
    result: NDArray[np.bool_] | None = None  # (H, W)
    truth: NDArray[np.bool_] | None = None  # (H, W)


def format_iou(result: NDArray[np.bool_], truth: NDArray[np.bool_]) -> str:
    """Compare two masks (H, W) in words: the IoU in percent, or what is not there."""
    if not truth.any():
        return "found, but not there" if result.any() else "not there: right"
    if not result.any():
        return "not found"
    intersection, union = (result & truth).sum(), (result | truth).sum()
    return f"IoU {100 * intersection / union:.0f} %"


def draw_contact_sheet(
    tiles: Sequence[Tile], title: str, note: str = "", columns: int = 4
) -> NDArray[np.uint8]:
    """Draw a sheet.

    Args:
        tiles: its images, of any size.
        title: heading of the sheet.
        note: second line of the heading, such as the meaning of the colours.
        columns: tiles in a row, at most.

    Returns:
        RGB (H, W, 3).

    Raises:
        ValueError: if there is no tile.
    """
    if not tiles:
        raise ValueError("no image to draw")
    columns = min(columns, len(tiles))
    line_px = render_text("", _TEXT_PX).shape[0]
    step_x, step_y = _TILE_WH[0] + _GAP_PX, _TILE_WH[1] + 2 * line_px + _GAP_PX
    head_px = _MARGIN_PX + render_text("", _TITLE_PX).shape[0] + line_px + _GAP_PX
    n_rows = -(-len(tiles) // columns)
    size_hw = (head_px + n_rows * step_y, 2 * _MARGIN_PX + columns * step_x - _GAP_PX)
    sheet = np.full((*size_hw, 3), _BACKGROUND, np.uint8)
    _write(sheet, title, (_MARGIN_PX, _MARGIN_PX), _INK, _TITLE_PX)
    _write(sheet, note, (_MARGIN_PX, head_px - _GAP_PX - line_px), _SOFT, _TEXT_PX)
    for index, tile in enumerate(tiles):
        x = _MARGIN_PX + index % columns * step_x
        y = head_px + index // columns * step_y
        image = _draw_image(tile)
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
        for row, (text, color) in enumerate(((tile.caption, _INK), (tile.note, _SOFT))):
            shown = fit_text(text, _TEXT_PX, _TILE_WH[0])
            _write(sheet, shown, (x, y + _TILE_WH[1] + row * line_px), color, _TEXT_PX)
    return sheet


def _draw_image(tile: Tile) -> NDArray[np.uint8]:
    """Draw an image with its outlines at the size of a tile."""
    height, width = tile.rgb.shape[:2]
    scale = min(_TILE_WH[0] / width, _TILE_WH[1] / height)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    image = np.asarray(cv2.resize(tile.rgb, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    for mask, color in ((tile.truth, _TRUTH), (tile.result, _RESULT)):
        if mask is not None:
            small = cv2.resize(mask.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
            outlines, _ = cv2.findContours(
                np.pad(small, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-1, -1)
            )
            cv2.polylines(image, outlines, True, _INK, 4)
            cv2.polylines(image, outlines, True, color, 2)
    if tile.badge:
        badge_hw = render_text(tile.badge, _BADGE_PX).shape
        image[: badge_hw[0], : badge_hw[1] + 12] = _INK
        draw_text(image, tile.badge, (6, 0), _BACKGROUND, _BADGE_PX)
    return image


def _write(
    sheet: NDArray[np.uint8], text: str, left_top: tuple[int, int], color: Color, size_px: int
) -> None:
    shown = fit_text(text, size_px, sheet.shape[1] - left_top[0])
    draw_text(sheet, shown, left_top, color, size_px)
