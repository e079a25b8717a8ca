# SPDX-License-Identifier: Apache-2.0
"""Node of ``mllmseg view``: log the topics of a camera and of the segmenter to Rerun.

An alternative to RViz and Foxglove. It publishes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import String

from mllmseg_ros.codecs.camera_info import is_rectified_topic
from mllmseg_ros.drawing.rerun import Box, LoggedSegmentation, RerunLog
from mllmseg_ros.frame import bare_frame_id
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.ros.messages.image_msgs import (
    intrinsics_of_image,
    nanoseconds,
    rgb_from_compressed,
    rgb_from_image,
)
from mllmseg_ros.ros.messages.point_cloud import colors_from_cloud, points_from_cloud
from mllmseg_ros.ros.messages.segmentation_msgs import segmentation_from_message
from mllmseg_ros.ros.support.spin import run
from mllmseg_ros.ros.support.transports import transport_topic

__all__ = ["view"]

_TRANSPORT_CHECK_S = 1.0


class ViewNode(Node):
    """Logs messages, each with its own stamp."""

    def __init__(self, camera: str, log: RerunLog) -> None:
        """Subscribe.

        Args:
            camera: name of the camera, "" where its topics have no prefix.
            log: log to write to.
        """
        super().__init__("mllmseg_view")
        self._log = log
        self._prefix = f"{camera}/" if camera else ""
        self._lens: tuple | None = None
        self._size_hw: tuple[int, int] | None = None  # of the newest image
        for kind, topic, callback, qos in (
            (Image, f"{self._prefix}image", self._on_image, qos_profile_sensor_data),
            (CameraInfo, f"{self._prefix}camera_info", self._on_info, qos_profile_sensor_data),
            (SegmentationArray, f"{self._prefix}segmentations", self._on_result, 10),
            (PointCloud2, f"{self._prefix}target_cloud", self._on_cloud, 1),
            (String, f"{self._prefix}command", self._on_command, 10),
        ):
            self.create_subscription(kind, topic, callback, qos)
        self._subscribe_to_transforms()
        if camera:
            self.create_subscription(String, "command", self._on_command, 10)
        self._transport_check = self.create_timer(_TRANSPORT_CHECK_S, self._check_transport)
        self.get_logger().info(f"listening to {self.resolve_topic_name(self._prefix + 'image')}")

    def stop(self) -> None:
        """Close the log."""
        self._log.close()

    def _subscribe_to_transforms(self) -> None:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            self.get_logger().info("tf2_msgs is not installed: without transforms")
            return
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(TFMessage, "/tf", self._on_transforms, 100)
        self.create_subscription(TFMessage, "/tf_static", self._on_static_transforms, latched)

    def _check_transport(self) -> None:
        """Subscribe to compressed images if there are no raw ones."""
        topic = f"{self._prefix}image"
        compressed_topic = transport_topic(self, topic, "compressed")
        raw = self.count_publishers(self.resolve_topic_name(topic))
        compressed = self.count_publishers(compressed_topic)
        if compressed and not raw:
            self.create_subscription(
                CompressedImage, compressed_topic, self._on_image, qos_profile_sensor_data
            )
        if raw or compressed:
            self.destroy_timer(self._transport_check)

    def _on_image(self, message: Image | CompressedImage) -> None:
        compressed = isinstance(message, CompressedImage)
        try:
            rgb = rgb_from_compressed(message) if compressed else rgb_from_image(message)
        except ValueError as error:
            self.get_logger().warning(f"image ignored: {error}", throttle_duration_sec=5.0)
            return
        header = message.header
        self._size_hw = (rgb.shape[0], rgb.shape[1])
        self._log.log_image(nanoseconds(header.stamp), bare_frame_id(header.frame_id), rgb)

    def _on_info(self, message: CameraInfo) -> None:
        if self._size_hw is None:  # it may be of another size than the images
            return
        try:
            rectified = is_rectified_topic(self.resolve_topic_name(f"{self._prefix}image"))
            K = intrinsics_of_image(message, self._size_hw, rectified=rectified).K
        except ValueError as error:
            self.get_logger().warning(f"camera_info ignored: {error}", throttle_duration_sec=5.0)
            return
        frame_id = bare_frame_id(message.header.frame_id)
        lens = (frame_id, K.tobytes(), self._size_hw)
        if lens == self._lens:
            return
        self._lens = lens
        stamp_ns = nanoseconds(message.header.stamp)
        self._log.log_intrinsics(stamp_ns, frame_id, K, self._size_hw)

    def _on_result(self, message: SegmentationArray) -> None:
        size_hw = (message.image_height, message.image_width)
        if not size_hw[0]:  # a result without an image
            self._log.log_command(self._now_ns(), f"({message.command}: {message.text})")
            return
        try:
            shown = [_convert_entry(each, size_hw) for each in message.segmentations]
        except ValueError as error:
            self.get_logger().warning(f"result ignored: {error}", throttle_duration_sec=5.0)
            return
        text = f"{message.command}: {message.text}"
        stamp_ns = nanoseconds(message.header.stamp)
        frame_id = bare_frame_id(message.header.frame_id)
        self._log.log_segmentations(stamp_ns, frame_id, size_hw, text, shown)

    def _on_cloud(self, message: PointCloud2) -> None:
        points, rgb = points_from_cloud(message), colors_from_cloud(message)
        header = message.header
        frame_id = bare_frame_id(header.frame_id)
        self._log.log_points(nanoseconds(header.stamp), frame_id, points, rgb)

    def _on_command(self, message: String) -> None:
        self._log.log_command(self._now_ns(), message.data)

    def _on_transforms(self, message: Any, static: bool = False) -> None:
        for each in message.transforms:
            translation, rotation = each.transform.translation, each.transform.rotation
            self._log.log_transform(
                None if static else nanoseconds(each.header.stamp),
                bare_frame_id(each.header.frame_id),
                bare_frame_id(each.child_frame_id),
                (translation.x, translation.y, translation.z),
                (rotation.x, rotation.y, rotation.z, rotation.w),
            )

    def _on_static_transforms(self, message: Any) -> None:
        self._on_transforms(message, static=True)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def _convert_entry(entry: Segmentation, size_hw: tuple[int, int]) -> LoggedSegmentation:
    box = None
    if entry.has_position:
        center, rotation = entry.box_pose.position, entry.box_pose.orientation
        size = entry.box_size
        box = Box(
            frame_id=bare_frame_id(entry.frame_id),
            center=(center.x, center.y, center.z),
            size=(size.x, size.y, size.z),
            quaternion=(rotation.x, rotation.y, rotation.z, rotation.w),
        )
    segmentation = segmentation_from_message(entry, size_hw)
    return LoggedSegmentation(segmentation=segmentation, track_id=entry.track_id, box=box)


def view(camera: str, save: Path | None, ros_arguments: list[str]) -> int:
    """Show the topics, or write them to a file, until a signal; return the exit status.

    Args:
        camera: name of the camera, "" where its topics have no prefix.
        save: file to write; None: open the viewer.
        ros_arguments: arguments after ``--ros-args``: remappings, parameters.
    """
    log = RerunLog(save)
    return run(lambda: ViewNode(camera, log), ["--ros-args", *ros_arguments])
