# SPDX-License-Identifier: Apache-2.0
"""``mllmseg convert``: convert pytorch_model.bin to safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    convert = verbs.add_parser("convert", help="convert pytorch_model.bin to safetensors")
    convert.add_argument("folder", type=Path, help="checkpoint folder")
    convert.set_defaults(run=_convert)


def _convert(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.conversion import convert_checkpoint

    for path in convert_checkpoint(arguments.folder):
        print(path)
