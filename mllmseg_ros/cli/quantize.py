# SPDX-License-Identifier: Apache-2.0
"""``mllmseg quantize``: write a checkpoint with a quantised language model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

_KINDS = ("int8", "int4", "fp8")


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    quantize = verbs.add_parser(
        "quantize", help="write a checkpoint with a quantised language model"
    )
    quantize.add_argument("model", help="checkpoint folder or name")
    quantize.add_argument("kind", choices=_KINDS, help="number format of the linear layers")
    quantize.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write"
    )
    quantize.set_defaults(run=_quantize)


def _quantize(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.hub import checkpoint_name, find_checkpoint
    from mllmseg_ros.checkpoints.quantizing import quantize_checkpoint

    quantize_checkpoint(
        find_checkpoint(arguments.model),
        arguments.output,
        arguments.kind,
        checkpoint_name(arguments.model),
        report=lambda line: print(line, file=sys.stderr),
    )
    print(arguments.output)
