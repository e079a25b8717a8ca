# SPDX-License-Identifier: Apache-2.0
"""``mllmseg label``: recordings into a data set for ``mllmseg review`` and ``mllmseg adapt``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_model, read_command, require
from mllmseg_ros.cli.bag import add_recording, checked_every


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    label = verbs.add_parser("label", help="recordings into a data set to review; resumes")
    label.add_argument(
        "words",
        nargs="+",
        metavar="INPUT|EXPRESSION",
        help="what exists is an input (bag, video, folder of pictures), all else an expression",
    )
    label.add_argument(
        "-e",
        "--expression",
        action="append",
        default=[],
        help="an expression, also where a file has its name; may be repeated",
    )
    label.add_argument("-o", "--output", type=Path, required=True, help="data set to write")
    add_recording(label)
    label.add_argument(
        "--ray", metavar="ADDRESS", help="of a Ray cluster with the same files; local: starts one"
    )
    add_model(label)
    label.set_defaults(run=_label)


def _label(asked: argparse.Namespace) -> None:
    require("recordings", "rosbags", "pycocotools")
    if asked.ray:
        require("ray", "ray")
    from mllmseg_ros.data.review import LabelledSet
    from mllmseg_ros.recording.inference_pass import InferenceQuery
    from mllmseg_ros.recording.label import LabelRun, label, split_inputs

    inputs, words = split_inputs(asked.words)
    expressions = [*words, *asked.expression]
    if not inputs or not expressions:
        what = "no input (a bag, a video, a folder)" if not inputs else "no expression"
        raise ValueError(f"{what} among {asked.words}")
    command = read_command(expressions)
    question = InferenceQuery(
        expressions=tuple(dict.fromkeys(command.expressions)),
        models=(asked.model,),
        device=asked.device,
        dtype=asked.dtype,
    )
    run = LabelRun(
        inputs=tuple(inputs),
        question=question,
        out=asked.output,
        every=checked_every(asked),
        topics=tuple(asked.topics),
    )
    print(label(run, asked.ray))
    counts = LabelledSet(asked.output).counts()
    print(
        ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        + f"; next: mllmseg review {asked.output}"
    )
