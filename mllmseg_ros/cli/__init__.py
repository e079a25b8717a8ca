# SPDX-License-Identifier: Apache-2.0
"""The ``mllmseg`` command: one module per verb.

A verb's ``add`` only declares its arguments. Heavy imports happen when the verb runs, so that
``mllmseg --help`` is fast.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from mllmseg_ros.cli import (
    adapt,
    annotate,
    ask,
    benchmark,
    convert,
    data,
    doctor,
    evaluate,
    explain,
    export,
    label,
    listen,
    mcp,
    models,
    quantize,
    review,
    segment,
    sim,
    train,
    view,
)
from mllmseg_ros.cli.arguments import find_version, subparsers_of

__all__ = ["main"]

_VERBS = (
    segment, explain, ask, view, annotate, label, review, listen, mcp, models, doctor, benchmark,
    convert, quantize, export, data, adapt, train, evaluate, sim,
)  # fmt: skip
_FORMER_VERBS = {("bag",): ("annotate",), ("train", "start"): ("train", "init")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: command line without the program's name; None for the one of the process.

    Returns:
        Exit status: 0, or 1 after one line on stderr that names the problem; a verb may have
        others (``adapt``: 3).
    """
    # Before a verb imports torch: its threads must not wait in busy loops (tools/executable.in).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if argv is None:  # the executable ends at once until its main() takes over
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    argv = _replace_former_verb(sys.argv[1:] if argv is None else list(argv))
    arguments = _parse(argv)
    try:
        status: int | None = arguments.run(arguments)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"mllmseg: {message}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError) as error:
        print(f"mllmseg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status or 0


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


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse a command line. Expressions may stand after options; argparse leaves those over."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    name = getattr(arguments, "takes_rest", "")
    if rest and (not name or any(each.startswith("-") for each in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        setattr(arguments, name, [*getattr(arguments, name), *rest])
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mllmseg",
        description="Segment the objects in an image that referring expressions describe.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = subparsers_of(parser)
    for verb in _VERBS:
        verb.add(verbs)
    return parser


class _Version(argparse.Action):
    """Looks up the version only for ``--version``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"mllmseg {find_version() or '(not installed)'}")
        parser.exit()
