# SPDX-License-Identifier: Apache-2.0
"""``mllmseg sim``: render scenes of the simulated tabletop, for training or as a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    sim = verbs.add_parser("sim", help="render scenes of the simulated tabletop").add_subparsers(
        required=True, metavar="VERB"
    )
    render = sim.add_parser("render", help="render scenes for training (resumes)")
    render.add_argument("out", type=Path, help="folder; each split gets its own subfolder")
    render.add_argument("--split", default="train", help="split (see sim/random_scenes.py)")
    render.add_argument("--scenes", type=int, required=True, help="number of scenes, from seed 0")
    render.add_argument("--processes", type=int, default=1, help="default: 1")
    render.set_defaults(run=_render)

    export = sim.add_parser(
        "export", help="write scenes as a data set, in the format of your own data"
    )
    export.add_argument("out", type=Path, help="folder, new or empty")
    export.add_argument("--split", default="train", help="split (see sim/random_scenes.py)")
    export.add_argument("--scenes", type=int, default=100, help="number of scenes (default: 100)")
    export.add_argument("--first-seed", type=int, default=0, help="seed of the first scene")
    export.add_argument(
        "--expressions", type=int, default=6, help="expressions per scene (default: 6)"
    )
    export.set_defaults(run=_export)


def _render(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.sim.dataset import render_dataset

    render_dataset(
        arguments.out / arguments.split,
        arguments.split,
        0,
        arguments.scenes,
        n_processes=arguments.processes,
    )


def _export(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.sim.export import export_scenes

    n = export_scenes(
        arguments.out,
        arguments.split,
        arguments.first_seed,
        arguments.scenes,
        n_expressions=arguments.expressions,
    )
    print(f"{arguments.out}: {arguments.scenes} images, {n} expressions")
