# SPDX-License-Identifier: Apache-2.0
"""Draw a plot with title, axes, ticks and legend. NumPy, OpenCV and Pillow only.

Entry point: :class:`Plot`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from mllmseg_ros.drawing.text import Color, draw_text, render_text

__all__ = ["Plot"]

_TITLE_PX, _TEXT_PX = 20, 15
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 76, 60  # px around the axes
_LEGEND_PX = 150
_TICK_PX, _LINE_PX = 5, 2
_INK, _SOFT, _GRID = (20, 20, 20), (95, 95, 95), (225, 225, 225)


class Plot:
    """A plot with linear axes.

    Attributes:
        image: RGB (H, W, 3), drawn so far.
    """

    def __init__(
        self,
        title: str,
        *,
        x: tuple[str, float, float],
        y: tuple[str, float, float],
        size_wh: tuple[int, int] = (560, 320),
        has_legend: bool = False,
    ) -> None:
        """Draw title and axes.

        Args:
            title: heading.
            x: label with the unit, first and last value of the horizontal axis.
            y: the same of the vertical axis, whose label stands above it.
            size_wh: px, of the area within the axes.
            has_legend: leave room for the names of lines on the right.
        """
        (x_label, *self._x), (y_label, *self._y) = x, y
        self._size_wh, self._n_lines = size_wh, 0
        width, height = size_wh
        right = _LEGEND_PX if has_legend else _RIGHT
        self.image = np.full((_TOP + height + _BOTTOM, _LEFT + width + right, 3), 255, np.uint8)
        draw_text(self.image, title, (12, 8), _INK, _TITLE_PX)
        draw_text(self.image, y_label, (12, _TOP - 34), _SOFT, _TEXT_PX)
        for value in _ticks(*self._y):
            _, v = self.place(self._x[0], value)
            cv2.line(self.image, (_LEFT - _TICK_PX, v), (_LEFT + width, v), _GRID, 1)
            self._write(f"{value:g}", (_LEFT - 10, v), align=1.0)
        for value in _ticks(*self._x):
            u, v = self.place(value, self._y[0])
            cv2.line(self.image, (u, v), (u, v + _TICK_PX), _INK, 1)
            self._write(f"{value:g}", (u, v + 18))
        self._write(x_label, (_LEFT + width // 2, _TOP + height + 42), color=_SOFT)
        cv2.line(self.image, (_LEFT, _TOP), (_LEFT, _TOP + height), _INK, 1)
        cv2.line(self.image, (_LEFT, _TOP + height), (_LEFT + width, _TOP + height), _INK, 1)

    def place(self, x: float, y: float) -> tuple[int, int]:
        """Return the pixel (u, v) of a value."""
        width, height = self._size_wh
        u = _LEFT + width * (x - self._x[0]) / (self._x[1] - self._x[0])
        v = _TOP + height * (self._y[1] - y) / (self._y[1] - self._y[0])
        return round(u), round(v)

    def line(self, points: Sequence[tuple[float, float]], color: Color, name: str = "") -> None:
        """Draw a line through points, and its name into the legend."""
        corners = np.array([self.place(*point) for point in points], np.int32)
        cv2.polylines(self.image, [corners], False, color, _LINE_PX, cv2.LINE_AA)
        for corner in corners:
            cv2.circle(self.image, corner.tolist(), _LINE_PX, color, cv2.FILLED, cv2.LINE_AA)
        if name:
            u, v = _LEFT + self._size_wh[0] + 14, _TOP + 10 + 24 * self._n_lines
            cv2.line(self.image, (u, v), (u + 20, v), color, _LINE_PX, cv2.LINE_AA)
            self._write(name, (u + 28, v), align=0.0)
            self._n_lines += 1

    def bar(self, x: tuple[float, float], y: float, color: Color, text: str = "") -> None:
        """Draw a bar from 0 to ``y`` between two values of x, with a text at its foot."""
        (u0, v1), (u1, v0) = self.place(x[0], y), self.place(x[1], max(0.0, self._y[0]))
        cv2.rectangle(self.image, (u0 + 2, v1), (u1 - 2, v0), color, cv2.FILLED)
        self._write(text, ((u0 + u1) // 2, v0 - 12))

    def guide(self, points: Sequence[tuple[float, float]]) -> None:
        """Draw a thin line to compare with."""
        corners = np.array([self.place(*point) for point in points], np.int32)
        cv2.polylines(self.image, [corners], False, _INK, 1, cv2.LINE_AA)

    def _write(
        self, text: str, place: tuple[int, int], *, align: float = 0.5, color: Color = _INK
    ) -> None:
        """Write a text, centred vertically; align: 0 begins, 1 ends at the place."""
        height, width = render_text(text, _TEXT_PX).shape
        left_top = (place[0] - round(align * width), place[1] - height // 2)
        draw_text(self.image, text, left_top, color, _TEXT_PX)


def _ticks(first: float, last: float) -> list[float]:
    """Choose about six round values within a range."""
    rough = (last - first) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    start = math.ceil(first / step - 1e-9)
    return [round(k * step, 10) for k in range(start, math.floor(last / step + 1e-9) + 1)]
