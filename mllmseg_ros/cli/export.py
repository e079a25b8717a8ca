# SPDX-License-Identifier: Apache-2.0
"""``mllmseg export``: write a model as ONNX files, one per stage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_overwrite, add_verb, require
from mllmseg_ros.cli.files import check_output_folder
from mllmseg_ros.files import clear_folder

# Of the export, its configuration and tokenizer, and what build_engines.sh adds.
_WRITTEN = ("*.engine", "*.json", "*.model", "*.onnx", "*.onnx.data", "*.sh", "*.txt")


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    export = add_verb(
        verbs,
        "export",
        "write a model as ONNX files, for ONNX Runtime and TensorRT",
        "mllmseg export -o exported",
        "mllmseg export MLLMSeg_InternVL2_5_1B_RES -o exported_1b",
        'mllmseg segment image.png "the red mug" --model exported_1b',
    )
    export.add_argument("model", nargs="?", help="folder or name (default: embedded model)")
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="new or empty folder"
    )
    export.add_argument("--to", choices=("onnx",), default="onnx", help="format")
    add_overwrite(export, "the export")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> None:
    require("onnx", "onnx", "onnxscript", "onnxruntime")
    from mllmseg_ros.checkpoints.hub import find_checkpoint
    from mllmseg_ros.export import MANIFEST
    from mllmseg_ros.export.writing import export_onnx
    from mllmseg_ros.model.pixels import resize_to_square, to_pixel_values
    from mllmseg_ros.segmenter import Segmenter
    from mllmseg_ros.sim.samples import load_sample

    source = find_checkpoint(arguments.model)
    check_output_folder(arguments.output)
    if arguments.overwrite:
        clear_folder(arguments.output, MANIFEST, _WRITTEN, inputs=[source])
    segmenter = Segmenter.from_pretrained(
        arguments.model, device="cpu", dtype="float32", quantize="none", backend="torch"
    )
    model = segmenter.torch_model
    square = resize_to_square(load_sample(0).rgb, model.config.image_size_px)
    export_onnx(
        model,
        segmenter.prompts,
        source,
        arguments.output,
        to_pixel_values(square)[None],
        report=print,
    )
    print(
        f"{arguments.output}: run it with --model {arguments.output}, or build TensorRT engines on "
        f"the machine that will use them: {arguments.output}/build_engines.sh"
    )
