# SPDX-License-Identifier: Apache-2.0
"""``mllmseg view``: show a running node in Rerun, or record it for later."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_ros_arguments, add_verb, explain_missing_ros
from mllmseg_ros.cli.files import check_output_files


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    view = add_verb(
        verbs,
        "view",
        "show a running ROS 2 node in Rerun",
        "mllmseg view",
        "mllmseg view --save run.rrd --ros-args -r image:=/camera/color/image_raw",
    )
    view.add_argument("--camera", default="", help="name of the camera (default: none)")
    view.add_argument(
        "--save",
        type=Path,
        metavar="FILE.rrd",
        help="write this file instead of opening the viewer (default: open it)",
    )
    add_ros_arguments(view)
    view.set_defaults(run=_view)


def _view(arguments: argparse.Namespace) -> None:
    try:
        from mllmseg_ros.ros.tools.view_node import view
    except ImportError as error:
        raise explain_missing_ros("view", error) from error
    check_output_files(arguments.save)
    if view(arguments.camera, arguments.save, arguments.ros_args):
        raise RuntimeError("view failed, see above")
