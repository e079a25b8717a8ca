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

from mllmseg_ros.codecs.camera_info import info_topics
from mllmseg_ros.codecs.depth_pairing import DepthPairing
from mllmseg_ros.ros.support.qos import QosWatch, overridable
from mllmseg_ros.ros.support.topic_types import describe_wrong_types
from mllmseg_ros.ros.support.transports import transport_topic

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
        self._depth_pairing = depth_pairing
        self._raw_depth = self._subscribe(Image, "depth/image", on_depth, _DEPTH_QUEUE)
        self._info: Subscription | None = None
        self._depth_info: Subscription | None = None
        self._choose_infos()
        if image_transport == "compressed":
            self._compressed = _subscribe(
                node, CompressedImage, self._transport("image", "compressed"), on_image, 1, qos
            )
        else:
            self._raw = self._subscribe(Image, "image", on_image)
        self._on_depth = on_depth
        self._compressed_depth: Subscription | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_TRANSPORT_CHECK_S, self._choose_transports, clock=steady)

    @property
    def topics(self) -> list[str]:
        """Fully qualified names of the topics listened to now."""
        return [each.topic_name for each in self._all if each is not None]

    @property
    def wrong_types(self) -> list[str]:
        """Publishers of another message type on these topics, a line each."""
        return self._wrong_types(*self._all)

    @property
    def wrong_image_types(self) -> list[str]:
        """The same for the image alone."""
        return self._wrong_types(self._raw, self._compressed)

    def _wrong_types(self, *subscriptions: Subscription | None) -> list[str]:
        return [
            line
            for each in subscriptions
            if each is not None
            for line in describe_wrong_types(self._node, each.topic_name, each.msg_type)
        ]

    @property
    def _all(self) -> tuple[Subscription | None, ...]:
        images = (self._raw, self._compressed, self._raw_depth, self._compressed_depth)
        return (*images, self._info, self._depth_info)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        for subscription in self._all:
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

    def _transport(self, topic: str, transport: str) -> str:
        return transport_topic(self._node, self._prefix + topic, transport)

    def _choose_transports(self) -> None:
        """Listen to what is compressed only while nobody publishes it raw, and to the infos."""
        self._choose_infos()
        if self._auto:
            is_raw = self._node.count_publishers(self._resolved("image"))
            self._compressed = self._follow(
                self._compressed,
                CompressedImage,
                [] if is_raw else [self._transport("image", "compressed")],
                self._on_image,
                queue=1,
            )
        depth = self._resolved("depth/image")
        self._compressed_depth = self._follow(
            self._compressed_depth,
            CompressedImage,
            []
            if self._node.count_publishers(depth)
            else [
                self._transport("depth/image", "compressedDepth"),
                self._transport("depth/image", "compressed"),
            ],
            self._on_depth,
        )

    def _choose_infos(self) -> None:
        """Listen to the camera infos, beside or below the images where the usual topics are empty.

        Source: image_transport has them beside the images, some simulators below them.
        """
        pairing = self._depth_pairing
        self._info = self._follow(
            self._info,
            CameraInfo,
            [f"{self._prefix}camera_info", *info_topics(self._resolved("image"))],
            pairing.put_info,
        )
        self._depth_info = self._follow(
            self._depth_info,
            CameraInfo,
            [f"{self._prefix}depth/camera_info", f"{self._resolved('depth/image')}/camera_info"],
            pairing.put_depth_info,
        )

    def _follow(
        self,
        current: Subscription | None,
        message_type: type,
        topics: list[str],
        callback: Callable,
        queue: int = _DEPTH_QUEUE,
    ) -> Subscription | None:
        """Listen to the first of several topics that somebody publishes, else to the first."""
        names = {topic: str(self._node.resolve_topic_name(topic)) for topic in topics}
        published = (topic for topic in topics if self._node.count_publishers(names[topic]))
        wanted = next(published, topics[0] if topics else None)
        if current is not None and wanted is not None and current.topic_name == names[wanted]:
            return current
        if current is not None:
            self._node.destroy_subscription(current)
        if wanted is None:
            return None
        return _subscribe(self._node, message_type, wanted, callback, queue, self._qos)


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
