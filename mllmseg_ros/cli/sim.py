# SPDX-License-Identifier: Apache-2.0
"""``mllmseg sim``: scenes of the simulated tabletop, to train on or as a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    sim = verbs.add_parser("sim", help="the simulated tabletop").add_subparsers(
        required=True, metavar="VERB"
    )
    render = sim.add_parser("render", help="render scenes for training; a second call goes on")
    render.add_argument("out", type=Path, help="folder; each split gets one of its own in it")
    render.add_argument("--split", default="train", help="a split of sim/draw_scene.py")
    render.add_argument("--scenes", type=int, required=True, help="number of scenes, from seed 0")
    render.add_argument("--processes", type=int, default=1)
    render.set_defaults(run=_render)

    export = sim.add_parser(
        "export", help="write scenes as a data set in your own pictures' format"
    )
    export.add_argument("out", type=Path, help="folder, new or empty")
    export.add_argument("--split", default="train", help="a split of sim/draw_scene.py")
    export.add_argument("--scenes", type=int, default=100, help="number of scenes")
    export.add_argument("--first-seed", type=int, default=0, help="seed of the first scene")
    export.add_argument("--expressions", type=int, default=6, help="per scene")
    export.set_defaults(run=_export)


def _render(asked: argparse.Namespace) -> None:
    from mllmseg_ros.sim.dataset import render_dataset

    render_dataset(
        asked.out / asked.split, asked.split, 0, asked.scenes, n_processes=asked.processes
    )


def _export(asked: argparse.Namespace) -> None:
    from mllmseg_ros.sim.export import export_scenes

    n = export_scenes(
        asked.out, asked.split, asked.first_seed, asked.scenes, n_expressions=asked.expressions
    )
    print(f"{asked.out}: {asked.scenes} pictures, {n} expressions")
