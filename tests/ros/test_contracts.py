# SPDX-License-Identifier: Apache-2.0
"""Outputs in the form that nodes of other packages need.

All of them pair by equal stamps and drop what does not fit, without a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

import yaml
from ament_index_python.packages import get_package_share_directory
from rclpy.qos import qos_profile_sensor_data
from ros_harness import stamps
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from mllmseg_ros.ros.demo.camera_publisher import FRAME_ID
from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds
from mllmseg_ros.sim.samples import load_sample

if TYPE_CHECKING:
    from ros_harness import Client

SAMPLE = load_sample(0)
COMMAND, TARGET = "the red mug", 2  # and its instance id in the sample
TOPICS = {
    "mask": Image,
    "labels": Image,
    "confidence": Image,
    "target_cloud": PointCloud2,
    "scene_cloud": PointCloud2,
    "instances_cloud": PointCloud2,
}
SHARE = Path(get_package_share_directory("mllmseg_ros"))
# RViz: message type and properties of the display classes that we use.
_CLOUD = {"Color Transformer", "Position Transformer", "Style", "Size (Pixels)", "Alpha"}
RVIZ_DISPLAYS: dict[str, tuple[str | None, set[str]]] = {
    "Image": ("sensor_msgs/msg/Image", {"Normalize Range"}),
    "Camera": (
        "sensor_msgs/msg/Image",
        {"Image Rendering", "Overlay Alpha", "Zoom Factor", "Visibility"},
    ),
    "PointCloud2": ("sensor_msgs/msg/PointCloud2", _CLOUD),
    "MarkerArray": ("visualization_msgs/msg/MarkerArray", {"Namespaces"}),
    "PointStamped": (
        "geometry_msgs/msg/PointStamped", {"Color", "Alpha", "Radius", "History Length"}
    ),
    "Pose": ("geometry_msgs/msg/PoseStamped", {"Shape", "Axes Length", "Axes Radius"}),
    "TF": (
        None,
        {"Show Axes", "Show Names", "Show Arrows", "Marker Scale", "Frame Timeout",
         "Update Interval"},
    ),
    "Axes": (None, {"Length", "Radius", "Reference Frame"}),
}  # fmt: skip
RVIZ_OTHERS = {
    "rviz_common/Displays", "rviz_common/Views", "rviz_common/Time",
    "rviz_default_plugins/MoveCamera", "rviz_default_plugins/Select",
    "rviz_default_plugins/Measure", "rviz_default_plugins/Orbit",
}  # fmt: skip
# Foxglove: what its panels draw.
FOXGLOVE_3D = {
    "sensor_msgs/msg/PointCloud2", "visualization_msgs/msg/MarkerArray",
    "geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PointStamped",
}  # fmt: skip


@pytest.fixture(scope="module")
def synchronised(connection: Client) -> Iterator[dict[str, Any]]:
    """One message of each output with the same stamp, received with best effort."""
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
    """As Nav2's semantic segmentation layer reads them: class and confidence of each pixel."""
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


