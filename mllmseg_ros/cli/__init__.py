# SPDX-License-Identifier: Apache-2.0
"""The ``mllmseg`` command: one module per verb.

A verb's ``add`` names its arguments, and imports what it needs only when it runs, so that ``mllmseg
--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence

from mllmseg_ros.cli import (
    adapt,
    bag,
    convert,
    data,
    doctor,
    evaluate,
    explain,
    label,
    listen,
    models,
    review,
    segment,
    sim,
    train,
    view,
)

__all__ = ["main"]

_VERBS = (
    segment, explain, view, bag, label, review, listen, models, doctor, convert, data, adapt, train,
    evaluate, sim,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        0, or 1 after one line on stderr that says what was wrong.
    """
    asked = _parser().parse_args(arguments)
    try:
        asked.run(asked)
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"mllmseg: {named}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError) as error:
        print(f"mllmseg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mllmseg", description="Referring-expression segmentation: words in, masks out."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say it and end")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb in _VERBS:
        verb.add(verbs)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        try:
            version = importlib.metadata.version("mllmseg_ros")
        except importlib.metadata.PackageNotFoundError:
            version = "from a folder that is not installed"
        print(f"mllmseg {version}")
        parser.exit()
