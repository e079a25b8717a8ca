# SPDX-License-Identifier: Apache-2.0
"""Subscribe to a camera of the segmenter for the console: overlay or image, and results.

Subscriptions exist while a page shows the camera. While there is no overlay, because no command is
in force, the camera's image is shown.
"""

from __future__ import annotations

import math
import time

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from mllmseg_ros.drawing.image_file import encode_jpeg
from mllmseg_ros.drawing.overlay import choose_colors
from mllmseg_ros.msg import Segmentation as SegmentationMsg
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.messages.image_msgs import nanoseconds, rgb_from_compressed, rgb_from_image
from mllmseg_ros.ros.messages.overlay import camera_distance_m
from mllmseg_ros.ros.support.transports import transport_topic
from mllmseg_ros.web.console import Console
from mllmseg_ros.web.state import ConsoleImage, ConsoleResult, Entry

__all__ = ["ConsoleCamera"]

_OVERLAY_HELD_S = 10.0  # an older overlay is replaced by the image
_RESULTS_DEPTH = 10
_MAX_SIDE_PX = 1280  # of an image that is encoded here
_MAX_JPEG_BYTES = 8 << 20
_TRANSPORT_CHECK_S = 2.0

_STATUSES = {
    getattr(SegmentationArray, f"STATUS_{name.upper()}"): name
    for name in (
        "ok", "partial", "no_target", "low_confidence", "stale_input", "superseded", "stopped",
        "error",
    )
}  # fmt: skip
_ENTRY_STATUSES = {
    getattr(SegmentationMsg, f"STATUS_{name.upper()}"): name
    for name in ("found", "no_target", "low_confidence")
}


class ConsoleCamera:
    """Subscriptions to the topics of one camera."""

    def __init__(self, node: Node, name: str, console: Console) -> None:
        """Subscribe; messages are passed to the console under the camera's name."""
        self._node, self._name, self._console = node, name, console
        self._prefix = f"{name}/" if name else ""
        self._overlay_s, self._checked_s = -math.inf, -math.inf  # monotonic
        self._image_subscription: Subscription | None = None
        reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._permanent = [
            node.create_subscription(
                SegmentationArray, f"{self._prefix}segmentations", self._on_result, _RESULTS_DEPTH
            ),
            node.create_subscription(
                CompressedImage, f"{self._prefix}overlay/compressed", self._on_overlay, reliable
            ),
        ]

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._permanent:
            self._node.destroy_subscription(subscription)
        self._unsubscribe_from_image()

    def choose_image(self) -> None:
        """Subscribe to the camera's image while there is no overlay; called periodically."""
        now_s = time.monotonic()
        if now_s < self._overlay_s + _OVERLAY_HELD_S:
            self._unsubscribe_from_image()
        elif now_s >= self._checked_s + _TRANSPORT_CHECK_S:
            self._checked_s = now_s
            self._subscribe_to_image()

    def _subscribe_to_image(self) -> None:
        """Prefer the compressed image, which needs no encoding here."""
        topic = transport_topic(self._node, f"{self._prefix}image", "compressed")
        is_compressed = self._node.count_publishers(topic) > 0
        kind = CompressedImage if is_compressed else Image
        topic = topic if is_compressed else self._node.resolve_topic_name(f"{self._prefix}image")
        if self._image_subscription is not None and self._image_subscription.topic_name == topic:
            return
        self._unsubscribe_from_image()
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._image_subscription = self._node.create_subscription(
            kind, topic, self._on_image, newest
        )

    def _unsubscribe_from_image(self) -> None:
        if self._image_subscription is not None:
            self._node.destroy_subscription(self._image_subscription)
        self._image_subscription = None

    def _on_overlay(self, message: CompressedImage) -> None:
        self._overlay_s = time.monotonic()
        self._show(message, is_overlay=True)

    def _on_image(self, message: Image | CompressedImage) -> None:
        if time.monotonic() >= self._overlay_s + _OVERLAY_HELD_S:
            self._show(message, is_overlay=False)

    def _show(self, message: Image | CompressedImage, *, is_overlay: bool) -> None:
        stamp_ns = nanoseconds(message.header.stamp)
        age_ms = (self._node.get_clock().now().nanoseconds - stamp_ns) / 1e6
        image = ConsoleImage(
            stamp_ns=stamp_ns,
            encode=lambda: _encode(message),
            is_overlay=is_overlay,
            age_ms=age_ms,
        )
        self._console.show_image(self._name, image)

    def _on_result(self, message: SegmentationArray) -> None:
        if message.status == SegmentationArray.STATUS_STOPPED:
            self._overlay_s = self._checked_s = -math.inf
            self.choose_image()
        self._console.show_result(convert_result(message, self._name))


def _encode(message: Image | CompressedImage) -> bytes:
    """Encode the image of a message as JPEG for a browser.

    Raises:
        ValueError: if the message is malformed or too large.
    """
    if isinstance(message, CompressedImage):
        data = bytes(message.data)
        if data[:2] == b"\xff\xd8" and len(data) <= _MAX_JPEG_BYTES:
            return data
        return encode_jpeg(rgb_from_compressed(message), _MAX_SIDE_PX)
    return encode_jpeg(rgb_from_image(message), _MAX_SIDE_PX)


def convert_result(message: SegmentationArray, camera: str) -> ConsoleResult:
    """Convert the result message of a camera for the page."""
    latency, frame_id = message.latency, message.header.frame_id
    colors = choose_colors([each.track_id for each in message.segmentations])
    return ConsoleResult(
        camera=camera,
        stamp_ns=nanoseconds(message.header.stamp),
        size_hw=(message.image_height, message.image_width),
        request_id=message.request_id,
        command=message.command,
        status=_STATUSES.get(message.status, "error"),
        text=message.text,
        model=message.model,
        latency_ms=latency.sec * 1e3 + latency.nanosec / 1e6,
        entries=[
            _convert_entry(each, color, camera_distance_m(each, frame_id))
            for each, color in zip(message.segmentations, colors, strict=True)
        ],
    )


def _convert_entry(
    message: SegmentationMsg, color_rgb: tuple[int, int, int], distance_m: float | None
) -> Entry:
    box, point, age = message.box, message.position, message.inference_age
    x0, y0 = box.x_offset, box.y_offset
    return Entry(
        expression=message.expression,
        role=message.role,
        status=_ENTRY_STATUSES.get(message.status, "no_target"),
        score=float(message.score),
        mask_score=float(message.mask_score),
        track_id=message.track_id,
        color_rgb=color_rgb,
        box_xyxy=(x0, y0, x0 + box.width, y0 + box.height) if box.width else None,
        mask=_decode_mask(message),
        area_px=message.area_px,
        position_m=(point.x, point.y, point.z) if message.has_position else None,
        frame_id=message.frame_id,
        distance_m=distance_m,
        age_s=age.sec + age.nanosec / 1e9,
        doubt=message.doubt,
    )


def _decode_mask(message: SegmentationMsg) -> NDArray[np.bool_] | None:
    height, width = message.box.height, message.box.width
    if not width or len(message.mask.data) != height * width:
        return None
    return np.frombuffer(message.mask.data, np.uint8).reshape(height, width) > 0
