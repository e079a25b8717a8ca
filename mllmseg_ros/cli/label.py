# SPDX-License-Identifier: Apache-2.0
"""``mllmseg label``: make a data set of recordings, for ``mllmseg review`` and ``adapt``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.annotate import add_recording, tasks_of
from mllmseg_ros.cli.arguments import (
    add_model,
    add_overwrite,
    add_verb,
    check_expressions,
    checked_every,
    read_command,
    require,
)
from mllmseg_ros.cli.files import check_output_folder
from mllmseg_ros.files import clear_folder

_WRITTEN = ("annotations.jsonl", "answers.jsonl", "images")
_LEROBOT_WRITTEN = ("data", "meta", "videos", "README.md", "LICENSE")


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    label = add_verb(
        verbs,
        "label",
        "create a data set from recordings, for review (resumes)",
        'mllmseg label monday "the red mug" -o tools',
        'mllmseg label monday tuesday.mp4 "the hammer" "the saw" -o tools --every 15',
        "mllmseg label so101_mugs --cameras observation.images.front -o masks --to lerobot",
        "mllmseg review tools",
    )
    label.add_argument(
        "words",
        nargs="+",
        metavar="INPUT|EXPRESSION",
        help="input, if it exists (bag, LeRobot data set, video, folder of images), otherwise an "
        "expression (default: the tasks of a LeRobot data set)",
    )
    label.add_argument(
        "-e",
        "--expression",
        action="append",
        default=[],
        metavar="EXPRESSION",
        help="expression that is one word of several, or the name of a file; may be repeated",
    )
    label.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of the data set to write"
    )
    add_recording(label)
    label.add_argument(
        "--to",
        choices=("lerobot",),
        default="",
        help="also make a copy of the LeRobot data set with masks, boxes and points in it; after a "
        "review, run the same command again",
    )
    label.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="address of a Ray cluster with the same files; local starts one "
        "(default: without Ray)",
    )
    add_model(label)
    add_overwrite(label, "the data set, reviewed or not,")
    label.set_defaults(run=_label, takes_rest="words")


def _label(arguments: argparse.Namespace) -> None:
    require("recordings", "rosbags", "pycocotools")
    if arguments.to:
        require("lerobot", "pyarrow", "av")
    if arguments.ray:
        require("ray", "ray")
    from mllmseg_ros.data.review import LabelledSet
    from mllmseg_ros.recording.inference_pass import InferenceQuery
    from mllmseg_ros.recording.label import LabelRun, label, split_inputs
    from mllmseg_ros.recording.source import is_lerobot, open_source

    inputs, words = split_inputs(arguments.words)
    expressions = [*words, *arguments.expression]
    check_expressions(words)
    check_output_folder(arguments.output)
    if not expressions and len(inputs) == 1 and is_lerobot(inputs[0]):
        expressions = tasks_of(open_source(inputs[0], cameras=arguments.cameras))
    if not inputs or not expressions:
        missing = "no input (a bag, a video, a folder)" if not inputs else "no expression"
        raise ValueError(f"{missing} in: {' '.join(map(repr, arguments.words))}")
    command = read_command(expressions)
    query = InferenceQuery(
        expressions=tuple(dict.fromkeys(command.expressions)),
        models=(arguments.model,),
        device=arguments.device,
        dtype=arguments.dtype,
        quantize=arguments.quantize,
    )
    run = LabelRun(
        inputs=tuple(inputs),
        query=query,
        out=arguments.output,
        every=checked_every(arguments),
        topics=tuple(arguments.topics),
        cameras=tuple(arguments.cameras),
        to=arguments.to,
    )
    if arguments.overwrite:
        clear_folder(run.out, "recipe.json", (*_WRITTEN, *_LEROBOT_WRITTEN), inputs=inputs)
    print(label(run, arguments.ray))
    if run.to == "lerobot":
        print(run.out / "meta" / "info.json")
    counts = LabelledSet(arguments.output).counts()
    print(
        ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        + f"; next: mllmseg review {arguments.output}"
        + (", then this command again" if run.to else "")
    )
