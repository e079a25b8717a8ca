# SPDX-License-Identifier: Apache-2.0
"""Convert results to vision_msgs, for nodes that do not know this package's messages.

Needs vision_msgs 4. As in mask and labels, only entries with STATUS_FOUND become detections.
Everything is read from the entries of a SegmentationArray.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import Pose
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from mllmseg_ros.msg import Segmentation, SegmentationArray

if TYPE_CHECKING:
    from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

__all__ = ["DetectionPublishers", "detections_2d", "detections_3d", "is_available", "label_info"]

# The orientation of the object is unknown: the variance of a uniformly distributed angle, rad^2.
_ANGLE_VARIANCE = math.pi**2 / 3
_NO_LABEL = "background"


def is_available() -> bool:
    """Return whether vision_msgs is installed."""
    return importlib.util.find_spec("vision_msgs") is not None


class DetectionPublishers:
    """The topics ``detections_2d``, ``detections_3d`` and ``label_info``."""

    def __init__(self, create_publisher: Callable[[type, str, QoSProfile], Any]) -> None:
        """Create the publishers.

        Args:
            create_publisher: creates a publisher from message type, topic and QoS.

        Raises:
            ImportError: if vision_msgs is not installed.
        """
        from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher_2d = create_publisher(
            Detection2DArray, "detections_2d", QoSProfile(depth=1)
        )
        self._publisher_3d = create_publisher(
            Detection3DArray, "detections_3d", QoSProfile(depth=1)
        )
        self._labels = _ChangePublisher(create_publisher(LabelInfo, "label_info", latched))

    def prepare(self, array: SegmentationArray, threshold: float) -> list[tuple]:
        """Build the messages of a result for topics with subscribers: (publisher, message) pairs.

        Args:
            array: the published result.
            threshold: minimum score of a target that is found.
        """
        # Always: the topic is latched for later subscribers.
        messages: list[tuple] = [(self._labels, label_info(array, threshold))]
        if self._publisher_2d.get_subscription_count():
            messages.append((self._publisher_2d, detections_2d(array)))
        if self._publisher_3d.get_subscription_count():
            detections = detections_3d(array)
            if detections is not None:
                messages.append((self._publisher_3d, detections))
        return messages

    def publish_nothing(self, header: Header) -> None:
        """Publish empty detections.

        Args:
            header: header of the newest image.
        """
        from vision_msgs.msg import Detection2DArray, Detection3DArray

        for publisher, kind in (
            (self._publisher_2d, Detection2DArray),
            (self._publisher_3d, Detection3DArray),
        ):
            if publisher.get_subscription_count():
                publisher.publish(kind(header=header))


class _ChangePublisher:
    """Publishes a message only if it differs from the last one, as LabelInfo demands."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self._last: LabelInfo | None = None

    def publish(self, message: LabelInfo) -> None:
        last = self._last
        if last is not None and (last.class_map, last.threshold) == (
            message.class_map,
            message.threshold,
        ):
            return
        self._publisher.publish(message)
        self._last = message


def detections_2d(array: SegmentationArray) -> Detection2DArray:
    """Build a detection for each instance found, in pixels.

    The box is the entry's half-open box, which starts at ``bbox.center - size / 2``, without
    rotation. The hypothesis is the expression; its pose is empty.
    """
    from vision_msgs.msg import Detection2D, Detection2DArray

    message = Detection2DArray(header=array.header)
    for entry in _select_found(array):
        detection = Detection2D(header=array.header, id=entry.track_id)
        detection.results = [_build_hypothesis(entry)]
        box = entry.box
        detection.bbox.center.position.x = box.x_offset + box.width / 2
        detection.bbox.center.position.y = box.y_offset + box.height / 2
        detection.bbox.size_x, detection.bbox.size_y = float(box.width), float(box.height)
        message.detections.append(detection)
    return message


def detections_3d(array: SegmentationArray) -> Detection3DArray | None:
    """Build a detection for each instance found that has a position, in metres, in its frame.

    The box is the entry's, around the visible points. The hypothesis' pose is the mean of those
    points; its covariance is their spread, an upper bound of the error of the mean. The box has an
    orientation, but that of the object is unknown, so the variance of its angles is that of a
    uniformly distributed angle.

    Returns:
        The message; None where instances were found but none has a position, because an empty
        array would mean that nothing is there.
    """
    from vision_msgs.msg import Detection3D, Detection3DArray

    found = list(_select_found(array))
    placed = [entry for entry in found if entry.has_position]
    if found and not placed:
        return None
    frame_id = placed[0].frame_id if placed else array.header.frame_id
    header = Header(stamp=array.header.stamp, frame_id=frame_id)
    message = Detection3DArray(header=header)
    for entry in placed:
        result = _build_hypothesis(entry)
        result.pose.pose = Pose(position=entry.position, orientation=entry.box_pose.orientation)
        covariance = [0.0] * 36  # 6 x 6 row-major: x, y, z, then the rotations about them
        for row in range(3):
            covariance[6 * row : 6 * row + 3] = entry.position_covariance[3 * row : 3 * row + 3]
            covariance[7 * (row + 3)] = _ANGLE_VARIANCE
        result.pose.covariance = covariance
        detection = Detection3D(header=header, id=entry.track_id, results=[result])
        detection.bbox.center, detection.bbox.size = entry.box_pose, entry.box_size
        message.detections.append(detection)
    return message


def label_info(array: SegmentationArray, threshold: float) -> LabelInfo:
    """Build the message with the meaning of the label image's values.

    Args:
        array: the result that the label image belongs to.
        threshold: minimum score of a target that is found.
    """
    from vision_msgs.msg import LabelInfo, VisionClass

    names = {0: _NO_LABEL} | {
        each.label: each.expression for each in _select_found(array) if each.label
    }
    classes = [VisionClass(class_id=label, class_name=name) for label, name in names.items()]
    return LabelInfo(header=array.header, class_map=classes, threshold=threshold)


def _select_found(array: SegmentationArray) -> list[Segmentation]:
    return [each for each in array.segmentations if each.status == Segmentation.STATUS_FOUND]


def _build_hypothesis(entry: Segmentation) -> Any:
    """Build the hypothesis of an entry: the expression with a score in [0, 1]."""
    from vision_msgs.msg import ObjectHypothesisWithPose

    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = entry.expression
    # A model that cannot reject has no score, only the mask's.
    score = entry.mask_score if math.isnan(entry.score) else entry.score
    result.hypothesis.score = min(1.0, max(0.0, float(score)))
    return result
