# SPDX-License-Identifier: Apache-2.0
"""``mllmseg sim``: render scenes of the simulated tabletop, for training or as a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_group, add_overwrite, add_verb
from mllmseg_ros.cli.files import check_output_folder
from mllmseg_ros.files import clear_folder

_WRITTEN = ("annotations.jsonl", "depth", "images")


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    sim = add_group(verbs, "sim", "render scenes of the simulated tabletop")
    render = add_verb(
        sim,
        "render",
        "render scenes for training (resumes)",
        "mllmseg sim render scenes --scenes 1000 --processes 2",
    )
    render.add_argument("out", type=Path, help="folder; each split gets its own subfolder")
    render.add_argument("--split", default="train", help="split (see sim/random_scenes.py)")
    render.add_argument("--scenes", type=int, required=True, help="number of scenes, from seed 0")
    render.add_argument("--processes", type=int, default=1, help="number of processes")
    render.set_defaults(run=_render)

    export = add_verb(
        sim,
        "export",
        "write scenes as a data set, in the format of your own data",
        "mllmseg sim export scenes --scenes 20",
    )
    export.add_argument("out", type=Path, help="folder, new or empty")
    export.add_argument("--split", default="train", help="split (see sim/random_scenes.py)")
    export.add_argument("--scenes", type=int, default=100, help="number of scenes")
    export.add_argument("--first-seed", type=int, default=0, help="seed of the first scene")
    export.add_argument("--expressions", type=int, default=6, help="expressions per scene")
    add_overwrite(export, "the data set")
    export.set_defaults(run=_export)


def _render(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.sim.dataset import render_dataset

    check_output_folder(arguments.out)
    render_dataset(
        arguments.out / arguments.split,
        arguments.split,
        0,
        arguments.scenes,
        n_processes=arguments.processes,
    )


def _export(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.sim.export import export_scenes

    check_output_folder(arguments.out)
    if arguments.overwrite:
        clear_folder(arguments.out, "truth.jsonl", _WRITTEN)
    n = export_scenes(
        arguments.out,
        arguments.split,
        arguments.first_seed,
        arguments.scenes,
        n_expressions=arguments.expressions,
    )
    print(f"{arguments.out}: {arguments.scenes} images, {n} expressions")
