# SPDX-License-Identifier: Apache-2.0
"""``mllmseg view``: watch a running node in Rerun, or record it for later."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    view = verbs.add_parser("view", help="watch a running ROS 2 node in Rerun")
    view.add_argument("--camera", default="", help="name of the camera, where it has one")
    view.add_argument("--save", type=Path, metavar="FILE.rrd", help="write this, open no viewer")
    view.add_argument(
        "--ros-args",
        nargs=argparse.REMAINDER,
        default=[],
        help="all that follows is for ROS: -r image:=/camera/color/image_raw",
    )
    view.set_defaults(run=_view)


def _view(asked: argparse.Namespace) -> None:
    try:
        from mllmseg_ros.ros.tools.view_node import view
    except ImportError as error:
        raise ValueError(
            f"{error}; view listens to a ROS 2 node: run it in a sourced workspace, "
            "ros2 run mllmseg_ros mllmseg view"
        ) from error

    if view(asked.camera, asked.save, asked.ros_args):
        raise RuntimeError("the view ended with an error, see above")
