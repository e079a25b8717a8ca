# SPDX-License-Identifier: Apache-2.0
"""``mllmseg ask``: ask a running node, without the ``ros2`` command."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from mllmseg_ros.cli.arguments import (
    add_expression,
    add_ros_arguments,
    add_verb,
    check_expressions,
    explain_missing_ros,
)

if TYPE_CHECKING:
    from mllmseg_ros.client import Client

_PRINT_EVERY_S = 1.0  # of results whose status is the same


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    ask = add_verb(
        verbs,
        "ask",
        "ask a running ROS 2 node, and print status, box and metres",
        'mllmseg ask "the red mug"',
        'mllmseg ask "pick up the red mug" --watch',
        'mllmseg ask "the door" --camera front --ros-args -r __ns:=/robot',
    )
    ask.add_argument(
        "expressions",
        nargs="*",
        metavar="EXPRESSION",
        help="what to look for, as in a command; a single one may be a sentence",
    )
    add_expression(ask)
    ask.add_argument(
        "--watch",
        action="store_true",
        help="put the command in force and print its results until Ctrl-C, which ends it",
    )
    ask.add_argument("--camera", default="", help="name of the camera (default: none)")
    ask.add_argument(
        "--timeout", type=float, default=10.0, metavar="SECONDS", help="how long to wait"
    )
    add_ros_arguments(ask)
    ask.set_defaults(run=_ask, takes_rest="expressions")


def _ask(arguments: argparse.Namespace) -> None:
    check_expressions(arguments.expressions, reads_files=False)
    expressions = [*arguments.expressions, *arguments.expression]
    if not any(each.strip() for each in expressions):
        raise ValueError('nothing is asked for; give an expression such as "the red mug"')
    try:
        from mllmseg_ros.client import Client, describe
    except ImportError as error:
        raise explain_missing_ros("ask", error) from error
    with Client(
        arguments.camera, timeout_s=arguments.timeout, ros_arguments=arguments.ros_args
    ) as client:
        if arguments.watch:
            _watch(client, expressions)
            return
        result = client.segment(*expressions)
        if not result.segmentations:  # no image, refused, stopped
            raise RuntimeError(describe(result)[0])
        _print_result(result)


def _watch(client: Client, expressions: list[str]) -> None:
    """Print the results of a command: each change of its status, else one a second."""
    status, due_s = None, 0.0
    for result in client.watch(*expressions):
        if result.status != status or time.monotonic() >= due_s:
            _print_result(result)
            status, due_s = result.status, time.monotonic() + _PRINT_EVERY_S


def _print_result(result: Any) -> None:
    from mllmseg_ros.client import describe

    print("\n  ".join(describe(result)), flush=True)
