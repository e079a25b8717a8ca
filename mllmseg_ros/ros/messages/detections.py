# SPDX-License-Identifier: Apache-2.0
"""Answers as vision_msgs, for nodes that speak no message of ours. Needs vision_msgs 4 installed.

Only what was found for certain is a detection, as in mask and labels. Everything is read from the
entries of a SegmentationArray.
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

# Nothing is said of how the thing itself is turned: the variance of any angle, rad^2.
_ANY_ANGLE = math.pi**2 / 3
_NO_LABEL = "background"


def is_available() -> bool:
    """Whether vision_msgs is installed."""
    return importlib.util.find_spec("vision_msgs") is not None


class DetectionPublishers:
    """The topics ``detections_2d``, ``detections_3d`` and ``label_info``."""

    def __init__(self, create_publisher: Callable[[type, str, QoSProfile], Any]) -> None:
        """Create the publishers.

        Args:
            create_publisher: makes one from message type, topic and QoS.

        Raises:
            ImportError: if vision_msgs is not installed.
        """
        from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._flat = create_publisher(Detection2DArray, "detections_2d", QoSProfile(depth=1))
        self._solid = create_publisher(Detection3DArray, "detections_3d", QoSProfile(depth=1))
        self._labels = _OnChange(create_publisher(LabelInfo, "label_info", latched))

    def prepare(self, array: SegmentationArray, threshold: float) -> list[tuple]:
        """Build the messages of an answer, for who listens: (publisher, message) pairs.

        Args:
            array: the answer, as it is published.
            threshold: score from which on the model says that a target is there.
        """
        # Latched: also for who will listen later.
        messages: list[tuple] = [(self._labels, label_info(array, threshold))]
        if self._flat.get_subscription_count():
            messages.append((self._flat, detections_2d(array)))
        if self._solid.get_subscription_count():
            solid = detections_3d(array)
            if solid is not None:
                messages.append((self._solid, solid))
        return messages

    def publish_nothing(self, header: Header) -> None:
        """Publish that nothing is detected any more.

        Args:
            header: of the newest image.
        """
        from vision_msgs.msg import Detection2DArray, Detection3DArray

        for publisher, kind in ((self._flat, Detection2DArray), (self._solid, Detection3DArray)):
            if publisher.get_subscription_count():
                publisher.publish(kind(header=header))


class _OnChange:
    """A publisher of what stays: the same again is not sent. LabelInfo asks for that."""

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
    """Build a detection per instance found, in pixels.

    The box runs from ``bbox.center - size / 2``, the entry's half-open box, without rotation. The
    hypothesis is the expression; its pose is empty.
    """
    from vision_msgs.msg import Detection2D, Detection2DArray

    message = Detection2DArray(header=array.header)
    for entry in _found(array):
        detection = Detection2D(header=array.header, id=entry.track_id)
        detection.results = [_hypothesis(entry)]
        box = entry.box
        detection.bbox.center.position.x = box.x_offset + box.width / 2
        detection.bbox.center.position.y = box.y_offset + box.height / 2
        detection.bbox.size_x, detection.bbox.size_y = float(box.width), float(box.height)
        message.detections.append(detection)
    return message


def detections_3d(array: SegmentationArray) -> Detection3DArray | None:
    """Build a detection per instance found that has a position, in metres, in that one's frame.

    The box is the entry's, around what shows. The hypothesis' pose is the mean of the points in it,
    and its covariance their spread, an upper bound of the mean's error; the box is turned, but how
    the thing itself is turned is not known, so that the variance of angles is that of any angle.

    Returns:
        None where something was found and nothing has a position: an empty array would say that
        nothing is there.
    """
    from vision_msgs.msg import Detection3D, Detection3DArray

    found = list(_found(array))
    placed = [entry for entry in found if entry.has_position]
    if found and not placed:
        return None
    frame_id = placed[0].frame_id if placed else array.header.frame_id
    header = Header(stamp=array.header.stamp, frame_id=frame_id)
    message = Detection3DArray(header=header)
    for entry in placed:
        result = _hypothesis(entry)
        result.pose.pose = Pose(position=entry.position, orientation=entry.box_pose.orientation)
        covariance = [0.0] * 36  # 6 x 6 row-major: x, y, z, then the turns about them
        for row in range(3):
            covariance[6 * row : 6 * row + 3] = entry.position_covariance[3 * row : 3 * row + 3]
            covariance[7 * (row + 3)] = _ANY_ANGLE
        result.pose.covariance = covariance
        detection = Detection3D(header=header, id=entry.track_id, results=[result])
        detection.bbox.center, detection.bbox.size = entry.box_pose, entry.box_size
        message.detections.append(detection)
    return message


def label_info(array: SegmentationArray, threshold: float) -> LabelInfo:
    """Build the message that says what the values of the label image mean.

    Args:
        array: the answer that the label image is of.
        threshold: of the score.
    """
    from vision_msgs.msg import LabelInfo, VisionClass

    names = {0: _NO_LABEL} | {each.label: each.expression for each in _found(array) if each.label}
    classes = [VisionClass(class_id=label, class_name=name) for label, name in names.items()]
    return LabelInfo(header=array.header, class_map=classes, threshold=threshold)


def _found(array: SegmentationArray) -> list[Segmentation]:
    return [each for each in array.segmentations if each.status == Segmentation.STATUS_FOUND]


def _hypothesis(entry: Segmentation) -> Any:
    """What the entry is: the expression, at a score in [0, 1]."""
    from vision_msgs.msg import ObjectHypothesisWithPose

    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = entry.expression
    # A model that cannot reject has no score; how sure it is of its mask is what it has.
    score = entry.mask_score if math.isnan(entry.score) else entry.score
    result.hypothesis.score = min(1.0, max(0.0, float(score)))
    return result
