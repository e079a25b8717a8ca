# SPDX-License-Identifier: Apache-2.0
"""Messages in a bag written without ROS equal those that the node publishes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")

from ament_index_python.packages import get_package_share_directory
from mllmseg_ros.msg import SegmentationArray
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from mllmseg_ros.codecs.segmentations import build_segmentation_array
from mllmseg_ros.geometry.instances import Depth, InstanceSet, locate_instances
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.language.command import parse_command
from mllmseg_ros.recording.bag_types import (
    TYPES,
    header_message,
    serialize,
    time_message,
    typestore,
)
from mllmseg_ros.ros.messages import image_msgs
from mllmseg_ros.ros.node.request import Request
from mllmseg_ros.ros.node.result import Result
from mllmseg_ros.ros.node.result_messages import array_message
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

STAMP_NS = 1_700_000_000_123_456_789


def make_instance_set() -> InstanceSet:
    """Make an instance with a position, an uncertain one, and an absent one."""
    mask = np.zeros((48, 64), np.bool_)
    mask[10:30, 20:50] = True

    def make_segmentation(expression: str, status: Status, score: float) -> Segmentation:
        return build_segmentation(expression, status, score, 0.9, mask.astype(np.float32), mask)

    camera = Intrinsics(K=np.array([[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]]), D=np.zeros(5))
    rows = np.linspace(0.7, 0.9, 48, dtype=np.float32)[:, None].repeat(64, axis=1)
    found = [
        make_segmentation("the mug", Status.FOUND, 0.75),
        make_segmentation("the bowl", Status.LOW_CONFIDENCE, float("nan")),
        make_segmentation("the can", Status.NO_TARGET, 0.25),
    ]
    return InstanceSet(instances=locate_instances(found, Depth(metres=rows, intrinsics=camera)))


def test_a_bag_holds_the_message_that_the_node_publishes() -> None:
    command = parse_command("pick: the mug; the bowl; the can")
    header = Header(stamp=image_msgs.time_message(STAMP_NS), frame_id="camera")
    request = Request(request_id="r1", text=command.text, stamp_ns=STAMP_NS, command=command)
    published = array_message(
        Result(
            request=request,
            header=header,
            rgb=np.zeros((48, 64, 3), np.uint8),
            instance_set=make_instance_set(),
            latency_ns=0,
            model="tabletop",
        ),
        camera="/image",
    )
    written = build_segmentation_array(
        TYPES,
        command=command,
        header=header_message(STAMP_NS, "camera"),
        size_hw=(48, 64),
        instance_set=make_instance_set(),
        camera="/image",
        model="tabletop",
    )
    written.command, written.request_id = command.text, "r1"
    written.request_stamp = time_message(STAMP_NS)
    read = deserialize_message(bytes(serialize(written)), SegmentationArray)
    assert read.segmentations[0].has_position
    # Both serialised, which rounds to 32 bits; compared as text because NaN is not equal to itself.
    sent = deserialize_message(serialize_message(published), SegmentationArray)
    assert str(read) == str(sent)


def test_type_hashes_in_a_bag_are_those_of_ros() -> None:
    """Jazzy and later compare the hash of a message's definition."""
    share = Path(get_package_share_directory("mllmseg_ros"))
    description = share / "msg" / "SegmentationArray.json"
    if not description.is_file():
        pytest.skip("Humble's messages have no hash")
    hashes = json.loads(description.read_text())["type_hashes"]
    ours = {each["type_name"]: each["hash_string"] for each in hashes}
    for name in ("mllmseg_ros/msg/Segmentation", "mllmseg_ros/msg/SegmentationArray"):
        assert typestore().hash_rihs01(name) == ours[name]
