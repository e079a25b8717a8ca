# SPDX-License-Identifier: Apache-2.0
"""Draw the learning curve of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.plot import Plot
from mllmseg_ros.files import read_json_lines

__all__ = ["draw_curve"]

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
    world: str, points: list[tuple[int, dict[str, float]]], last_step: int
) -> NDArray[np.uint8]:
    plot = Plot(
        f"Validation on {world}",
        x=("training step", 0, last_step),
        y=("percent", 0, 100),
        has_legend=True,
    )
    for score, (name, color) in _LINES.items():
        corners = [(step, 100 * scores[score]) for step, scores in points if score in scores]
        if corners:
            plot.line(corners, color, name)
    return plot.image
