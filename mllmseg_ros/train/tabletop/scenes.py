# SPDX-License-Identifier: Apache-2.0
"""Render the scenes of a recipe."""

from __future__ import annotations

import os
from pathlib import Path

from mllmseg_ros.sim.dataset import render_dataset
from mllmseg_ros.train.tabletop.recipe import TabletopRecipe

__all__ = ["render_scenes"]


def render_scenes(folder: Path, recipe: TabletopRecipe) -> None:
    """Render the missing scenes of a recipe, with a process per core.

    Args:
        folder: for one folder per split.
        recipe: for the number of scenes, and the worlds that are needed.

    Raises:
        RuntimeError: if off-screen GL is missing.
    """
    for world in recipe.worlds:
        for split, n_scenes in (
            ("train", recipe.scenes),
            ("validation", recipe.validation_scenes),
        ):
            render_dataset(
                folder / f"{world}{split}",
                f"{world}{split}",
                0,
                n_scenes,
                n_processes=min(os.cpu_count() or 1, -(-n_scenes // 1000)),
            )
