# SPDX-License-Identifier: Apache-2.0
"""What several verbs ask for: the model and where pictures are."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_images(parser: Any) -> None:
    """Ask for ``--images``."""
    parser.add_argument(
        "--images", type=Path, nargs="+", default=(), help="folders of the pictures, if elsewhere"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Ask for ``--model``, ``--device`` and ``--dtype``."""
    parser.add_argument("--model", help="checkpoint folder or name; default: the embedded model")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--dtype", help="auto, float32, bfloat16, float16")


def load_segmenter(asked: argparse.Namespace) -> Any:
    """Load the Segmenter that :func:`add_model`'s arguments name; says so where it is narrow."""
    from mllmseg_ros.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(asked.model, device=asked.device, dtype=asked.dtype)
    if segmenter.synthetic_only:
        print(f"{segmenter.name} knows simulated tabletop scenes only", file=sys.stderr)
    return segmenter


def require(extra: str, *modules: str) -> None:
    """Check that an optional part is installed.

    Args:
        extra: requirements/<extra>.txt has it.
        modules: that it brings, as they are imported.

    Raises:
        ValueError: naming what is missing, and what to install.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"needs {', '.join(missing)}: pip install 'mllmseg_ros[{extra}]', or what "
            f"requirements/{extra}.txt lists"
        )


def read_command(expressions: Sequence[str]) -> Any:
    """The Command that expressions make.

    Raises:
        ValueError: if one is none, or nothing is asked for.
    """
    from mllmseg_ros.language.command import parse_command

    command = parse_command("; ".join(expressions))
    if command.is_stop:
        raise ValueError('nothing is asked for; give an expression such as "the red mug"')
    return command
