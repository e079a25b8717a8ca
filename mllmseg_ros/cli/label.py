# SPDX-License-Identifier: Apache-2.0
"""``mllmseg label``: make a data set of recordings, for ``mllmseg review`` and ``adapt``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.annotate import add_recording, checked_every
from mllmseg_ros.cli.arguments import add_model, read_command, require


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    label = verbs.add_parser(
        "label", help="create a data set from recordings, for review (resumes)"
    )
    label.add_argument(
        "words",
        nargs="+",
        metavar="INPUT|EXPRESSION",
        help="input, if it exists (bag, video, folder of images), otherwise an expression",
    )
    label.add_argument(
        "-e",
        "--expression",
        action="append",
        default=[],
        help="expression, even if a file of that name exists; may be repeated",
    )
    label.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of the data set to write"
    )
    add_recording(label)
    label.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="address of a Ray cluster with access to the same files; local starts one",
    )
    add_model(label)
    label.set_defaults(run=_label)


def _label(arguments: argparse.Namespace) -> None:
    require("recordings", "rosbags", "pycocotools")
    if arguments.ray:
        require("ray", "ray")
    from mllmseg_ros.data.review import LabelledSet
    from mllmseg_ros.recording.inference_pass import InferenceQuery
    from mllmseg_ros.recording.label import LabelRun, label, split_inputs

    inputs, words = split_inputs(arguments.words)
    expressions = [*words, *arguments.expression]
    if not inputs or not expressions:
        missing = "no input given (a bag, a video, a folder)" if not inputs else "no expression"
        raise ValueError(f"{missing} in {arguments.words}")
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
    )
    print(label(run, arguments.ray))
    counts = LabelledSet(arguments.output).counts()
    print(
        ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        + f"; next: mllmseg review {arguments.output}"
    )
