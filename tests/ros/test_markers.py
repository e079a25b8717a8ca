# SPDX-License-Identifier: Apache-2.0
"""Markers: a box and a name per position, and none of the previous result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from mllmseg_ros.geometry.instances import Depth, InstanceSet, TargetFrame, locate_instances
from mllmseg_ros.geometry.localization import Intrinsics, transform_position
from mllmseg_ros.ros.messages.segmentation_msgs import pose_message
from mllmseg_ros.ros.node.markers import marker_array, no_markers
from mllmseg_ros.ros.node.request import RequestFactory
from mllmseg_ros.ros.node.result import Result
from mllmseg_ros.ros.node.result_messages import labelled_points
from mllmseg_ros.segmentation import Status, build_segmentation

HEADER = Header(frame_id="camera")
K = np.array([[200.0, 0, 80], [0, 200, 60], [0, 0, 1]])


def make_result(*, with_depth: bool) -> Result:
    """Make a result with two patches, 0.6 and 0.8 m away, and an absent target."""
    mask = np.zeros((120, 160), np.bool_)
    mask[40:80, 20:60] = mask[50:70, 100:120] = True
    depth = np.full(mask.shape, 0.8, np.float32)
    depth[:, :80] = 0.6
    none = np.zeros_like(mask)
    segmentations = [
        build_segmentation("the mugs", Status.FOUND, 1.0, 1.0, mask.astype(np.float32), mask),
        build_segmentation("a", Status.NO_TARGET, 0.0, 0.0, none.astype(np.float32), none),
    ]
    intrinsics = Intrinsics(K=K, D=np.zeros(5))
    return Result(
        request=RequestFactory().receive("the mugs; a", 0),
        header=HEADER,
        rgb=np.zeros((120, 160, 3), np.uint8),
        instance_set=InstanceSet(
            instances=locate_instances(
                segmentations, Depth(metres=depth, intrinsics=intrinsics) if with_depth else None
            )
        ),
        latency_ns=0,
    )


def test_a_box_and_a_name_per_position() -> None:
    result = make_result(with_depth=True)
    first, *markers = marker_array(result).markers
    assert first.action == Marker.DELETEALL
    assert [(each.ns, each.id) for each in markers] == [
        ("boxes", 0),
        ("names", 0),
        ("boxes", 1),
        ("names", 1),
    ]
    assert {each.header.frame_id for each in markers} == {"camera"}
    assert len({(each.color.r, each.color.g, each.color.b) for each in markers}) == 2
    box, name = markers[:2]
    assert box.type == Marker.CUBE
    assert box.scale.x == pytest.approx(39 / 200 * 0.6, rel=1e-3)
    assert box.scale.z > 0  # visible although flat
    position = result.instances[0].position
    assert position is not None
    assert box.pose == pose_message(HEADER, position).pose
    assert name.text.startswith("the mugs 0.6")
    assert name.pose.position.y < box.pose.position.y - 0.05  # above it: y points down


def test_words_are_spaced_and_spelled_for_rviz() -> None:
    seen = make_result(with_depth=True)
    instances = [
        replace(each, segmentation=replace(each.segmentation, expression="die grüne Tasse"))
        for each in seen.instances
    ]
    result = replace(seen, instance_set=replace(seen.instance_set, instances=instances))
    name = marker_array(result).markers[2]
    assert name.text.startswith("die gruene Tasse 0.6")
    assert 0 < name.scale.x < name.scale.z < 0.1  # RViz would space words by a metre


def test_points_have_the_labels_of_their_pixels() -> None:
    result = make_result(with_depth=True)
    points, rgb, labels = labelled_points(result)
    assert len(points) == len(rgb) == len(labels)
    assert set(labels) == {1, 2}
    np.testing.assert_allclose(points[labels == 1][:, 2], 0.6, atol=1e-6)
    np.testing.assert_allclose(points[labels == 2][:, 2], 0.8, atol=1e-6)
    points, rgb, labels = labelled_points(make_result(with_depth=False))
    assert points.shape == rgb.shape == (0, 3)
    assert labels.shape == (0,)


def test_without_positions_all_markers_are_deleted() -> None:
    (only,) = marker_array(make_result(with_depth=False)).markers
    assert only.action == Marker.DELETEALL
    assert no_markers(HEADER).markers[0] == only


def test_in_a_target_frame_names_are_above_and_distances_from_the_camera() -> None:
    seen = make_result(with_depth=True)
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([1.0, -1.0, -1.0])  # a camera that looks down from 2 m
    matrix[2, 3] = 2.0
    instances = [
        replace(each, position=each.position and transform_position(each.position, matrix))
        for each in seen.instances
    ]
    frame = TargetFrame(frame_id="base", from_camera=matrix)
    result = replace(seen, instance_set=InstanceSet(instances=instances, frame=frame))
    first, box, name, *_ = marker_array(result).markers
    assert {each.header.frame_id for each in (first, box, name)} == {"base"}
    assert box.pose.position.z == pytest.approx(1.4)
    assert name.pose.position.z > 1.42
    assert name.pose.position.y == box.pose.position.y
    assert name.text == marker_array(seen).markers[2].text
