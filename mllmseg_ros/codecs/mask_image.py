# SPDX-License-Identifier: Apache-2.0
"""The meaning of images that are masks, as annotation tools, editors and data sets write them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

__all__ = ["mask_from_image"]

_VOID = 255  # number of a palette: the rim around an object, which belongs to nothing
_HALF = 128  # of the range 0 to 255
_OPAQUE = 128
_MAX_SHARE = 0.9  # of the image; a mask that covers more is probably inverted
_FAINT = 16  # of the range 0 to 255: nearly black
_SMALL = 32  # values below are numbers of objects, not brightness
_CLASS_SHARE = 0.01  # of what is not black
_MAX_CLASSES = 64  # more values are those of a soft edge, or of noise
_SQUARE = np.ones((3, 3), np.uint8)


def mask_from_image(image: PIL.Image.Image) -> tuple[NDArray[np.bool_], str | None]:
    """Decode the mask that an image shows.

    The target is what is not black. Of an image with soft edges, it is what is at least half as
    bright as white; of one that is cut out, what is opaque; of a coloured palette, the numbers that
    are neither 0 nor, as in Pascal VOC, 255 beside others.

    Returns:
        mask (H, W), and why its meaning is doubtful, None if it is not.
    """
    if image.mode == "P" and not _is_grey(image):
        mask, doubt = _from_numbers(np.asarray(image))
    elif "A" in image.getbands():
        mask, doubt = _from_cutout(np.asarray(image.convert("RGBA")))
    else:
        mask, doubt = _from_colors(_colors(image))
    share = float(mask.mean())
    if doubt is None and share > _MAX_SHARE:
        doubt = f"it covers {100 * share:.0f} % of the image; is it inverted?"
    return mask, doubt


def _is_grey(image: PIL.Image.Image) -> bool:
    """Whether the colours that an image with a palette uses are black, white and grey."""
    used = np.array([color for _, color in image.convert("RGB").getcolors(256) or ()])
    return bool((used == used[:, :1]).all())


def _colors(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """RGB (H, W, 3) or grey (H, W), 8 bits."""
    if image.mode.startswith("I"):  # 16 bits
        values = np.asarray(image).astype(np.uint16)
        # Numbers of objects, not brightness, are small in 16 bits too.
        return np.asarray(values if values.max() < 256 else values >> 8, dtype=np.uint8)
    return np.asarray(image.convert("RGB" if image.mode in ("RGB", "RGBA") else "L"))


def _from_numbers(numbers: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], str | None]:
    used = np.flatnonzero(_histogram(numbers))
    objects = [int(n) for n in used if n not in (0, _VOID)]
    if not objects:
        return numbers > 0, None
    mask = (numbers > 0) & (numbers != _VOID)
    return mask, _doubt_of(objects) if len(objects) > 1 else None


def _from_cutout(rgba: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], str | None]:
    visible = rgba[..., 3] >= _OPAQUE
    colors = np.ascontiguousarray(rgba[..., :3])
    if visible.all() or not visible.any():  # the transparency says nothing
        return _from_colors(colors)
    bright = _brightest(colors)
    shown = np.flatnonzero(_histogram(bright[visible]))
    if len(shown) == 2 and shown[0] == 0:  # black pixels that are visible are not a target either
        visible &= bright > 0
    return visible, None


def _from_colors(colors: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], str | None]:
    bright = colors if colors.ndim == 2 else _brightest(colors)
    is_grey = colors.ndim == 2 or bool((colors == colors[..., :1]).all())
    low, high = int(bright.min()), int(bright.max())
    if 0 < low < _FAINT and high >= _HALF:  # a background that is not quite black
        bright = np.where(bright == low, 0, bright).astype(np.uint8)
    values = bright if is_grey else _numbered(colors, bright)
    classes = [] if values is None else _classes(values)
    if is_grey and len(classes) == 2 and classes[0] < _HALF and classes[1] == _VOID:
        return (bright > 0) & (bright != _VOID), _doubt_of(classes)
    if len(classes) > 1:
        return bright > 0, _doubt_of(classes)
    mask = bright >= _HALF if high >= _HALF else bright > 0
    between = (bright > _FAINT) & (bright < high - _FAINT)
    if between.sum() > (bright > _FAINT).sum() / 2:
        return mask, "most of it is neither black nor white"
    return mask, None


def _numbered(colors: NDArray[np.uint8], bright: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The colours as numbers from 1, black as 0; None if there are too many."""
    found = PIL.Image.fromarray(colors).getcolors(_MAX_CLASSES)
    if found is None:
        return None
    numbers = np.zeros(bright.shape, np.uint8)
    for number, (_, color) in enumerate(found, start=1):
        same = np.array(color)
        numbers[cv2.inRange(colors, same, same) > 0] = number
    numbers[bright == 0] = 0  # a background that counts as black
    return numbers


def _classes(values: NDArray[np.uint8]) -> list[int]:
    """Values, not 0, of which areas consist; those of soft edges and noise are none."""
    counts = _histogram(values)
    counts[0] = 0
    used = np.flatnonzero(counts)
    if len(used) > _MAX_CLASSES:
        return []
    if len(used) > 1 and used[-1] < _SMALL:  # numbers of objects
        return [int(value) for value in used]
    frequent = used[counts[used] > _CLASS_SHARE * counts.sum()]
    return [
        int(value)
        for value in frequent
        if cv2.erode((values == value).astype(np.uint8), _SQUARE).any()
    ]


def _doubt_of(values: Sequence[int]) -> str:
    return f"it has {len(values)} values beside 0, of several objects?"


def _brightest(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The brightest channel, (H, W)."""
    return np.asarray(np.maximum(np.maximum(colors[..., 0], colors[..., 1]), colors[..., 2]))


def _histogram(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each of 256 values occurs; NumPy would need eight bytes per pixel."""
    counts = cv2.calcHist([values.reshape(-1)], [0], None, [256], [0, 256])
    return np.asarray(counts, dtype=np.int64).ravel()
