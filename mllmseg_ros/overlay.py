# SPDX-License-Identifier: Apache-2.0
"""Draw answers over the image they belong to. Entry point: :func:`draw_overlay`."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.segmentation import Segmentation, Status

# RGB; far apart in hue, and readable on dark and bright scenes.
COLORS_RGB = (
    (255, 64, 64), (64, 200, 255), (255, 200, 0), (120, 255, 90),
    (255, 110, 255), (90, 120, 255), (255, 140, 40), (60, 255, 200),
)  # fmt: skip
_TINT = 0.45
_MAX_CAPTION_CHARS = 48
_BACKDROP_RGB = (24, 24, 24)
_ABSENT_RGB = (190, 190, 190)


def draw_overlay(
    rgb: NDArray[np.uint8], segmentations: Sequence[Segmentation]
) -> NDArray[np.uint8]:
    """Tint, outline and name what was found; list what was not below it.

    Args:
        rgb: (H, W, 3) uint8 RGB; not changed.
        segmentations: answers on this image, masks (H, W).

    Returns:
        A new (H, W, 3) uint8 RGB image. LOW_CONFIDENCE masks get an outline only.

    Raises:
        ValueError: if a mask is not of the image's size.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    height, width = canvas.shape[:2]
    scale = max(0.4, height / 1000)
    for index, answer in enumerate(segmentations):
        if answer.mask.shape != (height, width):
            raise ValueError(f"mask is {answer.mask.shape}, the image {(height, width)}")
        if answer.status is not Status.NO_TARGET:
            _draw_mask(canvas, answer, COLORS_RGB[index % len(COLORS_RGB)], scale)
    absent_row = 0
    for index, answer in enumerate(segmentations):
        if answer.status is Status.NO_TARGET:
            absent_row += 1
            line = height - 6 - int((absent_row - 1) * 34 * scale)
            _write(canvas, f"not there: {_caption(answer)}", (4, line), _ABSENT_RGB, scale)
        elif answer.box_xyxy is not None:
            x0, y0 = answer.box_xyxy[:2]
            color = COLORS_RGB[index % len(COLORS_RGB)]
            _write(canvas, _caption(answer), (x0, y0 - 4), color, scale)
    return canvas


def _draw_mask(
    canvas: NDArray[np.uint8], answer: Segmentation, color: tuple[int, int, int], scale: float
) -> None:
    if answer.box_xyxy is None:
        return
    x0, y0, x1, y1 = answer.box_xyxy
    view, mask = canvas[y0:y1, x0:x1], answer.mask[y0:y1, x0:x1]
    if answer.status is Status.FOUND:
        view[mask] = (view[mask] * (1 - _TINT) + np.array(color) * _TINT).astype(np.uint8)
    # The rim of zeros keeps the outline closed where the mask touches the box.
    outlines, _ = cv2.findContours(
        np.pad(mask.astype(np.uint8), 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-1, -1)
    )
    outlines = [outline + np.array([x0, y0], dtype=np.int32) for outline in outlines]
    cv2.drawContours(canvas, outlines, -1, color, max(1, round(3 * scale)), cv2.LINE_AA)


def _caption(answer: Segmentation) -> str:
    text = answer.expression
    if len(text) > _MAX_CAPTION_CHARS:
        text = text[: _MAX_CAPTION_CHARS - 3] + "..."
    number = answer.mask_score if np.isnan(answer.score) else answer.score
    doubt = "? " if answer.status is Status.LOW_CONFIDENCE else " "
    # OpenCV's built-in font has ASCII only.
    return f"{text}{doubt}{number:.2f}".encode("ascii", "replace").decode()


def _write(
    canvas: NDArray[np.uint8],
    text: str,
    left_bottom: tuple[int, int],
    color: tuple[int, int, int],
    scale: float,
) -> None:
    """Write one line on a dark backdrop, moved to where it fits into the image."""
    thickness = max(1, round(1.5 * scale))
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = max(2, min(left_bottom[0], canvas.shape[1] - width - 4))
    y = max(height + 4, min(left_bottom[1], canvas.shape[0] - 4))
    cv2.rectangle(canvas, (x - 2, y - height - 3), (x + width + 2, y + 4), _BACKDROP_RGB, -1)
    cv2.putText(
        canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA
    )
