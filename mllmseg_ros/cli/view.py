# SPDX-License-Identifier: Apache-2.0
"""``mllmseg view``: show a running node in Rerun, or record it for later."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    view = verbs.add_parser("view", help="show a running ROS 2 node in Rerun")
    view.add_argument("--camera", default="", help="name of the camera, if it has one")
    view.add_argument(
        "--save",
        type=Path,
        metavar="FILE.rrd",
        help="write this file instead of opening the viewer",
    )
    view.add_argument(
        "--ros-args",
        nargs=argparse.REMAINDER,
        default=[],
        help="ROS arguments, for example -r image:=/camera/color/image_raw",
    )
    view.set_defaults(run=_view)


def _view(arguments: argparse.Namespace) -> None:
    try:
        from mllmseg_ros.ros.tools.view_node import view
    except ImportError as error:
        raise ValueError(
            f"{error}; view needs ROS 2: run it in a sourced workspace with "
            "ros2 run mllmseg_ros mllmseg view"
        ) from error

    if view(arguments.camera, arguments.save, arguments.ros_args):
        raise RuntimeError("view failed, see above")
