# SPDX-License-Identifier: Apache-2.0
"""The topics that the node publishes for one camera.

Only ``segmentations`` and ``label_info`` are built without a subscriber.
"""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PointStamped, PoseStamped
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.geometry.instances import distance_m
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.messages import detections
from mllmseg_ros.ros.messages.image_msgs import compressed_from_array, image_from_array
from mllmseg_ros.ros.messages.point_cloud import CloudBuilder, labelled_cloud, scene_points
from mllmseg_ros.ros.messages.segmentation_msgs import centroid_message, pose_message
from mllmseg_ros.ros.node.markers import marker_array, no_markers
from mllmseg_ros.ros.node.request import RequestEvent
from mllmseg_ros.ros.node.result import Result
from mllmseg_ros.ros.node.result_messages import (
    array_message,
    chosen_position,
    confidence_image,
    event_message,
    label_image,
    labelled_points,
    union_image,
)
from mllmseg_ros.ros.support.qos import QosWatch, overridable

__all__ = ["CameraOutputs"]

# Deep enough for a burst of commands: every one of them gets a message.
_SEGMENTATIONS_DEPTH = 100
NO_POINTS = (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))  # and no colours


class CameraOutputs:
    """Publishers of a lifecycle node; nothing is sent while it is not active."""

    def __init__(
        self, node: LifecycleNode, prefix: str, cloud_from_points: CloudBuilder, watch: QosWatch
    ) -> None:
        """Create the publishers.

        Args:
            node: to publish from.
            prefix: of all topics: "", or the camera's name and a slash.
            cloud_from_points: one of :mod:`mllmseg_ros.ros.messages.point_cloud`.
            watch: watches for subscribers whose QoS does not match.
        """

        def publisher(message_type: type, topic: str, qos: QoSProfile | int = 1):  # type: ignore[no-untyped-def]
            return node.create_lifecycle_publisher(
                message_type,
                prefix + topic,
                qos,
                event_callbacks=watch.of_publisher(prefix + topic),
                qos_overriding_options=overridable(),
            )

        self._segmentations = publisher(SegmentationArray, "segmentations", _SEGMENTATIONS_DEPTH)
        self._centroid = publisher(PointStamped, "centroid")
        self._target_pose = publisher(PoseStamped, "target_pose")
        self._target_cloud = publisher(PointCloud2, "target_cloud")
        self._instances_cloud = publisher(PointCloud2, "instances_cloud")
        self._scene_cloud = publisher(PointCloud2, "scene_cloud")
        self._markers = publisher(MarkerArray, "markers")
        self._cloud_from_points = cloud_from_points
        # Raw, and compressed as image_transport would.
        self._mask, self._labels, self._confidence, self._overlay = (
            (publisher(Image, topic), publisher(CompressedImage, f"{topic}/compressed"))
            for topic in ("mask", "labels", "confidence", "overlay")
        )
        self._last_mask: tuple[Header, tuple[int, int]] | None = None
        self._detections: detections.DetectionPublishers | None = None
        if detections.is_available():
            self._detections = detections.DetectionPublishers(publisher)

    def prepare(self, result: Result, camera: str) -> list[tuple]:
        """Build the messages of a result that have subscribers: (publisher, message) pairs."""
        messages: list[tuple] = [(self._segmentations, array_message(result, camera))]
        if result.error:
            return messages
        if self._detections is not None:
            messages += self._detections.prepare(messages[0][1], result.score_threshold)
        position = chosen_position(result)
        if position is not None and self._centroid.get_subscription_count():
            messages.append((self._centroid, centroid_message(result.position_header, position)))
        if position is not None and self._target_pose.get_subscription_count():
            messages.append((self._target_pose, pose_message(result.position_header, position)))
        if self._markers.get_subscription_count():
            messages.append((self._markers, marker_array(result)))
        if self._target_cloud.get_subscription_count():
            points, rgb = NO_POINTS
            if position is not None:
                u, v = position.points_uv.T
                points, rgb = position.points, result.rgb[v, u]
            cloud = self._cloud_from_points(result.position_header, points, rgb)
            messages.append((self._target_cloud, cloud))
        if self._instances_cloud.get_subscription_count():
            cloud = labelled_cloud(result.position_header, *labelled_points(result))
            messages.append((self._instances_cloud, cloud))
        depth = result.instance_set.depth
        wants_scene = depth is not None and self._scene_cloud.get_subscription_count()
        wants_mask = _wanted(self._mask)
        union = union_image(result) if wants_scene or wants_mask else None
        if union is not None and depth is not None and wants_scene:
            points, rgb = scene_points(result.rgb, depth, union > 0, result.instance_set.frame)
            cloud = self._cloud_from_points(result.position_header, points, rgb)
            messages.append((self._scene_cloud, cloud))
        if union is not None and wants_mask:
            messages += _images(self._mask, union, "mono8", result.header)
            self._last_mask = (result.header, result.size_hw)
        if _wanted(self._labels):
            messages += _images(self._labels, label_image(result), "mono8", result.header)
        if _wanted(self._confidence):
            messages += _images(self._confidence, confidence_image(result), "mono8", result.header)
        if _wanted(self._overlay):
            overlay = draw_overlay(
                result.rgb,
                [each.segmentation for each in result.instances],
                [each.track_id for each in result.instances],
                [distance_m(each, result.instance_set.frame) for each in result.instances],
            )
            messages += _images(self._overlay, overlay, "rgb8", result.header)
        return messages

    def publish_event(self, event: RequestEvent) -> None:
        """Publish the end of a request that no image is behind."""
        self._segmentations.publish(event_message(event))

    def publish_nothing_selected(self, newest: tuple[Header, NDArray[np.uint8]] | None) -> None:
        """Publish that nothing is selected any more: a mask of zeros, no marker, no point.

        Args:
            newest: header and pixels (H, W, 3) RGB of the newest image; without one, the mask of
                zeros has the last mask's header.
        """
        header = newest[0] if newest else Header()
        if self._markers.get_subscription_count():
            self._markers.publish(no_markers(header))
        if self._detections is not None:
            self._detections.publish_nothing(header)
        if self._target_cloud.get_subscription_count():
            self._target_cloud.publish(self._cloud_from_points(header, *NO_POINTS))
        if self._instances_cloud.get_subscription_count():
            none = labelled_cloud(header, *NO_POINTS, np.zeros(0, np.uint32))
            self._instances_cloud.publish(none)
        if newest is not None and _wanted(self._overlay):
            for publisher, message in _images(self._overlay, newest[1], "rgb8", header):
                publisher.publish(message)
        behind = (header, newest[1].shape[:2]) if newest else self._last_mask
        if behind is not None:
            header, size_hw = behind
            nothing = np.zeros(size_hw, np.uint8)
            for publisher, message in _images(self._mask, nothing, "mono8", header):
                publisher.publish(message)
        self._last_mask = None


def _wanted(raw_and_compressed: tuple) -> bool:
    return any(publisher.get_subscription_count() for publisher in raw_and_compressed)


def _images(
    raw_and_compressed: tuple, pixels: NDArray[np.uint8], encoding: str, header: Header
) -> list[tuple]:
    """The same image, raw and compressed as far as there are subscribers."""
    raw, compressed = raw_and_compressed
    messages: list[tuple] = []
    if raw.get_subscription_count():
        messages.append((raw, image_from_array(pixels, encoding, header)))
    if compressed.get_subscription_count():
        messages.append((compressed, compressed_from_array(pixels, encoding, header)))
    return messages
