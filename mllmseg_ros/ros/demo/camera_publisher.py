# SPDX-License-Identifier: Apache-2.0
"""Publish the topics of a simulated RGB-D camera: those of an aligned driver, and the truth."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Transform, TransformStamped, Vector3
from numpy.typing import NDArray
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds
from mllmseg_ros.ros.messages.segmentation_msgs import quaternion_message
from mllmseg_ros.sim.view import View

__all__ = ["CameraPublisher", "declare_rate", "declare_seed"]

WIDTH, HEIGHT = 640, 480  # px
FRAME_ID = "camera_color_optical_frame"
TABLE_FRAME = "table"  # z points up, 0 on the table
_QUEUE = 5


def declare_seed(node: Node, default: int, description: str) -> int:
    """Declare parameter ``seed``, the number of the scene, and return it."""
    descriptor = ParameterDescriptor(
        description=description,
        integer_range=[IntegerRange(from_value=0, to_value=2**31, step=1)],
    )
    return int(node.declare_parameter("seed", default, descriptor).value)


def declare_rate(node: Node, default_hz: float) -> float:
    """Declare parameter ``rate``, Hz, and return it."""
    descriptor = ParameterDescriptor(
        description="Images per second, as far as rendering keeps up.",
        floating_point_range=[FloatingPointRange(from_value=0.1, to_value=60.0)],
    )
    return float(node.declare_parameter("rate", default_hz, descriptor).value)


class CameraPublisher:
    """Publishes image, camera_info, depth/image, truth/instances and truth/objects.

    And, where tf2_msgs is installed, the camera's pose above the table on ``/tf_static``.
    """

    def __init__(
        self, node: Node, rotation: NDArray[np.float64], position_m: NDArray[np.float64]
    ) -> None:
        """Create the publishers.

        Args:
            node: to publish from.
            rotation: (3, 3) of the camera, table from optical frame.
            position_m: (3,) of the camera above the table.
        """
        self._image = node.create_publisher(Image, "image", _QUEUE)
        self._info = node.create_publisher(CameraInfo, "camera_info", _QUEUE)
        self._depth = node.create_publisher(Image, "depth/image", _QUEUE)
        self._instances = node.create_publisher(Image, "truth/instances", _QUEUE)
        self._objects = node.create_publisher(String, "truth/objects", 1)
        if importlib.util.find_spec("tf2_msgs") is not None:
            self._tf = _publish_pose(node, rotation, position_m)

    @property
    def has_object_subscribers(self) -> bool:
        """Whether truth/objects, which takes time to measure, has subscribers."""
        return bool(self._objects.get_subscription_count())

    def publish(self, view: View, stamp: Time) -> None:
        """Publish a rendered image (HEIGHT, WIDTH) with its depth, camera_info and truth."""
        header = Header(stamp=stamp, frame_id=FRAME_ID)
        depth_m = np.where(view.depth_m > 0, view.depth_m, np.float32(np.nan))
        self._depth.publish(image_from_array(depth_m, "32FC1", header))
        self._info.publish(_camera_info(view.K, header))
        self._instances.publish(image_from_array(view.instances, "mono8", header))
        if view.objects:
            truth = {
                "stamp_ns": nanoseconds(header.stamp),
                "objects": [thing.to_dict() for thing in view.objects],
            }
            self._objects.publish(String(data=json.dumps(truth)))
        # Last, so that a subscriber that has the image can have the rest.
        self._image.publish(image_from_array(view.rgb, "rgb8", header))


def _publish_pose(
    node: Node, rotation: NDArray[np.float64], position_m: NDArray[np.float64]
) -> Publisher:
    """Publish the camera's pose above the table once; the topic is latched."""
    from tf2_msgs.msg import TFMessage

    header = Header(stamp=node.get_clock().now().to_msg(), frame_id=TABLE_FRAME)
    x, y, z = np.asarray(position_m, dtype=np.float64).tolist()
    pose = Transform(translation=Vector3(x=x, y=y, z=z), rotation=quaternion_message(rotation))
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = node.create_publisher(TFMessage, "/tf_static", latched)
    transform = TransformStamped(header=header, child_frame_id=FRAME_ID, transform=pose)
    publisher.publish(TFMessage(transforms=[transform]))
    return publisher


def _camera_info(K: np.ndarray, header: Header) -> CameraInfo:
    P = np.hstack([K, np.zeros((3, 1))])
    return CameraInfo(
        header=header,
        height=HEIGHT,
        width=WIDTH,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=K.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=P.ravel().tolist(),
    )
