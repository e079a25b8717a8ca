# SPDX-License-Identifier: Apache-2.0
"""Publish the topics of a simulated RGB-D camera: those of an aligned driver, and the truth."""

from __future__ import annotations

import json

import numpy as np
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds
from mllmseg_ros.sim.view import View

__all__ = ["CameraPublisher", "declare_rate", "declare_seed"]

WIDTH, HEIGHT = 640, 480  # px
FRAME_ID = "camera_color_optical_frame"
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
    """Publishes image, camera_info, depth/image, truth/instances and truth/objects."""

    def __init__(self, node: Node) -> None:
        self._image = node.create_publisher(Image, "image", _QUEUE)
        self._info = node.create_publisher(CameraInfo, "camera_info", _QUEUE)
        self._depth = node.create_publisher(Image, "depth/image", _QUEUE)
        self._instances = node.create_publisher(Image, "truth/instances", _QUEUE)
        self._objects = node.create_publisher(String, "truth/objects", 1)

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
