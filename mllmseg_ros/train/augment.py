# SPDX-License-Identifier: Apache-2.0
"""Image augmentation that keeps the expressions about an image true."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["jitter_colors", "random_window"]

_MAX_CUT = 0.18  # of the image's side, at each edge


def jitter_colors(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vary brightness, contrast and noise of (H, W, 3); colour names stay true."""
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.95, 1.05, size=3)
    shift = rng.uniform(-12, 12)
    table = np.arange(256)[None, :, None] * gain + shift  # (1, 256, 3): old value to new
    pixels = cv2.LUT(np.ascontiguousarray(rgb), np.clip(table, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        noise = rng.standard_normal(rgb.shape, dtype=np.float32) * np.float32(rng.uniform(1, 7))
        pixels = np.clip(pixels + noise, 0, 255)
    return pixels.astype(np.uint8)


def random_window(kept: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Choose a random window of an image that contains all pixels to keep.

    Args:
        kept: (H, W), pixels that the window must contain.
        rng: random generator.

    Returns:
        First and last row (excluded), first and last column (excluded).
    """
    height, width = kept.shape
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    top, bottom = (rows[0], height - 1 - rows[-1]) if len(rows) else (height, height)
    left, right = (columns[0], width - 1 - columns[-1]) if len(columns) else (width, width)
    cuts = [
        int(rng.uniform(0, min(margin, _MAX_CUT * side)))
        for margin, side in ((top, height), (bottom, height), (left, width), (right, width))
    ]
    return cuts[0], height - cuts[1], cuts[2], width - cuts[3]
