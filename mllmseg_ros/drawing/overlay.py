# SPDX-License-Identifier: Apache-2.0
"""Draw segmentations over their image; all overlays of the package are drawn here.

Found targets are outlined, lightly tinted and labelled; uncertain ones have a dashed outline;
targets that are not there are listed in a legend at the bottom.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.text import Color, draw_text, fit_text, render_text
from mllmseg_ros.segmentation import Segmentation, Status

__all__ = ["TINT", "choose_colors", "draw_overlay", "place_labels"]

# RGB, distinguishable with colour blindness: seven hues of different lightness (Okabe and Ito 2008,
# without black), then the same lighter and darker.
_HUES = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
COLORS_RGB: tuple[Color, ...] = (
    *_HUES,
    *((r + (255 - r) // 2, g + (255 - g) // 2, b + (255 - b) // 2) for r, g, b in _HUES),
    *((r * 3 // 5, g * 3 // 5, b * 3 // 5) for r, g, b in _HUES),
)
TINT = 0.15  # share of a mask's colour: the colours of the image must stay recognisable
_DASH_LINES = 4  # length of a dash, in widths of the line
_MAX_CHARS = 48  # of an expression
_TEXT_SHARE, _MIN_TEXT_PX = 1 / 36, 11  # height of text relative to the image's shorter side
_LEGEND_SHARE = 1 / 3  # of the image's height, at most
_DARK, _LIGHT = (20, 20, 20), (255, 255, 255)
_LEGEND_BACKGROUND, _LEGEND_TEXT = (24, 24, 24), (225, 225, 225)

Box = tuple[int, int, int, int]  # x0, y0, x1, y1, px, half-open


def choose_colors(track_ids: Sequence[str]) -> list[Color]:
    """Choose colours for instances that are drawn together, different as far as there are enough.

    The number of a track determines its colour, in all images and viewers. If two tracks would have
    the same colour, the newer one gets the next free one.

    Args:
        track_ids: one per instance, such as "t12"; "" for untracked ones, coloured by their index.
    """
    numbers = [
        int(found[0]) - 1 if (found := re.findall(r"\d{1,9}", track_id)) else None
        for track_id in track_ids
    ]
    n_colors = len(COLORS_RGB)
    chosen: dict[int, int] = {}  # index of the instance -> index of the colour
    free = set(range(n_colors))
    order = sorted(  # tracks first, oldest first
        range(len(numbers)), key=lambda i: (numbers[i] is None, numbers[i] or 0)
    )
    for index in order:
        number = numbers[index]
        color = (index if number is None else number) % n_colors
        free = free or set(range(n_colors))
        while color not in free:
            color = (color + 1) % n_colors
        free.discard(color)
        chosen[index] = color
    return [COLORS_RGB[chosen[index]] for index in range(len(numbers))]


def draw_overlay(
    rgb: NDArray[np.uint8],
    segmentations: Sequence[Segmentation],
    track_ids: Sequence[str] = (),
    distances_m: Sequence[float | None] = (),
    tint: float = TINT,
) -> NDArray[np.uint8]:
    """Outline, tint and label found targets; list absent ones in a legend.

    Args:
        rgb: (H, W, 3) uint8 RGB; not changed.
        segmentations: of this image, masks (H, W).
        track_ids: one per segmentation, "" if untracked; empty if all are.
        distances_m: one per segmentation, m from the camera, None if unknown; empty if all are.
        tint: share of a mask's colour within its outline, 0 for the outline alone.

    Returns:
        A new (H, W, 3) uint8 RGB image. LOW_CONFIDENCE masks have a dashed outline without tint,
        and a question mark. Of several instances of an expression, the first has the name and
        all have a number. Labels are inside the image and do not overlap if there is room.

    Raises:
        ValueError: if a mask and the image differ in size.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    height, width = canvas.shape[:2]
    ids = list(track_ids) or [""] * len(segmentations)
    distances = list(distances_m) or [None] * len(segmentations)
    text_px = max(_MIN_TEXT_PX, round(min(height, width) * _TEXT_SHARE))
    drawn = [
        each
        for each in segmentations
        if each.status is not Status.NO_TARGET and each.box_xyxy is not None
    ]
    counts = Counter(each.expression for each in drawn)
    numbers: Counter[str] = Counter()
    labelled = []
    for segmentation, color, track_id, distance_m in zip(
        segmentations, choose_colors(ids), ids, distances, strict=True
    ):
        if segmentation.mask.shape != (height, width):
            raise ValueError(f"mask is {segmentation.mask.shape}, the image {(height, width)}")
        if segmentation.status is not Status.NO_TARGET and segmentation.box_xyxy is not None:
            box, expression = segmentation.box_xyxy, segmentation.expression
            _draw_mask(canvas, segmentation, box, color, max(1, text_px // 5), tint)
            numbers[expression] += 1
            number = numbers[expression] if counts[expression] > 1 else 0
            text = _format_label(segmentation, number, track_id, distance_m)
            labelled.append((box, text, color))
    absent = [each for each in segmentations if each.status is Status.NO_TARGET]
    legend = [_draw_legend(canvas, absent, text_px)] if absent else []
    max_width_px = width - 2 * _margin(text_px)
    texts = [fit_text(text, text_px, max_width_px) for _, text, _ in labelled]
    boxes = place_labels(
        [box for box, _, _ in labelled],
        [_measure_label(text, text_px) for text in texts],
        (width, height),
        legend,
    )
    for text, box, (_, _, color) in zip(texts, boxes, labelled, strict=True):
        _draw_label(canvas, text, box, color, text_px)
    return canvas


def place_labels(
    boxes: Sequence[Box],
    labels_wh: Sequence[tuple[int, int]],
    image_wh: tuple[int, int],
    taken: Sequence[Box] = (),
) -> list[Box]:
    """Place a label at each box: above, below, beside, or as near as possible.

    Args:
        boxes: to label, px.
        labels_wh: sizes of the labels, px.
        image_wh: size of the image, px; labels stay inside.
        taken: boxes to keep free of labels.

    Returns:
        A box per label; they overlap only if there is no room.
    """
    placed: list[Box] = []
    for box, label_wh in zip(boxes, labels_wh, strict=True):
        placed.append(_place_label(box, label_wh, image_wh, [*taken, *placed]))
    return placed


def _draw_mask(
    canvas: NDArray[np.uint8],
    segmentation: Segmentation,
    box: Box,
    color: Color,
    line_px: int,
    tint: float,
) -> None:
    x0, y0, x1, y1 = box
    view = canvas[y0:y1, x0:x1]
    mask = segmentation.mask[y0:y1, x0:x1].astype(np.uint8)
    is_found = segmentation.status is Status.FOUND
    if is_found and tint > 0:
        tinted = np.arange(256)[:, None] * (1 - tint) + np.array(color) * tint
        cv2.copyTo(cv2.LUT(view, tinted.astype(np.uint8)[None]), mask, view)
    # Padding keeps the outline closed where the mask touches the box. Drawing takes time by the
    # segment: few, within a pixel of the outline, are drawn in a quarter of it.
    method = cv2.CHAIN_APPROX_TC89_L1 if is_found else cv2.CHAIN_APPROX_NONE
    outlines, _ = cv2.findContours(np.pad(mask, 1), cv2.RETR_CCOMP, method, offset=(x0 - 1, y0 - 1))
    if not is_found:
        dash = _DASH_LINES * line_px
        outlines = [
            line[start : start + dash]
            for line in outlines
            for start in range(0, len(line), 2 * dash)
        ]
    # The dark rim sets the outline off from an object of its colour.
    cv2.polylines(canvas, outlines, is_found, _DARK, line_px + 2)
    cv2.polylines(canvas, outlines, is_found, color, line_px, cv2.LINE_AA)


def _format_label(
    segmentation: Segmentation, number: int, track_id: str, distance_m: float | None
) -> str:
    """Format a label; number: from 1 among the instances of the expression, 0 for the only one."""
    doubt = "?" if segmentation.status is Status.LOW_CONFIDENCE else ""
    if number > 1:
        parts = [f"{number}{doubt}"]
    else:
        name = (f"{number} " if number else "") + f"{_shorten(segmentation)}{doubt}"
        parts = [name, f"{_get_score(segmentation):.2f}"]
    if distance_m is not None:
        parts.append(f"{distance_m:.2f} m")
    if track_id:
        parts.append(track_id)
    return "  ".join(parts)


def _shorten(segmentation: Segmentation) -> str:
    text = segmentation.expression
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"


def _get_score(segmentation: Segmentation) -> float:
    return segmentation.mask_score if np.isnan(segmentation.score) else segmentation.score


def _margin(text_px: int) -> int:
    return max(2, text_px // 4)


def _measure_label(text: str, text_px: int) -> tuple[int, int]:
    height, width = render_text(text, text_px).shape
    return width + 2 * _margin(text_px), height


def _place_label(
    box: Box, label_wh: tuple[int, int], image_wh: tuple[int, int], taken: Sequence[Box]
) -> Box:
    x0, y0, x1, y1 = box
    width, height = label_wh
    centre_x, centre_y = (x0 + x1 - width) // 2, (y0 + y1 - height) // 2
    candidates = [(centre_x, y0 - height), (centre_x, y1), (x0, y0 - height), (x1, centre_y)]
    candidates += [(x0 - width, centre_y), (x0, y0)]
    n_rows = image_wh[1] // max(1, height)
    candidates += [
        (x0, y0 - height + sign * row * height) for row in range(1, n_rows) for sign in (1, -1)
    ]
    places = []
    for x, y in candidates:
        left = max(0, min(x, image_wh[0] - width))
        top = max(0, min(y, image_wh[1] - height))
        places.append((left, top, left + width, top + height))
        if not any(_intersect(places[-1], other) for other in taken):
            return places[-1]
    return min(places, key=lambda place: sum(_intersect(place, other) for other in taken))


def _intersect(a: Box, b: Box) -> int:
    """Return the area shared by two boxes, px."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def _draw_label(canvas: NDArray[np.uint8], text: str, box: Box, color: Color, text_px: int) -> None:
    x0, y0, x1, y1 = box
    canvas[y0:y1, x0:x1] = color
    # Rec. 601 luma
    is_bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 128
    draw_text(canvas, text, (x0 + _margin(text_px), y0), _DARK if is_bright else _LIGHT, text_px)


def _draw_legend(canvas: NDArray[np.uint8], absent: Sequence[Segmentation], text_px: int) -> Box:
    """List absent targets at the bottom left; returns the box of the legend."""
    height, width = canvas.shape[:2]
    line_px = render_text("", text_px).shape[0]
    n_lines = max(1, int(height * _LEGEND_SHARE) // line_px)
    lines = [f"not there: {_shorten(each)}  {_get_score(each):.2f}" for each in absent]
    if len(lines) > n_lines:
        lines = [*lines[: n_lines - 1], f"not there: {len(lines) - n_lines + 1} more"]
    lines = [fit_text(line, text_px, width - 2 * _margin(text_px)) for line in lines]
    right = min(width, max(_measure_label(line, text_px)[0] for line in lines))
    top = max(0, height - line_px * len(lines))
    canvas[top:, :right] = _LEGEND_BACKGROUND
    for row, line in enumerate(lines):
        left_top = (_margin(text_px), top + row * line_px)
        draw_text(canvas, line, left_top, _LEGEND_TEXT, text_px)
    return (0, top, right, height)
