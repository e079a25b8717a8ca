# SPDX-License-Identifier: Apache-2.0
"""``mllmseg bag``: the model over a recording; a bag, a video and a table come out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_model, read_command, require


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    bag = verbs.add_parser("bag", help="ask a recording: bag, video or folder; resumes")
    bag.add_argument(
        "recording", type=Path, help="rosbag2 folder, .mcap, .db3, a video, a folder of pictures"
    )
    bag.add_argument("expressions", nargs="+", metavar="EXPRESSION")
    bag.add_argument(
        "-o", "--output", type=Path, help="folder to write; default: RECORDING_mllmseg, here"
    )
    add_recording(bag)
    bag.add_argument(
        "--compare", metavar="MODEL_B", help="a second model, beside the first in video and table"
    )
    add_model(bag)
    bag.set_defaults(run=_bag)


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Ask for ``--every`` and ``--topics``."""
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="every N-th image only; default: 1"
    )
    parser.add_argument(
        "--topics",
        nargs="+",
        default=(),
        metavar="TOPIC",
        help="of a bag, if it has several cameras",
    )


def checked_every(asked: argparse.Namespace) -> int:
    """``--every``.

    Raises:
        ValueError: if it is not 1 or more.
    """
    if asked.every < 1:
        raise ValueError(f"--every is {asked.every}, accepted: 1 (all) or more")
    return int(asked.every)


def _bag(asked: argparse.Namespace) -> None:
    require("recordings", "rosbags", "pycocotools", "av")
    from mllmseg_ros.recording.annotate import annotate
    from mllmseg_ros.recording.inference_pass import InferenceQuery, load_models
    from mllmseg_ros.recording.source import open_source

    every = checked_every(asked)
    command = read_command(asked.expressions)
    source = open_source(asked.recording, asked.topics)
    models = [asked.model, asked.compare] if asked.compare else [asked.model]
    question = InferenceQuery(
        expressions=tuple(command.expressions),
        models=tuple(models),
        device=asked.device,
        dtype=asked.dtype,
    )
    segmenters = load_models(question)
    out = asked.output or Path(f"{asked.recording.resolve().stem}_mllmseg")
    names = [
        f"{model or 'embedded'} ({each.name})"
        for model, each in zip(models, segmenters, strict=True)
    ]
    annotate(source, out, command, segmenters, names, every)
    for path in sorted(out.iterdir()):
        print(path)