def test_target_and_scene_have_no_common_points(synchronised: dict[str, Any]) -> None:
    """A planner may touch the target but not the scene."""
    points = {}
    for topic in ("target_cloud", "scene_cloud"):
        cloud = synchronised[topic]
        records = np.frombuffer(cloud.data, np.float32).reshape(cloud.width, cloud.point_step // 4)
        points[topic] = {tuple(xyz) for xyz in records[:, :3].tolist()}
    assert not points["target_cloud"] & points["scene_cloud"]
    assert len(points["scene_cloud"]) > 10 * len(points["target_cloud"]) > 1000


def test_every_target_has_points_with_its_label(synchronised: dict[str, Any]) -> None:
    cloud, chosen = synchronised["instances_cloud"], synchronised["target_cloud"]
    names = [(each.name, each.offset, each.datatype) for each in cloud.fields]
    assert names[3:] == [("rgb", 12, PointField.FLOAT32), ("label", 16, PointField.UINT32)]
    records = np.frombuffer(cloud.data, np.float32).reshape(cloud.width, 5)
    labels = records.view(np.uint32)[:, 4]
    assert set(labels) == set(np.unique(pixels(synchronised["labels"]))) - {0}
    first = np.frombuffer(chosen.data, np.float32).reshape(chosen.width, 4)
    np.testing.assert_array_equal(records[labels == 1][:, :4], first)


@pytest.fixture(scope="module")
def types(connection: Client) -> dict[str, str]:
    """Types of all topics that the node publishes or subscribes to."""
    node = connection.node
    connection.wait(lambda: ("mllmseg", "/") in node.get_node_names_and_namespaces())
    connection.wait(connection.connected)
    by_node = (
        node.get_publisher_names_and_types_by_node,
        node.get_subscriber_names_and_types_by_node,
    )
    return {topic: kind for ends in by_node for topic, (kind, *_) in ends("mllmseg", "/")}


def test_rviz_displays_match_the_topics(types: dict[str, str]) -> None:
    config = yaml.safe_load((SHARE / "rviz" / "mllmseg.rviz").read_text())
    manager = config["Visualization Manager"]
    others = [*config["Panels"], *manager["Tools"], manager["Views"]["Current"]]
    assert {each["Class"] for each in others} <= RVIZ_OTHERS
    topics = set()
    for display in manager["Displays"]:
        package, _, name = display["Class"].partition("/")
        assert package == "rviz_default_plugins"
        kind, properties = RVIZ_DISPLAYS[name]
        has_topic = {"Topic"} if kind else set()
        assert set(display) - {"Class", "Name", "Enabled"} - properties == has_topic, display
        if kind:
            assert types[display["Topic"]["Value"]] == kind
            topics.add(display["Topic"]["Value"])
    assert {"/image", "/overlay", "/markers", "/instances_cloud", "/scene_cloud"} <= topics
    assert manager["Global Options"]["Fixed Frame"] == FRAME_ID
    displays = {display["Name"]: display for display in manager["Displays"]}
    assert not displays["Centroid"]["Enabled"]  # it would stay after the target is gone
    assert set(displays["Camera"]["Visibility"]) - {"Value"} <= set(displays)
    geometry = config["Window Geometry"]
    assert (geometry["Hide Left Dock"], geometry["Hide Right Dock"]) == (False, False)
    assert bytes.fromhex(geometry["QMainWindow State"])


def test_foxglove_panels_match_the_topics(types: dict[str, str]) -> None:
    layout = json.loads((SHARE / "config" / "foxglove_layout.json").read_text())
    panels = layout["configById"]
    assert sorted(list_panels(layout["layout"])) == sorted(panels)
    kinds = {}
    for name, panel in panels.items():
        kind = kinds[name] = name.partition("!")[0]
        for topic in panel.get("topics", {}):
            assert types[topic] in FOXGLOVE_3D, topic
        if kind == "Image":
            assert types[panel["imageMode"]["imageTopic"]] == "sensor_msgs/msg/Image"
            assert types[panel["imageMode"]["calibrationTopic"]] == "sensor_msgs/msg/CameraInfo"
        elif kind == "Publish":
            assert types[panel["topicName"]] == panel["datatype"]
            assert set(json.loads(panel["value"])) == {"data"}
        elif kind == "RawMessages":
            assert types[panel["topicPath"]] == "mllmseg_ros/msg/SegmentationArray"
        elif kind == "DiagnosticSummary":
            assert types[panel["topicToRender"]] == "diagnostic_msgs/msg/DiagnosticArray"
    assert set(kinds.values()) == {"Image", "3D", "Publish", "RawMessages", "DiagnosticSummary"}


def list_panels(layout: Any) -> list[str]:
    """Return the names of the panels in a layout."""
    if isinstance(layout, str):
        return [layout]
    return list_panels(layout["first"]) + list_panels(layout["second"])
