# SPDX-License-Identifier: Apache-2.0
"""Arguments that several verbs share, and what is made of them."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_images(parser: Any) -> None:
    """Add ``--images``."""
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        default=(),
        help="folders of the images, if not in the data set",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--device``, ``--dtype`` and ``--quantize``."""
    parser.add_argument("--model", help="checkpoint folder or name (default: embedded model)")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", help="auto, float32, bfloat16 or float16")
    parser.add_argument(
        "--quantize", help="auto (as the checkpoint is stored), none, int8, int4, fp8"
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend``."""
    parser.add_argument(
        "--backend",
        help="auto, torch, or for an exported model onnxruntime or tensorrt "
        "(default: onnxruntime for an exported model, else torch)",
    )


def load_segmenter(
    arguments: argparse.Namespace, *, backend: str | None = None, whole_head: bool = False
) -> Any:
    """Load the Segmenter named by the arguments of :func:`add_model`.

    Args:
        arguments: of the command line.
        backend: of :func:`add_backend`.
        whole_head: for the paper's protocol.
    """
    from mllmseg_ros.segmenter import Segmenter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # printed below, in one line
        segmenter = Segmenter.from_pretrained(
            arguments.model,
            device=arguments.device,
            dtype=arguments.dtype,
            quantize=arguments.quantize,
            backend=backend,
            whole_head=whole_head,
        )
    if segmenter.load_warning:
        print(segmenter.load_warning, file=sys.stderr)
    if segmenter.synthetic_only:
        print(f"{segmenter.name} knows simulated tabletop scenes only", file=sys.stderr)
    return segmenter


def require(extra: str, *modules: str) -> None:
    """Check that an optional part is installed.

    Args:
        extra: the part, listed in requirements/<extra>.txt.
        modules: names of its modules.

    Raises:
        ValueError: Modules are missing; names them and what to install.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"needs {', '.join(missing)}: pip install 'mllmseg_ros[{extra}]', or install the "
            f"packages in requirements/{extra}.txt"
        )


def find_version() -> str:
    """Look up the version of the installed package; "" if it is not installed."""
    try:
        return importlib.metadata.version("mllmseg_ros")
    except importlib.metadata.PackageNotFoundError:
        return ""


def read_command(expressions: Sequence[str]) -> Any:
    """Make a Command of expressions.

    Raises:
        ValueError: An expression is invalid, or there is none.
    """
    from mllmseg_ros.language.command import parse_command

    command = parse_command("; ".join(expressions))
    if command.is_stop:
        raise ValueError('nothing is asked for; give an expression such as "the red mug"')
    return command
