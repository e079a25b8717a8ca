# SPDX-License-Identifier: Apache-2.0
"""``mllmseg adapt``: fine-tune a model on your own data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_images, add_overwrite, add_verb, require
from mllmseg_ros.cli.files import check_output_folder
from mllmseg_ros.files import clear_folder

_WRITTEN = (
    "best", "best.json", "before_after", "before_after.png", "features", "log.jsonl", "model",
    "before.json", "report.json", "state.safetensors", "tensorboard",
)  # fmt: skip

WORSE = 3  # exit status where the model got worse and was not written


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    adapt = add_verb(
        verbs,
        "adapt",
        "fine-tune a model on your own data (resumes)",
        "mllmseg adapt tools RUN",
        "mllmseg adapt tools RUN --keep kitchen --model MLLMSeg_InternVL2_5_1B_RES",
        'mllmseg segment photo.png "the mallet" --model RUN/model',
    )
    adapt.add_argument("data", type=Path, help="data set (see mllmseg data check)")
    adapt.add_argument("run_folder", type=Path, metavar="RUN", help="run folder")
    adapt.add_argument("--split", help="split of the data set (default: train)")
    add_images(adapt)
    adapt.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="data set to rehearse, so that the model keeps what it knows "
        "(default: simulated scenes)",
    )
    adapt.add_argument("--keep-split", help="split of the data set of --keep (default: train)")
    adapt.add_argument(
        "--recipe", default="adapt", help="YAML file (default: adapt, which the package has)"
    )
    adapt.add_argument("--steps", type=int, help="number of steps (default: as in the recipe)")
    adapt.add_argument(
        "--trained",
        choices=("all", "lora", "decoder"),
        help="what to train (default: as in the recipe)",
    )
    adapt.add_argument(
        "--features",
        type=Path,
        metavar="FOLDER",
        help="cache outputs of the frozen layers there (default: not cached)",
    )
    adapt.add_argument("--model", help="checkpoint folder or name (default: embedded model)")
    adapt.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    adapt.add_argument(
        "--accept-worse",
        action="store_true",
        help="write the model even if it is worse than before (default: exit with code 3 without)",
    )
    add_overwrite(adapt, "the run")
    adapt.set_defaults(run=_adapt)


def _adapt(arguments: argparse.Namespace) -> int:
    require("train", "peft", "pycocotools", "yaml")
    from mllmseg_ros.checkpoints.hub import find_checkpoint
    from mllmseg_ros.data.dataset import load_samples
    from mllmseg_ros.train.adapt.adapt import adapt
    from mllmseg_ros.train.adapt.recipe import AdaptRecipe
    from mllmseg_ros.train.adapt.rehearsal import render_rehearsal_set, split_rehearsal_set
    from mllmseg_ros.train.recipe import read_recipe

    recipe = read_recipe(
        AdaptRecipe, arguments.recipe, steps=arguments.steps, trained=arguments.trained
    )
    check_output_folder(arguments.run_folder)
    samples = load_samples(arguments.data, arguments.split, arguments.images)
    start = find_checkpoint(arguments.model)
    if arguments.overwrite:
        read = [arguments.data, *arguments.images, start]
        read += [arguments.keep] if arguments.keep else []
        clear_folder(
            arguments.run_folder, "recipe.json", _WRITTEN, kept=("simulated",), inputs=read
        )
    if arguments.keep is None:
        rehearsal = render_rehearsal_set(arguments.run_folder / "simulated")
        if rehearsal is None:
            print(
                "simulator not available (pip install '.[sim]', off-screen OpenGL): training "
                "without rehearsal, forgetting is not measured; --keep FOLDER sets a data set",
                file=sys.stderr,
            )
    else:
        kept = load_samples(arguments.keep, arguments.keep_split)
        rehearsal = split_rehearsal_set(kept, recipe.held_out_share, recipe.seed)
    start, model = find_checkpoint(arguments.model), arguments.run_folder / "model"
    report = adapt(
        arguments.run_folder,
        start,
        samples,
        rehearsal,
        recipe,
        arguments.features,
        arguments.device,
        accept_worse=arguments.accept_worse,
    )
    print(report)
    if report.is_worse and not arguments.accept_worse:
        print(
            f"mllmseg: the model got worse: {start} stays in use, {model} is not written; the same "
            "command with --accept-worse writes it",
            file=sys.stderr,
        )
        return WORSE
    print(model)
    return 0
