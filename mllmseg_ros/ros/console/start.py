# SPDX-License-Identifier: Apache-2.0
"""Start the web console, or say what it lacks."""

from __future__ import annotations

import sys

from mllmseg_ros.ros.support.spin import run

__all__ = ["main"]


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end; returns the exit status."""
    try:
        from mllmseg_ros.ros.console.node import ConsoleNode
    except ImportError as error:  # aiohttp is not everywhere
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    return run(ConsoleNode, args)
