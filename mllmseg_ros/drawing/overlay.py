# SPDX-License-Identifier: Apache-2.0
"""Draw answers over the image they belong to: the same drawing in every place that shows one.

What was found is tinted, outlined and named beside it; what is not there is listed in a legend at
the bottom.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.text import Color, fit_text, render_text, write
from mllmseg_ros.segmentation import Segmentation, Status

__all__ = ["choose_colors", "draw_overlay", "place_labels"]

# RGB, told apart also by people who see fewer colours: seven hues that differ in lightness too
# (Okabe and Ito 2008, without black), then the same lighter and darker.
_HUES = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
COLORS_RGB: tuple[Color, ...] = (
    *_HUES,
    *((r + (255 - r) // 2, g + (255 - g) // 2, b + (255 - b) // 2) for r, g, b in _HUES),
    *((r * 3 // 5, g * 3 // 5, b * 3 // 5) for r, g, b in _HUES),
)
_TINT = 0.45
_MOST_CHARS = 48  # of an expression
_LETTERS_SHARE, _SMALLEST_LETTERS_PX = 1 / 36, 11  # of the shorter side
_LEGEND_SHARE = 1 / 3  # of the height
_DARK, _LIGHT = (20, 20, 20), (255, 255, 255)
_LEGEND_PLATE, _LEGEND_TEXT = (24, 24, 24), (225, 225, 225)

Box = tuple[int, int, int, int]  # x0, y0, x1, y1, px, half-open


def choose_colors(track_ids: Sequence[str]) -> list[Color]:
    """Colours of what is shown together, all different up to as many as there are colours.

    A track has its colour from its number alone, over all images and in every viewer. Only where
    two present ones would share it does the newer one take the next that is free.

    Args:
        track_ids: one per thing, "t12"; "" for what is not tracked, which goes by its place.
    """
    numbers = [
        int(found[0]) - 1 if (found := re.findall(r"\d{1,9}", track_id)) else None
        for track_id in track_ids
    ]
    n_colors = len(COLORS_RGB)
    chosen: dict[int, int] = {}
    free = set(range(n_colors))
    order = sorted(  # tracks first, the oldest in front
        range(len(numbers)), key=lambda i: (numbers[i] is None, numbers[i] or 0)
    )
    for place in order:
        number = numbers[place]
        wanted = (place if number is None else number) % n_colors
        free = free or set(range(n_colors))
        while wanted not in free:
            wanted = (wanted + 1) % n_colors
        free.discard(wanted)
        chosen[place] = wanted
    return [COLORS_RGB[chosen[place]] for place in range(len(numbers))]


def draw_overlay(
    rgb: NDArray[np.uint8],
    segmentations: Sequence[Segmentation],
    track_ids: Sequence[str] = (),
    distances_m: Sequence[float | None] = (),
) -> NDArray[np.uint8]:
    """Tint, outline and name what was found; list what was not in a legend.

    Args:
        rgb: (H, W, 3) uint8 RGB; not changed.
        segmentations: answers on this image, masks (H, W).
        track_ids: one per answer, "" where it has none; empty: nothing is tracked.
        distances_m: one per answer, m from the camera, None where not known; empty: none is known.

    Returns:
        A new (H, W, 3) uint8 RGB image. LOW_CONFIDENCE masks get an outline only, and a question
        mark. Labels stay inside the picture, and off each other where there is room.

    Raises:
        ValueError: if a mask is not of the image's size.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    height, width = canvas.shape[:2]
    ids = list(track_ids) or [""] * len(segmentations)
    distances = list(distances_m) or [None] * len(segmentations)
    letters_px = max(_SMALLEST_LETTERS_PX, round(min(height, width) * _LETTERS_SHARE))
    marked = []
    for answer, color, track_id, distance_m in zip(
        segmentations, choose_colors(ids), ids, distances, strict=True
    ):
        if answer.mask.shape != (height, width):
            raise ValueError(f"mask is {answer.mask.shape}, the image {(height, width)}")
        if answer.status is not Status.NO_TARGET and answer.box_xyxy is not None:
            _draw_mask(canvas, answer, answer.box_xyxy, color, max(1, letters_px // 8))
            marked.append((answer.box_xyxy, _label(answer, track_id, distance_m), color))
    absent = [each for each in segmentations if each.status is Status.NO_TARGET]
    legend = [_draw_legend(canvas, absent, letters_px)] if absent else []
    room_px = width - 2 * _margin(letters_px)
    texts = [fit_text(text, letters_px, room_px) for _, text, _ in marked]
    places = place_labels(
        [box for box, _, _ in marked],
        [_plate_wh(text, letters_px) for text in texts],
        (width, height),
        legend,
    )
    for text, place, (_, _, color) in zip(texts, places, marked, strict=True):
        _draw_plate(canvas, text, place, color, letters_px)
    return canvas


def place_labels(
    boxes: Sequence[Box],
    labels_wh: Sequence[tuple[int, int]],
    picture_wh: tuple[int, int],
    taken: Sequence[Box] = (),
) -> list[Box]:
    """Find room for a label at each thing: over it, under it, beside it, or as near as can be.

    Args:
        boxes: of the things, px.
        labels_wh: sizes of their labels, px.
        picture_wh: size of the picture, px, which no label leaves.
        taken: where no label is to go.

    Returns:
        A box per label; they overlap only where there is no room left.
    """
    places: list[Box] = []
    for box, label_wh in zip(boxes, labels_wh, strict=True):
        places.append(_place(box, label_wh, picture_wh, [*taken, *places]))
    return places


def _draw_mask(
    canvas: NDArray[np.uint8], answer: Segmentation, box: Box, color: Color, line_px: int
) -> None:
    x0, y0, x1, y1 = box
    view = canvas[y0:y1, x0:x1]
    mask = answer.mask[y0:y1, x0:x1].astype(np.uint8)
    if answer.status is Status.FOUND:
        tinted = np.arange(256)[:, None] * (1 - _TINT) + np.array(color) * _TINT
        cv2.copyTo(cv2.LUT(view, tinted.astype(np.uint8)[None]), mask, view)
    # The rim of zeros keeps the outline closed where the mask touches the box.
    outlines, _ = cv2.findContours(
        np.pad(mask, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x0 - 1, y0 - 1)
    )
    cv2.drawContours(canvas, outlines, -1, color, line_px, cv2.LINE_AA)


def _label(answer: Segmentation, track_id: str, distance_m: float | None) -> str:
    doubt = "?" if answer.status is Status.LOW_CONFIDENCE else ""
    parts = [_named(answer) + doubt, f"{_number(answer):.2f}"]
    if distance_m is not None:
        parts.append(f"{distance_m:.2f} m")
    if track_id:
        parts.append(track_id)
    return "  ".join(parts)


def _named(answer: Segmentation) -> str:
    text = answer.expression
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"


def _number(answer: Segmentation) -> float:
    return answer.mask_score if np.isnan(answer.score) else answer.score


def _margin(letters_px: int) -> int:
    return max(2, letters_px // 4)


def _plate_wh(text: str, letters_px: int) -> tuple[int, int]:
    height, width = render_text(text, letters_px).shape
    return width + 2 * _margin(letters_px), height


def _place(
    box: Box, plate_wh: tuple[int, int], picture_wh: tuple[int, int], taken: Sequence[Box]
) -> Box:
    x0, y0, x1, y1 = box
    width, height = plate_wh
    centre_y = (y0 + y1 - height) // 2
    wished = [(x0, y0 - height), (x0, y1), (x1 - width, y0 - height), (x1, centre_y)]
    wished += [(x0 - width, centre_y), (x0, y0)]
    n_rows = picture_wh[1] // max(1, height)
    wished += [
        (x0, y0 - height + way * row * height) for row in range(1, n_rows) for way in (1, -1)
    ]
    places = []
    for x, y in wished:
        left = max(0, min(x, picture_wh[0] - width))
        top = max(0, min(y, picture_wh[1] - height))
        places.append((left, top, left + width, top + height))
        if not any(_overlap(places[-1], other) for other in taken):
            return places[-1]
    return min(places, key=lambda place: sum(_overlap(place, other) for other in taken))


def _overlap(a: Box, b: Box) -> int:
    """Pixels that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def _draw_plate(
    canvas: NDArray[np.uint8], text: str, place: Box, color: Color, letters_px: int
) -> None:
    x0, y0, x1, y1 = place
    canvas[y0:y1, x0:x1] = color
    # Rec. 601 luma
    is_bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 128
    write(canvas, text, (x0 + _margin(letters_px), y0), _DARK if is_bright else _LIGHT, letters_px)


def _draw_legend(canvas: NDArray[np.uint8], absent: Sequence[Segmentation], letters_px: int) -> Box:
    """List what is not there at the bottom left; returns the box that it takes."""
    height, width = canvas.shape[:2]
    line_px = render_text("", letters_px).shape[0]
    room = max(1, int(height * _LEGEND_SHARE) // line_px)
    lines = [f"not there: {_named(each)}  {_number(each):.2f}" for each in absent]
    if len(lines) > room:
        lines = [*lines[: room - 1], f"not there: {len(lines) - room + 1} more"]
    lines = [fit_text(line, letters_px, width - 2 * _margin(letters_px)) for line in lines]
    right = min(width, max(_plate_wh(line, letters_px)[0] for line in lines))
    top = max(0, height - line_px * len(lines))
    canvas[top:, :right] = _LEGEND_PLATE
    for row, line in enumerate(lines):
        left_top = (_margin(letters_px), top + row * line_px)
        write(canvas, line, left_top, _LEGEND_TEXT, letters_px)
    return (0, top, right, height)
