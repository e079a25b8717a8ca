# SPDX-License-Identifier: Apache-2.0
"""What other packages' nodes accept of this one, each by its own rules.

All of them pair by equal stamps and drop what does not fit, without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from rclpy.qos import qos_profile_sensor_data
from ros_harness import stamps
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from mllmseg_ros.ros.image_msgs import image_from_array, nanoseconds
from mllmseg_ros.sim.samples import load_sample

if TYPE_CHECKING:
    from ros_harness import Client

SAMPLE = load_sample(0)
COMMAND, TARGET = "the red mug", 2  # and the instance id that the sample's truth gives it
TOPICS = {
    "mask": Image,
    "labels": Image,
    "confidence": Image,
    "target_cloud": PointCloud2,
    "scene_cloud": PointCloud2,
}


@pytest.fixture(scope="module")
def synchronised(connection: Client) -> Iterator[dict[str, Any]]:
    """One message of each output, all of one stamp, received as sensor data (best effort)."""
    connection.reset()
    received: dict[str, list] = {topic: [] for topic in TOPICS}
    subscriptions = [
        connection.node.create_subscription(
            kind, topic, received[topic].append, qos_profile_sensor_data
        )
        for topic, kind in TOPICS.items()
    ]
    infos: dict[int, CameraInfo] = {}

    def send() -> None:
        header = connection.header()
        depth_mm = np.round(SAMPLE.depth_m * 1000).astype(np.uint16)
        connection.depth.publish(image_from_array(depth_mm, "16UC1", header))
        info = CameraInfo(header=header, height=480, width=640, k=SAMPLE.K.ravel().tolist())
        connection.info.publish(info)
        connection.image.publish(image_from_array(SAMPLE.rgb, "rgb8", header))
        infos[nanoseconds(header.stamp)] = info

    def common() -> set[int]:
        return set.intersection(set(infos), *(set(stamps(each)) for each in received.values()))

    connection.command(COMMAND)
    connection.wait(common, each=send)
    stamp_ns = max(common())
    chosen: dict[str, Any] = {
        topic: messages[stamps(messages).index(stamp_ns)] for topic, messages in received.items()
    }
    yield chosen | {"camera_info": infos[stamp_ns]}
    for subscription in subscriptions:
        connection.node.destroy_subscription(subscription)


def pixels(image: Image) -> np.ndarray:
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)


@pytest.mark.parametrize("topic", ["mask", "labels", "confidence"])
def test_images_are_mono8_of_the_camera_s_size_without_padding(
    synchronised: dict[str, Any], topic: str
) -> None:
    """As nvblox (mask beside camera_info), FoundationPose and contact_graspnet read them."""
    image, info = synchronised[topic], synchronised["camera_info"]
    assert image.encoding == "mono8"
    assert (image.height, image.width, image.step) == (info.height, info.width, info.width)
    assert image.is_bigendian == 0
    assert image.header == info.header


def test_the_mask_is_binary_and_covers_the_object(synchronised: dict[str, Any]) -> None:
    """As FoundationPose and nvblox read it: zero or not."""
    mask = pixels(synchronised["mask"])
    assert set(np.unique(mask)) == {0, 255}
    truth = SAMPLE.instances == TARGET
    assert ((mask > 0) & truth).sum() > 0.8 * truth.sum()


def test_labels_and_confidence_are_those_of_the_navigation_layer(
    synchronised: dict[str, Any],
) -> None:
    """As Nav2's semantic segmentation layer reads them: a class and how sure it is, per pixel."""
    labels, confidence = pixels(synchronised["labels"]), pixels(synchronised["confidence"])
    np.testing.assert_array_equal(labels > 0, pixels(synchronised["mask"]) > 0)
    assert confidence[labels > 0].min() >= 127  # the model's soft mask, from one half on
    assert confidence[labels > 0].mean() > 200
    assert confidence[labels == 0].mean() > 200


@pytest.mark.parametrize("topic", ["target_cloud", "scene_cloud"])
def test_clouds_are_what_planners_read(synchronised: dict[str, Any], topic: str) -> None:
    """As MoveIt's octomap updater and PCL read them: x, y, z and rgb in 32 bits, finite."""
    cloud = synchronised[topic]
    assert [(each.name, each.datatype, each.count) for each in cloud.fields] == [
        (name, PointField.FLOAT32, 1) for name in ("x", "y", "z", "rgb")
    ]
    assert cloud.is_dense
    assert len(cloud.data) == cloud.row_step * cloud.height == cloud.point_step * cloud.width
    records = np.frombuffer(cloud.data, np.float32).reshape(cloud.width, cloud.point_step // 4)
    assert np.isfinite(records[:, :3]).all()
    assert cloud.header == synchronised["camera_info"].header


def test_target_and_scene_share_nothing(synchronised: dict[str, Any]) -> None:
    """A planner may touch the one and not the other."""
    points = {}
    for topic in ("target_cloud", "scene_cloud"):
        cloud = synchronised[topic]
        records = np.frombuffer(cloud.data, np.float32).reshape(cloud.width, cloud.point_step // 4)
        points[topic] = {tuple(xyz) for xyz in records[:, :3].tolist()}
    assert not points["target_cloud"] & points["scene_cloud"]
    assert len(points["scene_cloud"]) > 10 * len(points["target_cloud"]) > 1000
