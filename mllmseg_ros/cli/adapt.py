# SPDX-License-Identifier: Apache-2.0
"""``mllmseg adapt``: teach a model your own things."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_images, require


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    adapt = verbs.add_parser("adapt", help="teach a model your own things; resumes a run")
    adapt.add_argument("data", type=Path, help="your pictures, see mllmseg data check")
    adapt.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
    adapt.add_argument("--split", help="of the data set; default: train")
    add_images(adapt)
    adapt.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="data set that the model must not forget; default: simulated scenes",
    )
    adapt.add_argument("--keep-split", help="of that data set; default: train")
    adapt.add_argument("--recipe", default="adapt", help="YAML file; default: ours")
    adapt.add_argument("--steps", type=int, help="instead of the recipe's")
    adapt.add_argument(
        "--trained", choices=("all", "lora", "decoder"), help="instead of the recipe's"
    )
    adapt.add_argument("--features", type=Path, help="folder to keep frozen outputs in")
    adapt.add_argument("--model", help="checkpoint folder or name; default: the embedded model")
    adapt.add_argument("--device", help="auto, cpu, cuda, cuda:N")
    adapt.set_defaults(run=_adapt)


def _adapt(asked: argparse.Namespace) -> None:
    require("train", "peft", "pycocotools", "yaml")
    from mllmseg_ros.checkpoints.hub import find_checkpoint
    from mllmseg_ros.data.dataset import load_samples
    from mllmseg_ros.train.adapt.adapt import adapt
    from mllmseg_ros.train.adapt.known import of_data_set, simulated
    from mllmseg_ros.train.adapt.recipe import AdaptRecipe
    from mllmseg_ros.train.recipe_file import read_recipe

    recipe = read_recipe(AdaptRecipe, asked.recipe, steps=asked.steps, trained=asked.trained)
    samples = load_samples(asked.data, asked.split, asked.images)
    if asked.keep is None:
        known = simulated(asked.run_folder / "simulated")
        if known is None:
            print(
                "no simulator here (pip install '.[sim]', off-screen OpenGL): nothing is "
                "rehearsed, nor is it measured what is forgotten; --keep names a set of your own",
                file=sys.stderr,
            )
    else:
        kept = load_samples(asked.keep, asked.keep_split)
        known = of_data_set(kept, recipe.held_out_share, recipe.seed)
    report = adapt(
        asked.run_folder,
        find_checkpoint(asked.model),
        samples,
        known,
        recipe,
        asked.features,
        asked.device,
    )
    print(report)
    print(asked.run_folder / "model")
