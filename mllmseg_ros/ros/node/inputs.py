# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of the active node: the topics of one camera, and commands."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from mllmseg_ros.codecs.depth_pairing import DepthPairing
from mllmseg_ros.ros.support.qos import QosWatch, overridable

__all__ = ["CameraInputs", "CommandInput"]

_TRANSPORT_CHECK_S = 1.0
_DEPTH_QUEUE = 5
_COMMAND_QUEUE = 10


class CommandInput:
    """Subscription to a command topic."""

    def __init__(
        self, node: Node, topic: str, on_command: Callable[[str], None], qos: QosWatch
    ) -> None:
        """Subscribe; ``on_command`` is called with each command's text."""
        self._node = node
        self._subscription = _subscribe(
            node,
            String,
            topic,
            lambda message: on_command(message.data),
            _COMMAND_QUEUE,
            qos,
            ReliabilityPolicy.RELIABLE,
        )

    @property
    def topic(self) -> str:
        """Fully qualified name."""
        return str(self._subscription.topic_name)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)


class CameraInputs:
    """Subscriptions to what one camera publishes."""

    def __init__(
        self,
        node: Node,
        prefix: str,
        *,
        image_transport: str,
        on_image: Callable[[Image | CompressedImage], None],
        on_depth: Callable[[Image | CompressedImage], None],
        depth_pairing: DepthPairing,
        qos: QosWatch,
    ) -> None:
        """Subscribe.

        Args:
            node: owner of the subscriptions.
            prefix: of all topics: "", or the camera's name and a slash.
            image_transport: "raw", "compressed", or "auto" for compressed images while nobody
                publishes raw ones (to subscribe to both would make a camera encode for nothing).
            on_image: called with each image.
            on_depth: called with each depth image.
            depth_pairing: takes camera infos.
            qos: watches for publishers whose QoS does not match.
        """
        self._node, self._prefix, self._qos = node, prefix, qos
        self._on_image = on_image
        self._raw: Subscription | None = None
        self._compressed: Subscription | None = None
        self._auto = image_transport == "auto"
        self._others = [
            self._subscribe(CameraInfo, "camera_info", depth_pairing.put_info, _DEPTH_QUEUE),
            self._subscribe(
                CameraInfo, "depth/camera_info", depth_pairing.put_depth_info, _DEPTH_QUEUE
            ),
            self._subscribe(Image, "depth/image", on_depth, _DEPTH_QUEUE),
        ]
        if image_transport == "compressed":
            self._compressed = self._subscribe(CompressedImage, "image/compressed", on_image)
        else:
            self._raw = self._subscribe(Image, "image", on_image)
        self._on_depth = on_depth
        self._compressed_depth: Subscription | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_TRANSPORT_CHECK_S, self._choose_transports, clock=steady)

    @property
    def topics(self) -> list[str]:
        """Fully qualified names of the topics listened to now."""
        all_ = (self._raw, self._compressed, self._compressed_depth, *self._others)
        return [each.topic_name for each in all_ if each is not None]

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        for subscription in (*self._others, self._raw, self._compressed, self._compressed_depth):
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    def _subscribe(  # type: ignore[no-untyped-def]
        self, message_type: type, topic: str, callback: Callable, queue: int = 1
    ):
        return _subscribe(
            self._node, message_type, self._prefix + topic, callback, queue, self._qos
        )

    def _resolved(self, topic: str) -> str:
        return str(self._node.resolve_topic_name(self._prefix + topic))

    def _choose_transports(self) -> None:
        """Listen to what is compressed only while nobody publishes it raw."""
        if self._auto and self._wanted("image", self._compressed):
            self._compressed = self._switched(
                self._compressed, "image/compressed", self._on_image, 1
            )
        if self._wanted("depth/image", self._compressed_depth):
            self._compressed_depth = self._switched(
                self._compressed_depth,
                "depth/image/compressedDepth",
                self._on_depth,
                _DEPTH_QUEUE,
            )

    def _wanted(self, raw_topic: str, compressed: Subscription | None) -> bool:
        """Whether to change over."""
        raw = self._resolved(raw_topic)
        return bool(self._node.count_publishers(raw)) == (compressed is not None)

    def _switched(
        self, compressed: Subscription | None, topic: str, callback: Callable, queue: int
    ) -> Subscription | None:
        if compressed is None:
            return self._subscribe(CompressedImage, topic, callback, queue)
        self._node.destroy_subscription(compressed)
        return None


def _subscribe(  # type: ignore[no-untyped-def]
    node: Node,
    message_type: type,
    topic: str,
    callback: Callable,
    queue: int,
    qos: QosWatch,
    reliability: ReliabilityPolicy = ReliabilityPolicy.BEST_EFFORT,
):
    return node.create_subscription(
        message_type,
        topic,
        callback,
        QoSProfile(depth=queue, reliability=reliability),
        event_callbacks=qos.of_subscription(topic),
        qos_overriding_options=overridable(),
    )
