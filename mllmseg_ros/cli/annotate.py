# SPDX-License-Identifier: Apache-2.0
"""``mllmseg annotate``: segment a recording; writes a bag, a video and a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import (
    add_every,
    add_expression,
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

_WRITTEN = ("answers.csv", "answers.jsonl", "bag", "overlay*.mp4")


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    annotate = add_verb(
        verbs,
        "annotate",
        "segment a recording: bag, LeRobot data set, video or folder of images (resumes)",
        'mllmseg annotate monday "the red mug" -o seen',
        'mllmseg annotate drive.mp4 "the parked cars" "the traffic light" --every 10',
        'mllmseg annotate monday "the red mug" --topics /front/image_raw',
        "mllmseg annotate so101_mugs --cameras observation.images.front",
    )
    annotate.add_argument(
        "recording",
        type=Path,
        help="rosbag2 folder, .mcap or .db3 file, LeRobot data set, video, or folder of images",
    )
    annotate.add_argument(
        "expressions",
        nargs="*",
        metavar="EXPRESSION",
        help="referring expression, such as 'the red mug' (default: the tasks of a LeRobot data "
        "set)",
    )
    add_expression(annotate)
    annotate.add_argument(
        "-o", "--output", type=Path, help="folder to write (default: ./RECORDING_mllmseg)"
    )
    add_recording(annotate)
    annotate.add_argument(
        "--compare",
        metavar="MODEL_B",
        help="second model, shown beside the first in video and table",
    )
    add_model(annotate)
    add_overwrite(annotate, "the run")
    annotate.set_defaults(run=_annotate, takes_rest="expressions")


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Add ``--every``, ``--topics`` and ``--cameras``."""
    add_every(parser)
    parser.add_argument(
        "--topics",
        nargs="+",
        default=(),
        metavar="TOPIC",
        help="image topics, for a bag with several cameras",
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=(),
        metavar="KEY",
        help="keys of image features, for a LeRobot data set with several cameras",
    )


def tasks_of(source: object) -> list[str]:
    """Get the texts of the tasks of a LeRobot data set, for want of expressions.

    Raises:
        ValueError: there are none, or too many to look for in every image.
    """
    from mllmseg_ros.language.command import MAX_EXPRESSIONS

    tasks = getattr(source, "tasks", ())
    if len(tasks) > MAX_EXPRESSIONS:
        shown = ", ".join(map(repr, tasks[:5]))
        raise ValueError(
            f"no expression given, and {len(tasks)} tasks in the data set, of which up to "
            f"{MAX_EXPRESSIONS} are looked for; choose from: {shown}, …"
        )
    return list(tasks)


def _annotate(arguments: argparse.Namespace) -> None:
    require("recordings", "rosbags", "pycocotools", "av")
    from mllmseg_ros.recording.annotate import annotate
    from mllmseg_ros.recording.inference_pass import InferenceQuery, load_models
    from mllmseg_ros.recording.source import open_source

    every = checked_every(arguments)
    check_expressions(arguments.expressions)
    out = arguments.output or Path(f"{arguments.recording.resolve().stem}_mllmseg")
    check_output_folder(out)
    source = open_source(arguments.recording, arguments.topics, arguments.cameras)
    expressions = [*arguments.expressions, *arguments.expression] or tasks_of(source)
    command = read_command(expressions)
    models = [arguments.model, arguments.compare] if arguments.compare else [arguments.model]
    query = InferenceQuery(
        expressions=tuple(command.expressions),
        models=tuple(models),
        device=arguments.device,
        dtype=arguments.dtype,
        quantize=arguments.quantize,
    )
    segmenters = load_models(query)
    if arguments.overwrite:
        clear_folder(out, "recipe.json", _WRITTEN, inputs=[arguments.recording])
    names = [
        f"{model or 'embedded'} ({segmenter.name})"
        for model, segmenter in zip(models, segmenters, strict=True)
    ]
    annotate(source, out, command, segmenters, names, every)
    for path in sorted(out.iterdir()):
        if not path.name.startswith("."):
            print(path)
