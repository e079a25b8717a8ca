# SPDX-License-Identifier: Apache-2.0
"""A camera of the segmenter as the console shows it: the overlay, else the image; the answers.

Subscribed to as long as somebody looks at it. The overlay is the segmenter's own drawing; while
nothing is asked there is none, and the camera's image takes its place.
"""

from __future__ import annotations

import math
import time

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from mllmseg_ros.drawing.overlay import choose_colors
from mllmseg_ros.msg import Segmentation as SegmentationMsg
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.messages.image_msgs import nanoseconds, rgb_from_compressed, rgb_from_image
from mllmseg_ros.ros.messages.overlay import distance_m
from mllmseg_ros.web.console import Console
from mllmseg_ros.web.state import ConsoleImage, ConsoleResult, Entry

__all__ = ["ConsoleCamera"]

_OVERLAY_HELD_S = 10.0  # an overlay that is older says less than the image
_ANSWERS_DEPTH = 10
_MAX_SIDE_PX = 1280  # of an image that is encoded here
_MAX_JPEG_BYTES = 8 << 20
_JPEG_QUALITY = 85
_CHECK_AGAIN_S = 2.0  # which transport the camera has

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
    """Subscriptions to what one camera shows."""

    def __init__(self, node: Node, name: str, console: Console) -> None:
        """Subscribe; what comes is told to the console under the camera's name."""
        self._node, self._name, self._console = node, name, console
        self._prefix = f"{name}/" if name else ""
        self._overlay_s, self._checked_s = -math.inf, -math.inf  # monotonic
        self._image: Subscription | None = None
        reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._others = [
            node.create_subscription(
                SegmentationArray, f"{self._prefix}segmentations", self._on_answer, _ANSWERS_DEPTH
            ),
            node.create_subscription(
                CompressedImage, f"{self._prefix}overlay/compressed", self._on_overlay, reliable
            ),
        ]

    def destroy(self) -> None:
        """Stop to listen."""
        for subscription in self._others:
            self._node.destroy_subscription(subscription)
        self._drop_image()

    def choose(self) -> None:
        """Listen to the camera's image only while there is no overlay; called now and then."""
        now_s = time.monotonic()
        if now_s < self._overlay_s + _OVERLAY_HELD_S:
            self._drop_image()
        elif now_s >= self._checked_s + _CHECK_AGAIN_S:
            self._checked_s = now_s
            self._listen_to_image()

    def _listen_to_image(self) -> None:
        """Compressed where somebody publishes that: nothing to encode then."""
        topic = self._node.resolve_topic_name(f"{self._prefix}image/compressed")
        is_compressed = self._node.count_publishers(topic) > 0
        kind = CompressedImage if is_compressed else Image
        topic = topic if is_compressed else self._node.resolve_topic_name(f"{self._prefix}image")
        if self._image is not None and self._image.topic_name == topic:
            return
        self._drop_image()
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._image = self._node.create_subscription(kind, topic, self._on_image, newest)

    def _drop_image(self) -> None:
        if self._image is not None:
            self._node.destroy_subscription(self._image)
        self._image = None

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
            encode=lambda: jpeg_of(message),
            is_overlay=is_overlay,
            age_ms=age_ms,
        )
        self._console.show_image(self._name, image)

    def _on_answer(self, message: SegmentationArray) -> None:
        if message.status == SegmentationArray.STATUS_STOPPED:
            self._overlay_s = self._checked_s = -math.inf
            self.choose()
        self._console.show_result(answer_of(message, self._name))


def jpeg_of(message: Image | CompressedImage) -> bytes:
    """The picture of a message, as a browser shows it.

    Raises:
        ValueError: if the message is malformed or too large.
    """
    if isinstance(message, CompressedImage):
        data = bytes(message.data)
        if data[:2] == b"\xff\xd8" and len(data) <= _MAX_JPEG_BYTES:
            return data
        rgb = rgb_from_compressed(message)
    else:
        rgb = rgb_from_image(message)
    scale = _MAX_SIDE_PX / max(rgb.shape[:2])
    if scale < 1:
        rgb = np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1].tobytes()


def answer_of(message: SegmentationArray, camera: str) -> ConsoleResult:
    """Read an answer, of a camera of the console's."""
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
            _entry(each, color, distance_m(each, frame_id))
            for each, color in zip(message.segmentations, colors, strict=True)
        ],
    )


def _entry(
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
        mask=_mask(message),
        area_px=message.area_px,
        position_m=(point.x, point.y, point.z) if message.has_position else None,
        frame_id=message.frame_id,
        distance_m=distance_m,
        age_s=age.sec + age.nanosec / 1e9,
    )


def _mask(message: SegmentationMsg) -> NDArray[np.bool_] | None:
    height, width = message.box.height, message.box.width
    if not width or len(message.mask.data) != height * width:
        return None
    return np.frombuffer(message.mask.data, np.uint8).reshape(height, width) > 0
