# SPDX-License-Identifier: Apache-2.0
"""``mllmseg export``: write a model as ONNX files, one per stage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import require


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    export = verbs.add_parser(
        "export", help="write a model as ONNX files, for ONNX Runtime and TensorRT"
    )
    export.add_argument("model", nargs="?", help="folder or name (default: embedded model)")
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="new or empty folder"
    )
    export.add_argument("--to", choices=("onnx",), default="onnx", help="format (default: onnx)")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> None:
    require("onnx", "onnx", "onnxscript", "onnxruntime")
    from mllmseg_ros.checkpoints.hub import find_checkpoint
    from mllmseg_ros.export.writing import export_onnx
    from mllmseg_ros.model.pixels import resize_to_square, to_pixel_values
    from mllmseg_ros.segmenter import Segmenter
    from mllmseg_ros.sim.samples import load_sample

    segmenter = Segmenter.from_pretrained(
        arguments.model, device="cpu", dtype="float32", quantize="none", backend="torch"
    )
    model = segmenter.torch_model
    square = resize_to_square(load_sample(0).rgb, model.config.image_size_px)
    export_onnx(
        model,
        segmenter.prompts,
        find_checkpoint(arguments.model),
        arguments.output,
        to_pixel_values(square)[None],
        report=print,
    )
    print(
        f"{arguments.output}: run it with --model {arguments.output}, or build TensorRT engines on "
        f"the machine that will use them: {arguments.output}/build_engines.sh"
    )
