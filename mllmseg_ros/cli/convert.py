# SPDX-License-Identifier: Apache-2.0
"""``mllmseg convert``: convert pytorch_model.bin to safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_verb


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    convert = add_verb(
        verbs,
        "convert",
        "convert the pytorch_model.bin of a checkpoint to safetensors",
        "mllmseg convert MLLMSeg_InternVL2_5_1B_RES",
    )
    convert.add_argument("folder", type=Path, help="checkpoint folder")
    convert.set_defaults(run=_convert)


def _convert(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.conversion import convert_checkpoint

    for path in convert_checkpoint(arguments.folder):
        print(path)
