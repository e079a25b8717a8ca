# SPDX-License-Identifier: Apache-2.0
"""``mllmseg benchmark``: measure how fast a model is on this machine."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_backend, add_model, add_verb
from mllmseg_ros.cli.files import check_output_files, is_stdout, write_json

_MAX_SIDE_PX = 8192


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    benchmark = add_verb(
        verbs,
        "benchmark",
        "measure how fast a model is on this machine",
        "mllmseg benchmark",
        "mllmseg benchmark --size 1B --dtype bfloat16 --image 1280x720",
        "mllmseg benchmark --model MLLMSeg_InternVL2_5_1B_RES --json speed.json",
    )
    add_model(benchmark)
    add_backend(benchmark)
    benchmark.add_argument(
        "--size",
        choices=("1B", "2B", "4B", "8B"),
        help="random weights of a published size instead of a checkpoint: the same time "
        "(default: the model of --model)",
    )
    benchmark.add_argument(
        "--compile",
        choices=("auto", "graphs", "off"),
        default="auto",
        help="CUDA graphs; auto: on CUDA; stages are timed without them",
    )
    benchmark.add_argument(
        "--image",
        type=_image_size,
        default="640x480",
        metavar="WIDTHxHEIGHT",
        help="size of the image",
    )
    benchmark.add_argument(
        "--seconds", type=float, default=10.0, help="duration of each of two measurements"
    )
    benchmark.add_argument("--json", type=Path, help="report to write, - for stdout")
    benchmark.set_defaults(run=_benchmark)


def _image_size(text: str) -> tuple[int, int]:
    """Parse a size; (height, width)."""
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if not found or not all(0 < int(side) <= _MAX_SIDE_PX for side in found.groups()):
        raise argparse.ArgumentTypeError(
            f"{text!r}, expected WIDTHxHEIGHT such as 640x480, up to {_MAX_SIDE_PX} a side"
        )
    return int(found[2]), int(found[1])


def _benchmark(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.benchmark.measure import measure
    from mllmseg_ros.benchmark.random_model import random_segmenter
    from mllmseg_ros.benchmark.report import TABLE_HEAD, json_fields, report_lines, table_row
    from mllmseg_ros.segmenter import Segmenter

    if arguments.size and arguments.model:
        raise ValueError("--size is for random weights and --model for a checkpoint; give one")
    if arguments.size and arguments.quantize not in (None, "auto", "none"):
        raise ValueError("random weights are not quantised; give a checkpoint")
    if arguments.size and arguments.backend not in (None, "auto", "torch"):
        raise ValueError("random weights are run by backend torch; give an exported model instead")
    if not arguments.seconds > 0:
        raise ValueError(f"--seconds is {arguments.seconds}, expected more than 0")
    check_output_files(arguments.json)
    to_stdout = is_stdout(arguments.json)

    def report(line: str) -> None:
        print(line, file=sys.stderr if to_stdout else sys.stdout, flush=True)

    parity = _check_parity(arguments)
    report(
        "parity: not checked, because the exported model is not the embedded one"
        if parity is None
        else f"parity: {parity.n_masks} masks of the embedded model, IoU with float32 on the CPU "
        f"{parity.mean_iou:.4f}, the worst {parity.min_iou:.4f}"
    )
    segmenter = (
        random_segmenter(arguments.size, arguments.device, arguments.dtype, arguments.compile)
        if arguments.size
        else Segmenter.from_pretrained(arguments.model, **_options(arguments))
    )
    if segmenter.compile_problem:
        report(segmenter.compile_problem)
    measured = measure(
        segmenter,
        arguments.image,
        arguments.seconds,
        lambda what: report(f"measuring {what}, at least {arguments.seconds:g} s ..."),
    )
    for line in report_lines(measured):
        report(line)
    fields = json_fields(segmenter, arguments.image, parity, measured)
    for line in (*TABLE_HEAD, table_row(fields)):
        report(line)
    write_json(fields, arguments.json)


def _check_parity(arguments: argparse.Namespace) -> Any:
    """Check parity of the embedded model, loaded as the one that is measured; None for an export.

    An export has its own weights: it is checked where they are the embedded model's.
    """
    from mllmseg_ros import export
    from mllmseg_ros.benchmark.parity import check_parity
    from mllmseg_ros.checkpoints.hub import EMBEDDED, find_checkpoint
    from mllmseg_ros.files import is_missing
    from mllmseg_ros.model.config import read_config
    from mllmseg_ros.segmenter import Segmenter

    folder, model = find_checkpoint(arguments.model), None
    if not is_missing(folder / export.MANIFEST):
        if read_config(folder).name != read_config(EMBEDDED).name:
            return None
        model = folder
    return check_parity(lambda: Segmenter.from_pretrained(model, **_options(arguments)))


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """How the model is loaded."""
    names = ("device", "dtype", "quantize", "compile", "backend")
    return {name: getattr(arguments, name) for name in names}
