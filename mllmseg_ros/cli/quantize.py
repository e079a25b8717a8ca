# SPDX-License-Identifier: Apache-2.0
"""``mllmseg quantize``: write a checkpoint with a quantised language model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_overwrite, add_verb
from mllmseg_ros.cli.files import MODEL_FILES, check_output_folder
from mllmseg_ros.files import clear_folder

_KINDS = ("int8", "int4", "fp8")


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    quantize = add_verb(
        verbs,
        "quantize",
        "write a checkpoint with a quantised language model",
        "mllmseg quantize MLLMSeg_InternVL2_5_1B_RES int8 -o quantized_1b",
    )
    quantize.add_argument("model", help="checkpoint folder or name")
    quantize.add_argument("kind", choices=_KINDS, help="number format of the linear layers")
    quantize.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write"
    )
    add_overwrite(quantize, "the checkpoint")
    quantize.set_defaults(run=_quantize)


def _quantize(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.hub import checkpoint_name, find_checkpoint
    from mllmseg_ros.checkpoints.quantizing import quantize_checkpoint

    source = find_checkpoint(arguments.model)
    check_output_folder(arguments.output)
    if arguments.overwrite:
        clear_folder(arguments.output, "config.json", MODEL_FILES, inputs=[source])
    quantize_checkpoint(
        source,
        arguments.output,
        arguments.kind,
        checkpoint_name(arguments.model),
        report=lambda line: print(line, file=sys.stderr),
    )
    print(arguments.output)
