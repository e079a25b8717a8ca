# SPDX-License-Identifier: Apache-2.0
"""``mllmseg train``: train with the paper's recipe, or train the embedded model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_images, require


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    recipes = verbs.add_parser("train", help="train a model").add_subparsers(
        required=True, metavar="RECIPE"
    )
    _add_paper(recipes)
    _add_tabletop(recipes)


def _add_tabletop(recipes: Any) -> None:
    train = recipes.add_parser(
        "tabletop", help="train the embedded model on rendered scenes (resumes)"
    )
    train.add_argument("run_folder", type=Path, metavar="RUN", help="run folder")
    train.add_argument(
        "--scenes",
        type=Path,
        help="folder of mllmseg sim render (default: render scenes into the run)",
    )
    train.add_argument(
        "--from",
        dest="checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="checkpoint folder to start from",
    )
    train.add_argument(
        "--recipe", default="tabletop", help="YAML file (default: the one of the package)"
    )
    train.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for all (default)")
    train.set_defaults(run=_train_tabletop)


def _add_paper(recipes: Any) -> None:
    init = recipes.add_parser("init", help="create an untrained MLLMSeg model from InternVL2.5")
    init.add_argument("source", type=Path, help="folder of InternVL2.5")
    init.add_argument("out", type=Path, help="folder to write, new or empty")
    init.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    init.set_defaults(run=_init)
    for name, purpose in (
        ("res", "first stage of the paper: one target per expression"),
        ("gres", "second stage of the paper: any number of targets, or none"),
    ):
        stage = recipes.add_parser(name, help=f"{purpose} (resumes)")
        stage.add_argument("run_folder", type=Path, metavar="RUN", help="run folder")
        stage.add_argument(
            "--from",
            dest="checkpoint",
            type=Path,
            metavar="CHECKPOINT",
            required=True,
            help="checkpoint to start from",
        )
        stage.add_argument(
            "--data", type=Path, nargs="+", required=True, help="data sets (see mllmseg data check)"
        )
        stage.add_argument("--split", help="split of the data sets (default: train)")
        add_images(stage)
        stage.add_argument("--recipe", default=name, help="YAML file (default: as published)")
        stage.add_argument(
            "--features", type=Path, help="folder that caches outputs of the frozen vision encoder"
        )
        stage.add_argument("--steps", type=int, help="number of steps (default: as in the recipe)")
        stage.add_argument(
            "--precision", choices=("bf16", "fp32"), help="default: as in the recipe"
        )
        stage.set_defaults(run=_train_paper)


def _init(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.train.paper.start import start_from_internvl

    print(start_from_internvl(arguments.source, arguments.out, arguments.seed))


def _train_paper(arguments: argparse.Namespace) -> None:
    require("train", "accelerate", "peft", "pycocotools", "tensorboard", "yaml")
    from dataclasses import replace

    from mllmseg_ros.data.dataset import load_samples
    from mllmseg_ros.train.paper.recipe import PaperRecipe
    from mllmseg_ros.train.paper.training import train_as_in_paper
    from mllmseg_ros.train.recipe import read_recipe

    recipe = read_recipe(
        PaperRecipe, arguments.recipe, steps=arguments.steps, precision=arguments.precision
    )
    data_sets = [
        load_samples(folder, arguments.split, arguments.images) for folder in arguments.data
    ]
    if arguments.features is not None:  # features of randomly recompressed images cannot be cached
        recipe = replace(recipe, recompress=False)
    print(
        train_as_in_paper(
            arguments.run_folder, arguments.checkpoint, data_sets, recipe, arguments.features
        )
    )


def _train_tabletop(arguments: argparse.Namespace) -> None:
    require("train", "yaml")
    from mllmseg_ros.files import FolderLock, make_folder
    from mllmseg_ros.train.recipe import read_recipe
    from mllmseg_ros.train.tabletop.recipe import TabletopRecipe
    from mllmseg_ros.train.tabletop.scenes import render_scenes
    from mllmseg_ros.train.tabletop.training import check_run, train_tabletop

    recipe = read_recipe(TabletopRecipe, arguments.recipe)
    scenes = arguments.scenes or arguments.run_folder / "scenes"
    run, start = arguments.run_folder, arguments.checkpoint
    run.mkdir(parents=True, exist_ok=True)
    with FolderLock(run):
        if arguments.scenes is None:
            check_run(run, recipe, start)
            make_folder(scenes)
            render_scenes(scenes, recipe)
        print(train_tabletop(run, scenes, recipe, start=start, threads=arguments.threads))
