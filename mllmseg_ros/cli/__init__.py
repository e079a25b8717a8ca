# SPDX-License-Identifier: Apache-2.0
"""The ``mllmseg`` command: one module per verb.

A verb's ``add`` only declares its arguments. Heavy imports happen when the verb runs, so that
``mllmseg --help`` is fast.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence

from mllmseg_ros.cli import (
    adapt,
    annotate,
    benchmark,
    convert,
    data,
    doctor,
    evaluate,
    explain,
    export,
    label,
    listen,
    models,
    quantize,
    review,
    segment,
    sim,
    train,
    view,
)

__all__ = ["main"]

_VERBS = (
    segment, explain, view, annotate, label, review, listen, models, doctor, benchmark, convert,
    quantize, export, data, adapt, train, evaluate, sim,
)  # fmt: skip
_FORMER_VERBS = {("bag",): ("annotate",), ("train", "start"): ("train", "init")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: command line without the program's name; None for the one of the process.

    Returns:
        Exit status: 0, or 1 after one line on stderr that names the problem.
    """
    # Before a verb imports torch: its threads shall not wait in busy loops (tools/executable.in).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    argv = _replace_former_verb(sys.argv[1:] if argv is None else list(argv))
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"mllmseg: {message}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError) as error:
        print(f"mllmseg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _replace_former_verb(argv: list[str]) -> list[str]:
    """Replace a verb's former name, with a warning on stderr."""
    for former, verb in _FORMER_VERBS.items():
        if tuple(argv[: len(former)]) == former:
            print(
                f"mllmseg: '{' '.join(former)}' is deprecated, use 'mllmseg {' '.join(verb)}'",
                file=sys.stderr,
            )
            return [*verb, *argv[len(former) :]]
    return argv


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mllmseg",
        description="Segment in images what referring expressions describe.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb in _VERBS:
        verb.add(verbs)
    return parser


class _Version(argparse.Action):
    """Looks up the version only for ``--version``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        try:
            version = importlib.metadata.version("mllmseg_ros")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"mllmseg {version}")
        parser.exit()
