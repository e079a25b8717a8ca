# SPDX-License-Identifier: Apache-2.0
"""Former import paths work for one release, with a warning."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

# Former module -> its module now, and the names that programs import from the former one.
MOVED = {
    "mllmseg_ros.grasp": ("mllmseg_ros.geometry.grasp", "Grasp Gripper NoGrasp plan_grasp"),
    "mllmseg_ros.instances": (
        "mllmseg_ros.geometry.instances",
        "Depth Instance Located OtherFrame distance_m instances_of part_of parts_of "
        "split_instances",
    ),
    "mllmseg_ros.position": (
        "mllmseg_ros.geometry.localization",
        "Intrinsics MIN_POINTS Position locate transformed unit_depth_rays",
    ),
    "mllmseg_ros.explanation_panel": ("mllmseg_ros.explain.panel", "draw_explanation reason"),
    "mllmseg_ros.explain": (
        "mllmseg_ros.explain.explanation",
        "SEEN Explanation Region explain regions shortened",
    ),
    "mllmseg_ros.transforms": (
        "mllmseg_ros.geometry.transforms",
        "HISTORY_NS TransformBuffer TransformError TransformExpiredError inverse matrix_of slerp",
    ),
    "mllmseg_ros.ros.poses": (
        "mllmseg_ros.ros.messages.poses",
        "box_corners middle_xy out_of tool_pose",
    ),
    "mllmseg_ros.ros.point_cloud": (
        "mllmseg_ros.ros.messages.point_cloud",
        "choose_cloud_builder cloud_from_points colors_from_cloud points_from_cloud scene_points",
    ),
    "mllmseg_ros.ros.image_msgs": (
        "mllmseg_ros.ros.messages.image_msgs",
        "compressed_from_array depth_from_image image_from_array intrinsics_from_info nanoseconds "
        "rgb_from_compressed rgb_from_image time_message",
    ),
    "mllmseg_ros.ros.spin": ("mllmseg_ros.ros.support.spin", "run"),
    "mllmseg_ros.ros.tf": (
        "mllmseg_ros.ros.support.tf",
        "OwnTree Tf2Tree TransformLookup Transforms matrix_at",
    ),
    "mllmseg_ros.ros.launch_files": ("mllmseg_ros.ros.support.launch_files", "Topic describe_node"),
    "mllmseg_ros.ros.parameters": ("mllmseg_ros.ros.node.parameters", "SegmenterParameters"),
}
# What a module needs beyond this package's core dependencies.
NEEDS = {"mllmseg_ros.ros.launch_files": "launch_ros.actions"}


@pytest.mark.parametrize("old", MOVED)
def test_a_former_path_forwards_its_names_with_a_warning(old: str) -> None:
    new, names = MOVED[old]
    if old.startswith("mllmseg_ros.ros."):
        pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace")
    if old in NEEDS:
        pytest.importorskip(NEEDS[old])
    assert importlib.util.find_spec(new) is not None
    code = f"from {old} import {', '.join(names.split())}"
    child = subprocess.run(
        [sys.executable, "-W", "default::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",  # the source folder must not hide the installed package and its messages
    )
    assert child.returncode == 0, child.stderr
    warnings = [line for line in child.stderr.splitlines() if f"has moved to {new}" in line]
    assert warnings, child.stderr
    # Reported for the line that imports it.
    assert all(line.startswith("<string>:1: DeprecationWarning: ") for line in warnings)


def test_unknown_names_of_a_former_path_are_errors() -> None:
    with pytest.warns(DeprecationWarning, match="has moved to"):
        former = importlib.import_module("mllmseg_ros.grasp")
    with pytest.raises(AttributeError, match="nothing_like_that"):
        _ = former.nothing_like_that
    package = importlib.import_module("mllmseg_ros.explain")
    with pytest.raises(AttributeError, match="nothing_like_that"):
        _ = package.nothing_like_that
