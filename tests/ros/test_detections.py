# SPDX-License-Identifier: Apache-2.0
"""Results as vision_msgs, field by field."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")

from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from mllmseg_ros.msg import Segmentation, SegmentationArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import Client, NodeProcess, new_domain, stamps
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

from mllmseg_ros.ros.messages.detections import detections_2d, detections_3d, label_info
from mllmseg_ros.ros.messages.image_msgs import image_from_array, time_message
from mllmseg_ros.sim.samples import load_sample

HEADER = Header(stamp=time_message(12_345_678_901), frame_id="camera")
SAMPLE = load_sample(0)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def make_entry(expression: str, status: int, label: int, **fields: object) -> Segmentation:
    return Segmentation(
        expression=expression,
        status=status,
        label=label,
        score=0.75,
        mask_score=0.5,
        box=RegionOfInterest(x_offset=10, y_offset=20, width=31, height=6),
        **fields,
    )


def make_placed_entry(expression: str, label: int) -> Segmentation:
    return make_entry(
        expression,
        Segmentation.STATUS_FOUND,
        label,
        track_id="7",
        has_position=True,
        frame_id="base",
        position=Point(x=1.0, y=2.0, z=3.0),
        position_covariance=np.arange(1.0, 10.0),
        box_pose=Pose(
            position=Point(x=1.1, y=2.1, z=3.1), orientation=Quaternion(x=0.6, y=0.0, z=0.0, w=0.8)
        ),
        box_size=Vector3(x=0.1, y=0.2, z=0.3),
    )


ARRAY = SegmentationArray(
    header=HEADER,
    segmentations=[
        make_placed_entry("the mugs", 1),
        make_entry("the mugs", Segmentation.STATUS_FOUND, 2),
        make_entry("the bowl", Segmentation.STATUS_NO_TARGET, 0),
        make_entry("the can", Segmentation.STATUS_LOW_CONFIDENCE, 0),
    ],
)


def test_a_2d_detection_per_instance_found() -> None:
    message = detections_2d(ARRAY)
    assert message.header == HEADER
    assert [each.id for each in message.detections] == ["7", ""]
    first = message.detections[0]
    assert first.header == HEADER
    (result,) = first.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ("the mugs", 0.75)
    center, box = first.bbox.center, first.bbox
    # The corner as subscribers compute it: the half-open box of the entry.
    assert (center.position.x - box.size_x / 2, center.position.y - box.size_y / 2) == (10, 20)
    assert (box.size_x, box.size_y, center.theta) == (31, 6, 0)


def test_a_3d_detection_per_instance_with_a_position() -> None:
    message = detections_3d(ARRAY)
    assert message is not None
    assert (message.header.frame_id, message.header.stamp) == ("base", HEADER.stamp)
    (detection,) = message.detections
    assert detection.header == message.header
    assert detection.id == "7"
    assert detection.bbox.center == ARRAY.segmentations[0].box_pose
    assert detection.bbox.size == Vector3(x=0.1, y=0.2, z=0.3)
    (result,) = detection.results
    assert result.hypothesis.class_id == "the mugs"
    assert result.pose.pose.position == Point(x=1.0, y=2.0, z=3.0)
    assert result.pose.pose.orientation == detection.bbox.center.orientation
    covariance = np.reshape(result.pose.covariance, (6, 6))
    np.testing.assert_allclose(covariance[:3, :3], np.arange(1.0, 10.0).reshape(3, 3))
    np.testing.assert_allclose(covariance[3:, 3:], np.eye(3) * math.pi**2 / 3)
    assert not covariance[:3, 3:].any()
    assert not covariance[3:, :3].any()


def test_found_without_a_position_gives_no_empty_message() -> None:
    flat = SegmentationArray(header=HEADER, segmentations=ARRAY.segmentations[1:])
    assert detections_3d(flat) is None
    nothing = SegmentationArray(header=HEADER, segmentations=ARRAY.segmentations[2:])
    message = detections_3d(nothing)
    assert message is not None
    assert (message.header, list(message.detections)) == (HEADER, [])
    assert list(detections_2d(nothing).detections) == []


def test_the_score_of_a_model_that_cannot_reject_is_its_mask_score() -> None:
    unsure = make_entry("the mug", Segmentation.STATUS_FOUND, 1)
    unsure.score = math.nan
    array = SegmentationArray(header=HEADER, segmentations=[unsure])
    assert detections_2d(array).detections[0].results[0].hypothesis.score == 0.5


def test_the_label_image_s_values_have_names() -> None:
    message = label_info(ARRAY, 0.25)
    assert message.header == HEADER
    names = {each.class_id: each.class_name for each in message.class_map}
    assert names == {0: "background", 1: "the mugs", 2: "the mugs"}
    assert message.threshold == 0.25


class DetectorClient(Client):
    """Subscribes to the topics of a detector."""

    def __init__(self, domain: int) -> None:
        super().__init__(domain)
        self.flat: list[Detection2DArray] = []
        self.solid: list[Detection3DArray] = []
        self.node.create_subscription(Detection2DArray, "detections_2d", self.flat.append, 10)
        self.node.create_subscription(Detection3DArray, "detections_3d", self.solid.append, 10)

    def send_rgbd(self) -> None:
        header = self.header()
        depth_mm = np.round(SAMPLE.depth_m * 1000).astype(np.uint16)
        self.depth.publish(image_from_array(depth_mm, "16UC1", header))
        self.info.publish(CameraInfo(header=header, k=SAMPLE.K.ravel().tolist(), d=[0.0] * 5))
        self.image.publish(image_from_array(SAMPLE.rgb, "rgb8", header))


@pytest.fixture
def detector() -> Iterator[DetectorClient]:
    domain = new_domain()
    node = NodeProcess(domain, "--ros-args", "-p", "device:=cpu", "-p", "max_age:=10.0")
    client = DetectorClient(domain)
    node.wait_for("listening on")
    client.wait(client.connected)
    yield client
    client.close()
    assert node.end() == 0, node.log
    assert "Traceback" not in node.log


def test_over_dds_and_for_late_subscribers(detector: DetectorClient) -> None:
    client, command = detector, "the red mug; the bowl"
    client.set_parameters(decide_by="score", threshold=0.0)
    client.command(command)
    client.wait(
        lambda: client.flat and client.solid and client.to(command),
        each=client.send_rgbd,
        every_s=0.3,
    )
    client.spin(1.0)
    (last,) = client.solid[-1:]
    result = next(each for each in client.results if each.header.stamp == last.header.stamp)
    named = [each.results[0].hypothesis.class_id for each in last.detections]
    assert named == [each.expression for each in result.segmentations if each.has_position]
    assert stamps(client.flat)[-1] == stamps([last])[0]
    # After many results a late subscriber still gets the labels, once.
    infos: list[LabelInfo] = []
    client.node.create_subscription(LabelInfo, "label_info", infos.append, LATCHED)
    client.wait(lambda: infos, each=client.send_rgbd, every_s=0.3)
    client.spin(1.0, each=client.send_rgbd)
    assert len(infos) == 1
    assert infos[0].threshold == 0.0
    names = {each.class_id: each.class_name for each in infos[0].class_map}
    labels = {each.label: each.expression for each in result.segmentations}
    assert names == labels | {0: "background"}
    # Another command, other labels; and after a stop, nothing is detected.
    client.command("the can")
    client.wait(lambda: len(infos) == 2, each=client.send_rgbd, every_s=0.3)
    assert {each.class_name for each in infos[1].class_map} == {"background", "the can"}
    client.spin(0.5)
    client.command("stop")
    client.wait(lambda: client.flat and not client.flat[-1].detections)
    client.wait(lambda: client.solid and not client.solid[-1].detections)
