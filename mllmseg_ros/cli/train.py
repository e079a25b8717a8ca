# SPDX-License-Identifier: Apache-2.0
"""``mllmseg train``: train with the paper's recipe, or train the embedded model."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_group, add_images, add_overwrite, add_verb, require
from mllmseg_ros.cli.files import MODEL_FILES, check_output_folder
from mllmseg_ros.files import clear_folder

_WRITTEN = ("curve.png", "log.jsonl", "model", "state.safetensors", "tensorboard")


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    recipes = add_group(verbs, "train", "train a model", metavar="RECIPE")
    _add_paper(recipes)
    _add_tabletop(recipes)


def _add_tabletop(recipes: Any) -> None:
    train = add_verb(
        recipes,
        "tabletop",
        "train the embedded model on rendered scenes (resumes)",
        "mllmseg train tabletop RUN",
        "mllmseg train tabletop RUN --scenes scenes --threads 8",
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
        help="checkpoint folder to start from (default: random weights)",
    )
    train.add_argument(
        "--recipe", default="tabletop", help="YAML file (default: tabletop, which the package has)"
    )
    train.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for all")
    add_overwrite(train, "the run")
    train.set_defaults(run=_train_tabletop)


def _add_paper(recipes: Any) -> None:
    init = add_verb(
        recipes,
        "init",
        "create an untrained MLLMSeg model from InternVL2.5",
        "mllmseg train init InternVL2_5-1B start",
    )
    init.add_argument("source", type=Path, help="folder of InternVL2.5")
    init.add_argument("out", type=Path, help="folder to write, new or empty")
    init.add_argument("--seed", type=int, default=0, help="random seed")
    add_overwrite(init, "the checkpoint")
    init.set_defaults(run=_init)
    for name, purpose in (
        ("res", "first stage of the paper: one target per expression"),
        ("gres", "second stage of the paper: any number of targets, or none"),
    ):
        stage = add_verb(
            recipes,
            name,
            f"{purpose} (resumes)",
            f"mllmseg train {name} RUN --from start --data refcoco refcocog --images train2014",
        )
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
            "--features",
            type=Path,
            metavar="FOLDER",
            help="cache outputs of the frozen vision encoder there (default: not cached)",
        )
        stage.add_argument("--steps", type=int, help="number of steps (default: as in the recipe)")
        stage.add_argument(
            "--precision", choices=("bf16", "fp32"), help="default: as in the recipe"
        )
        add_overwrite(stage, "the run")
        stage.set_defaults(run=_train_paper)


def _init(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.train.paper.start import start_from_internvl

    check_output_folder(arguments.out)
    if arguments.overwrite:
        clear_folder(arguments.out, "config.json", MODEL_FILES, inputs=[arguments.source])
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
    check_output_folder(arguments.run_folder)
    data_sets = [
        load_samples(folder, arguments.split, arguments.images) for folder in arguments.data
    ]
    if arguments.features is not None:  # features of randomly recompressed images cannot be cached
        recipe = replace(recipe, recompress=False)
    if arguments.overwrite and os.environ.get("RANK", "0") == "0":  # the first of several processes
        read = [arguments.checkpoint, *arguments.data, *arguments.images]
        clear_folder(arguments.run_folder, "recipe.json", _WRITTEN, inputs=read)
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
    check_output_folder(run)
    if arguments.overwrite:
        read = [] if start is None else [start]
        clear_folder(run, "recipe.json", _WRITTEN, kept=("scenes",), inputs=read)
    run.mkdir(parents=True, exist_ok=True)
    with FolderLock(run):
        if arguments.scenes is None:
            check_run(run, recipe, start)
            make_folder(scenes)
            render_scenes(scenes, recipe)
        print(train_tabletop(run, scenes, recipe, start=start, threads=arguments.threads))
