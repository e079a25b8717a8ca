# SPDX-License-Identifier: Apache-2.0
"""``mllmseg train``: the paper's stages, or the embedded model from nothing."""

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
    train = recipes.add_parser("tabletop", help="the embedded model, on rendered scenes; resumes")
    train.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
    train.add_argument(
        "--scenes",
        type=Path,
        help="folder of mllmseg sim render; default: rendered here, into the run",
    )
    train.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="CHECKPOINT",
        help="checkpoint folder to start from",
    )
    train.add_argument("--recipe", default="tabletop", help="YAML file; default: as shipped")
    train.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for all")
    train.set_defaults(run=_train)


def _add_paper(recipes: Any) -> None:
    start = recipes.add_parser("start", help="InternVL2.5 to an untrained MLLMSeg")
    start.add_argument("source", type=Path, help="folder of InternVL2.5")
    start.add_argument("out", type=Path, help="folder to write, new or empty")
    start.add_argument("--seed", type=int, default=0)
    start.set_defaults(run=_start)
    for name, what in (
        ("res", "as the paper's first stage: one target per expression"),
        ("gres", "as its second stage: many targets, or none"),
    ):
        stage = recipes.add_parser(name, help=f"{what}; resumes a run")
        stage.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
        stage.add_argument(
            "--from",
            dest="start",
            type=Path,
            metavar="CHECKPOINT",
            required=True,
            help="checkpoint to start from",
        )
        stage.add_argument(
            "--data", type=Path, nargs="+", required=True, help="data sets, see mllmseg data check"
        )
        stage.add_argument("--split", help="of the data sets; default: train")
        add_images(stage)
        stage.add_argument("--recipe", default=name, help="YAML file; default: as published")
        stage.add_argument(
            "--features", type=Path, help="folder to keep the frozen vision side's outputs in"
        )
        stage.add_argument("--steps", type=int, help="instead of the recipe's")
        stage.add_argument("--precision", choices=("bf16", "fp32"), help="instead of the recipe's")
        stage.set_defaults(run=_train_as_in_paper)


def _start(asked: argparse.Namespace) -> None:
    from mllmseg_ros.train.paper.start import start_from_internvl

    print(start_from_internvl(asked.source, asked.out, asked.seed))


def _train_as_in_paper(asked: argparse.Namespace) -> None:
    require("train", "accelerate", "peft", "pycocotools", "tensorboard", "yaml")
    from dataclasses import replace

    from mllmseg_ros.data.dataset import load_samples
    from mllmseg_ros.train.paper.recipe import PaperRecipe
    from mllmseg_ros.train.paper.training import train_as_in_paper
    from mllmseg_ros.train.recipe_file import read_recipe

    recipe = read_recipe(PaperRecipe, asked.recipe, steps=asked.steps, precision=asked.precision)
    data_sets = [load_samples(folder, asked.split, asked.images) for folder in asked.data]
    if asked.features is not None:  # a picture that is changed at every turn has no features
        recipe = replace(recipe, recompress=False)
    print(train_as_in_paper(asked.run_folder, asked.start, data_sets, recipe, asked.features))


def _train(asked: argparse.Namespace) -> None:
    require("train", "yaml")
    from mllmseg_ros.data.run_folder import check_resume_config
    from mllmseg_ros.train.recipe_file import read_recipe
    from mllmseg_ros.train.tabletop.recipe import TabletopRecipe
    from mllmseg_ros.train.tabletop.scenes import render_scenes
    from mllmseg_ros.train.tabletop.training import run_settings, train_tabletop

    recipe = read_recipe(TabletopRecipe, asked.recipe)
    scenes = asked.scenes or asked.run_folder / "scenes"
    if asked.scenes is None:
        check_resume_config(asked.run_folder, run_settings(recipe, asked.start))
        render_scenes(scenes, recipe)
    folder = train_tabletop(
        asked.run_folder, scenes, recipe, start=asked.start, threads=asked.threads
    )
    print(folder)
