# SPDX-License-Identifier: Apache-2.0
"""Draw the learning curve of a run."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.files import read_json_lines

__all__ = ["draw_curve"]

_WIDTH, _HEIGHT, _MARGIN = 620, 320, 46  # px, of one plot
# Score in the log -> name and RGB.
_LINES = {
    "kind_acc": ("kind of object", (150, 150, 150)),
    "cIoU": ("cIoU", (30, 110, 220)),
    "mIoU": ("mean IoU", (20, 160, 90)),
    "N_acc": ("N-acc", (220, 60, 50)),
    "T_acc": ("T-acc", (230, 160, 20)),
}


def draw_curve(log: Path) -> NDArray[np.uint8]:
    """Draw the validation scores of ``log.jsonl`` over the steps.

    Returns:
        RGB (H, W, 3): a plot for the plain scenes, one below it for each other world.

    Raises:
        ValueError: if nothing was validated yet.
    """
    worlds: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for line in read_json_lines(log):
        try:
            fields = line.parse()
        except ValueError:  # a line that a kill has cut
            continue
        for name, scores in fields.items():
            if name.endswith("validation"):
                world = f"{name.removesuffix('validation').strip('_') or 'plain'} scenes"
                worlds.setdefault(world, []).append((fields["step"] + 1, scores))
    if not worlds:
        raise ValueError(f"{log}: nothing was validated yet")
    last = max(step for points in worlds.values() for step, _ in points)
    return np.vstack([_plot(world, points, last) for world, points in sorted(worlds.items())])


def _plot(
    title: str, points: list[tuple[int, dict[str, float]]], last_step: int
) -> NDArray[np.uint8]:
    canvas = np.full((_HEIGHT + 2 * _MARGIN, _WIDTH + 2 * _MARGIN + 90, 3), 255, np.uint8)
    left, bottom = _MARGIN, _MARGIN + _HEIGHT

    def place(step: int, value: float) -> tuple[int, int]:
        return left + round(_WIDTH * step / last_step), bottom - round(_HEIGHT * value)

    for percent in range(0, 101, 20):
        _, y = place(0, percent / 100)
        cv2.line(canvas, (left, y), (left + _WIDTH, y), (225, 225, 225), 1)
        _write(canvas, str(percent), (left - 30, y + 4))
    for step in range(0, last_step + 1, max(1, last_step // 8 // 100 * 100) or 1):
        _write(canvas, str(step), (place(step, 0)[0] - 12, bottom + 18))
    for row, (score, (name, color)) in enumerate(_LINES.items()):
        corners = [place(step, scores[score]) for step, scores in points if score in scores]
        if not corners:
            continue
        cv2.polylines(canvas, [np.array(corners, np.int32)], False, color, 2, cv2.LINE_AA)
        y = _MARGIN + 12 + 20 * row
        cv2.line(canvas, (left + _WIDTH + 8, y - 4), (left + _WIDTH + 24, y - 4), color, 2)
        _write(canvas, name, (left + _WIDTH + 28, y))
    cv2.rectangle(canvas, (left, _MARGIN), (left + _WIDTH, bottom), (0, 0, 0), 1)
    _write(canvas, f"{title}: percent, by step", (left, _MARGIN - 12))
    return canvas


def _write(canvas: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
