# SPDX-License-Identifier: Apache-2.0
"""The probabilities of one mask, read at the image's size where somebody needs them.

The network's map is smaller than the image. It is interpolated here, bilinear with pixel centres at
half integers, as torch does (``align_corners=False``), but only in the box that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.masks import Box

__all__ = ["ProbabilityMap"]

_ROWS = 64  # that are interpolated at once: they stay in the processor's cache
_ROUNDING = 1e-6  # an interpolated value may be above its four neighbours by this


@dataclass(frozen=True, kw_only=True)
class ProbabilityMap:
    """Probabilities of one mask, for an image of a given size."""

    values: NDArray[np.float32]  # (h, w) in [0, 1], over the whole image
    size_hw: tuple[int, int]  # of the image, px

    def read(self, box: Box) -> NDArray[np.float32]:
        """Return the probabilities of the image's pixels in a box, (y1 - y0, x1 - x0)."""
        x0, y0, x1, y1 = box
        if self.values.shape == self.size_hw:
            return self.values[y0:y1, x0:x1]
        pixels = np.empty((y1 - y0, x1 - x0), np.float32)
        first, columns = self._read_columns(box)
        for top in range(y0, y1, _ROWS):
            bottom = min(y1, top + _ROWS)
            pixels[top - y0 : bottom - y0] = self._read_rows(columns, first, top, bottom)
        return pixels

    def find_mask(self, limit: float) -> tuple[NDArray[np.bool_], Box, float]:
        """Find the pixels from a probability on.

        Args:
            limit: in (0, 1].

        Returns:
            The mask (H, W), a box that contains all of its pixels, and the mean probability of
            these pixels, 0 if there are none.
        """
        mask = np.zeros(self.size_hw, np.bool_)
        box = self._box_from(limit)
        x0, y0, x1, y1 = box
        total, area_px = 0.0, 0
        first, columns = self._read_columns(box)
        for top in range(y0, y1, _ROWS):
            bottom = min(y1, top + _ROWS)
            pixels = self._read_rows(columns, first, top, bottom)
            inside = pixels >= limit
            mask[top:bottom, x0:x1] = inside
            n = int(np.count_nonzero(inside))
            total += n * cv2.mean(pixels, inside.view(np.uint8))[0]
            area_px += n
        return mask, box, total / max(1, area_px)

    def _box_from(self, limit: float) -> Box:
        """Return a box outside of which no probability reaches a limit."""
        cells = (self.values >= limit - _ROUNDING).view(np.uint8)
        left, top, width, height = cv2.boundingRect(cells)
        if not width:
            return 0, 0, 0, 0
        spans = []
        for start, length, axis in ((left, width, 1), (top, height, 0)):
            lower, upper, _ = _neighbours(self.size_hw[axis], self.values.shape[axis])
            spans.append(
                (
                    int(np.searchsorted(upper, start, "left")),
                    int(np.searchsorted(lower, start + length - 1, "right")),
                )
            )
        (x0, x1), (y0, y1) = spans
        return x0, y0, x1, y1

    def _read_columns(self, box: Box) -> tuple[int, NDArray[np.float32]]:
        """Interpolate horizontally: the first row of the map that the box needs, and its rows."""
        x0, y0, x1, y1 = box
        if y0 == y1:
            return 0, np.zeros((0, 0), np.float32)
        above, below, _ = _neighbours(self.size_hw[0], self.values.shape[0])
        rows = self.values[above[y0] : below[y1 - 1] + 1]
        left, right, share = (each[x0:x1] for each in _neighbours(self.size_hw[1], rows.shape[1]))
        return int(above[y0]), rows[:, left] * (1 - share) + rows[:, right] * share

    def _read_rows(
        self, columns: NDArray[np.float32], first: int, top: int, bottom: int
    ) -> NDArray[np.float32]:
        """Interpolate vertically: the image's rows from top to bottom."""
        above, below, share = (
            each[top:bottom] for each in _neighbours(self.size_hw[0], self.values.shape[0])
        )
        pixels = columns[above - first]
        pixels *= (1 - share)[:, None]
        lower = columns[below - first]
        lower *= share[:, None]
        pixels += lower
        return pixels


@lru_cache(maxsize=16)
def _neighbours(
    n_pixels: int, n_values: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the lower and upper neighbour of each pixel in a row of values, and the upper's share.

    With the roundings of torch's kernels: the ratio of the lengths in single precision, the
    position from it rounded once.
    """
    ratio = float(np.float32(n_values) / np.float32(n_pixels))
    position = ((np.arange(n_pixels) + 0.5) * ratio - 0.5).astype(np.float32)
    position = position.clip(0, n_values - 1)
    lower = position.astype(np.int64)
    return lower, np.minimum(lower + 1, n_values - 1), position - lower.astype(np.float32)
