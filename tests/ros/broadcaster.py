# SPDX-License-Identifier: Apache-2.0
"""Publish transforms to a node as tf2's broadcasters do."""

from __future__ import annotations

import rclpy.node
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from mllmseg_ros.ros.messages.image_msgs import time_message


def make_transform(
    parent: str,
    child: str,
    stamp_ns: int,
    translation: tuple[float, ...] = (0.0, 0.0, 0.0),
    quaternion: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0),
) -> TransformStamped:
    header = Header(stamp=time_message(stamp_ns), frame_id=parent)
    message = TransformStamped(header=header, child_frame_id=child)
    at, turn = message.transform.translation, message.transform.rotation
    at.x, at.y, at.z = map(float, translation)
    turn.x, turn.y, turn.z, turn.w = map(float, quaternion)
    return message


class Broadcaster:
    """Publishes transforms as tf2's broadcasters do."""

    def __init__(self, node: rclpy.node.Node) -> None:
        from tf2_msgs.msg import TFMessage

        self._message = TFMessage
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.moving = node.create_publisher(TFMessage, "/tf", 100)
        self._static = node.create_publisher(TFMessage, "/tf_static", latched)

    def send(self, *transforms: TransformStamped) -> None:
        self.moving.publish(self._message(transforms=list(transforms)))

    def send_static(self, *transforms: TransformStamped) -> None:
        self._static.publish(self._message(transforms=list(transforms)))
