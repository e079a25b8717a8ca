# SPDX-License-Identifier: Apache-2.0
"""Start the web console, or print which package is missing."""

from __future__ import annotations

import sys

from mllmseg_ros.ros.support.spin import run

__all__ = ["main"]


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal ends it; return the exit status."""
    try:
        from mllmseg_ros.ros.console.node import ConsoleNode
    except ImportError as error:  # aiohttp is optional
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    return run(ConsoleNode, args)
