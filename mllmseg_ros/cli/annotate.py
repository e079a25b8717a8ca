# SPDX-License-Identifier: Apache-2.0
"""``mllmseg annotate``: segment a recording; writes a bag, a video and a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_model, read_command, require


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    annotate = verbs.add_parser(
        "annotate", help="segment a recording: bag, video or folder of images (resumes)"
    )
    annotate.add_argument(
        "recording",
        type=Path,
        help="rosbag2 folder, .mcap or .db3 file, video, or folder of images",
    )
    annotate.add_argument(
        "expressions",
        nargs="+",
        metavar="EXPRESSION",
        help="referring expression, such as 'the red mug'",
    )
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
    annotate.set_defaults(run=_annotate)


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Add ``--every`` and ``--topics``."""
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use every N-th image only (default: 1)"
    )
    parser.add_argument(
        "--topics",
        nargs="+",
        default=(),
        metavar="TOPIC",
        help="image topics, for a bag with several cameras",
    )


def checked_every(arguments: argparse.Namespace) -> int:
    """Get ``--every``, checked.

    Raises:
        ValueError: if it is not 1 or more.
    """
    if arguments.every < 1:
        raise ValueError(f"--every is {arguments.every}; accepted: 1 (all images) or more")
    return int(arguments.every)


def _annotate(arguments: argparse.Namespace) -> None:
    require("recordings", "rosbags", "pycocotools", "av")
    from mllmseg_ros.recording.annotate import annotate
    from mllmseg_ros.recording.inference_pass import InferenceQuery, load_models
    from mllmseg_ros.recording.source import open_source

    every = checked_every(arguments)
    command = read_command(arguments.expressions)
    source = open_source(arguments.recording, arguments.topics)
    models = [arguments.model, arguments.compare] if arguments.compare else [arguments.model]
    query = InferenceQuery(
        expressions=tuple(command.expressions),
        models=tuple(models),
        device=arguments.device,
        dtype=arguments.dtype,
        quantize=arguments.quantize,
    )
    segmenters = load_models(query)
    out = arguments.output or Path(f"{arguments.recording.resolve().stem}_mllmseg")
    names = [
        f"{model or 'embedded'} ({segmenter.name})"
        for model, segmenter in zip(models, segmenters, strict=True)
    ]
    annotate(source, out, command, segmenters, names, every)
    for path in sorted(out.iterdir()):
        if not path.name.startswith("."):
            print(path)
