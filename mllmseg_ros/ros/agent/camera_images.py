# SPDX-License-Identifier: Apache-2.0
"""The last images of a camera, to draw results over: a result has a stamp and no image."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from mllmseg_ros.ros.messages.image_msgs import (
    nanoseconds,
    rgb_from_compressed,
    rgb_from_image,
)
from mllmseg_ros.ros.support.transports import transport_topic

__all__ = ["CameraImages", "decode"]

_MAX_BYTES = 128 << 20  # that are kept: seconds of a small camera, half a second of a large one
_MAX_IMAGES = 256


class CameraImages:
    """The images of a camera; reading them is allowed in any thread, all else in the executor's.

    Attributes:
        used_s: monotonic time at which somebody has last asked for images.
        n_received: images since the beginning.
    """

    def __init__(self, node: Node, camera: str) -> None:
        """Subscribe."""
        self.used_s, self.n_received = time.monotonic(), 0
        self._node, self._prefix = node, f"{camera}/" if camera else ""
        self._images: deque[Image | CompressedImage] = deque(maxlen=_MAX_IMAGES)
        self._subscription: Subscription | None = None
        self.choose_transport()

    def choose_transport(self) -> None:
        """Subscribe to compressed images while there are no others, as the segmenter does."""
        raw = self._node.resolve_topic_name(f"{self._prefix}image")
        compressed = transport_topic(self._node, f"{self._prefix}image", "compressed")
        is_raw = self._node.count_publishers(raw) or not self._node.count_publishers(compressed)
        topic, kind = (raw, Image) if is_raw else (compressed, CompressedImage)
        if self._subscription is not None and self._subscription.topic_name == topic:
            return
        self.destroy()
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = self._node.create_subscription(kind, topic, self._on_image, newest)

    def destroy(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def newest(self) -> Image | CompressedImage | None:
        """Return the newest image."""
        images = tuple(self._images)
        return images[-1] if images else None

    def with_stamp(self, stamp_ns: int) -> Image | CompressedImage | None:
        """Return the image with a stamp."""
        images = tuple(self._images)
        return next((each for each in images if nanoseconds(each.header.stamp) == stamp_ns), None)

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._images.append(message)
        self.n_received += 1
        while len(self._images) > 1 and len(self._images) * len(message.data) > _MAX_BYTES:
            self._images.popleft()


def decode(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Decode a message to RGB (H, W, 3).

    Raises:
        ValueError: The message is malformed.
    """
    is_compressed = isinstance(message, CompressedImage)
    return rgb_from_compressed(message) if is_compressed else rgb_from_image(message)
