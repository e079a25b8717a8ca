# SPDX-License-Identifier: Apache-2.0
"""The last images of a camera, to draw results over: a result has a stamp and no image."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
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
    """A subscription to the images of a camera; its methods may be called from any thread.

    Attributes:
        used_s: monotonic time at which somebody has last asked for images.
        n_received: images since the beginning.
    """

    def __init__(self, node: Node, camera: str) -> None:
        """Subscribe: to the compressed images where there are any."""
        prefix = f"{camera}/" if camera else ""
        compressed = transport_topic(node, f"{prefix}image", "compressed")
        is_compressed = node.count_publishers(compressed) > 0
        self.used_s, self.n_received = time.monotonic(), 0
        self._node = node
        self._images: deque[Image | CompressedImage] = deque(maxlen=_MAX_IMAGES)
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = node.create_subscription(
            CompressedImage if is_compressed else Image,
            compressed if is_compressed else f"{prefix}image",
            self._on_image,
            newest,
        )

    def destroy(self) -> None:
        """Unsubscribe."""
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
