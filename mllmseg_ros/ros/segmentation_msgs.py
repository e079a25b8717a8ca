# SPDX-License-Identifier: Apache-2.0
"""Answers to messages, to the union mask and to the label image.

Only what the model found for certain (FOUND) is drawn into mask, labels and centroid: a robot acts
on those. A LOW_CONFIDENCE mask travels in its entry, a NO_TARGET entry is empty. Entry points:
:func:`array_message`, :func:`union_mask`, :func:`label_image`, :func:`confidence_image`,
:func:`chosen_position`, and
:func:`segmentation_from_message` for who listens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, PointStamped, Pose, PoseStamped, Quaternion, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from mllmseg_ros.command import MAX_EXPRESSION_CHARS
from mllmseg_ros.instances import Instance, Located
from mllmseg_ros.msg import Segmentation as SegmentationMsg
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.position import Position
from mllmseg_ros.ros.image_msgs import image_from_array, nanoseconds, time_message
from mllmseg_ros.ros.request import Ending, Notice, Request
from mllmseg_ros.segmentation import Segmentation, Status, segmentation_of

_ENTRY_STATUS = {
    Status.FOUND: SegmentationMsg.STATUS_FOUND,
    Status.NO_TARGET: SegmentationMsg.STATUS_NO_TARGET,
    Status.LOW_CONFIDENCE: SegmentationMsg.STATUS_LOW_CONFIDENCE,
}
_MAX_LABEL = 254
_NOTICE_STATUS = {
    Ending.REFUSED: SegmentationArray.STATUS_ERROR,
    Ending.SUPERSEDED: SegmentationArray.STATUS_SUPERSEDED,
    Ending.STOPPED: SegmentationArray.STATUS_STOPPED,
    Ending.STALE_INPUT: SegmentationArray.STATUS_STALE_INPUT,
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says about one request on one image."""

    request: Request
    header: Header  # of the image
    rgb: NDArray[np.uint8]  # (H, W, 3) RGB
    located: Located  # at least one instance per target of the request, none where it failed
    latency_ns: int  # from taking up the image
    score_limit: float = 0.5  # score from which on the model says that a target is there
    error: str = ""  # why looking failed

    @property
    def instances(self) -> Sequence[Instance]:
        """What was answered, in the order asked."""
        return self.located.instances

    @property
    def size_hw(self) -> tuple[int, int]:
        """Size of the image, px."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def position_header(self) -> Header:
        """Stamp of the image, and the frame that its positions are told in."""
        if self.located.frame is None:
            return self.header
        return Header(stamp=self.header.stamp, frame_id=self.located.frame.frame_id)


def array_message(answer: Answer, camera: str, model: str) -> SegmentationArray:
    """Build the answer to a request on an image."""
    message = _message(answer.request)
    message.header = answer.header
    message.image_height, message.image_width = answer.size_hw
    message.camera = camera
    message.model = model
    message.latency = _duration(answer.latency_ns)
    if answer.error:
        message.status, message.text = SegmentationArray.STATUS_ERROR, answer.error
        return message
    statuses = _expression_statuses(answer.instances)
    message.status = _array_status(statuses)
    message.text = f"{statuses.count(Status.FOUND)} of {len(statuses)} found" + (
        f"; {answer.located.note}" if answer.located.note else ""
    )
    message.segmentations = [_entry(answer, index) for index in range(len(answer.instances))]
    return message


def notice_message(notice: Notice) -> SegmentationArray:
    """Build the message for the end of a request that no image is behind."""
    message = _message(notice.request)
    message.status = _NOTICE_STATUS[notice.ending]
    message.text = notice.text
    return message


def union_mask(answer: Answer) -> NDArray[np.uint8]:
    """Mask (H, W) of all that was found, 0 or 255."""
    union = np.zeros(answer.size_hw, dtype=np.uint8)
    for each in answer.instances:
        if each.segmentation.status is Status.FOUND:
            union[each.segmentation.mask] = 255
    return union


def label_image(answer: Answer) -> NDArray[np.uint8]:
    """Label (H, W) of each pixel, 0 = none; where masks overlap, the first asked wins."""
    labels = np.zeros(answer.size_hw, dtype=np.uint8)
    for index in reversed(range(len(answer.instances))):
        each = answer.instances[index].segmentation
        if each.status is Status.FOUND:
            labels[each.mask] = _label(index)
    return labels


def confidence_image(answer: Answer) -> NDArray[np.uint8]:
    """How sure each pixel of :func:`label_image` is, (H, W), 255 for certain.

    Of a labelled pixel it is its mask's probability, of any other that no mask covers it.
    """
    none = np.ones(answer.size_hw, dtype=np.float32)
    sure = np.zeros(answer.size_hw, dtype=np.float32)
    for each in reversed([one.segmentation for one in answer.instances]):
        if each.status is Status.FOUND:
            np.minimum(none, 1 - each.probability, out=none)
            sure[each.mask] = each.probability[each.mask]
    return np.asarray(np.round(255 * np.where(sure > 0, sure, none)), dtype=np.uint8)


def chosen_position(answer: Answer) -> Position | None:
    """Position of the first found "pick" target, else of the first found target.

    Of several instances it is the largest. None if that one has no position: another's would be
    taken for it.
    """
    assert answer.request.command is not None
    found = [each for each in answer.instances if each.segmentation.status is Status.FOUND]
    roles = [target.role for target in answer.request.command.targets]
    picks = [each for each in found if roles[each.expression_index] == "pick"]
    chosen = next(iter(picks or found), None)
    return chosen.position if chosen is not None else None


def centroid_message(header: Header, position: Position) -> PointStamped:
    """Build the message that says where a target is.

    Args:
        header: with the frame of the position.
        position: the target's.
    """
    return PointStamped(header=header, point=point_message(position.mean))


def pose_message(header: Header, position: Position) -> PoseStamped:
    """Build the message that says where a target's box is and how it lies.

    Args:
        header: with the frame of the position.
        position: the target's.
    """
    pose = Pose(
        position=point_message(position.box_center),
        orientation=quaternion_message(position.box_axes),
    )
    return PoseStamped(header=header, pose=pose)


def segmentation_from_message(entry: SegmentationMsg, size_hw: tuple[int, int]) -> Segmentation:
    """Read an entry back, for who listens to the node.

    Args:
        entry: as received.
        size_hw: image_height, image_width of its array, px.

    Returns:
        The segmentation with its mask at full size. Probabilities do not travel: 0 or 1 here.

    Raises:
        ValueError: if the mask does not fit its box or the box not the image.
    """
    box = entry.box
    x1, y1 = box.x_offset + box.width, box.y_offset + box.height
    if len(entry.mask.data) != box.width * box.height or x1 > size_hw[1] or y1 > size_hw[0]:
        raise ValueError(
            f"mask of {len(entry.mask.data)} bytes in a box of {box.width} x {box.height} px at "
            f"({box.x_offset}, {box.y_offset}) does not fit an image of {size_hw} (H, W)"
        )
    mask = np.zeros(size_hw, dtype=np.bool_)
    crop = np.frombuffer(entry.mask.data, dtype=np.uint8).reshape(box.height, box.width)
    mask[box.y_offset : y1, box.x_offset : x1] = crop > 0
    status = next(key for key, value in _ENTRY_STATUS.items() if value == entry.status)
    probability = mask.astype(np.float32)
    return segmentation_of(
        entry.expression, status, float(entry.score), float(entry.mask_score), probability, mask
    )


def _message(request: Request) -> SegmentationArray:
    message = SegmentationArray()
    refused = request.command is None
    message.command = request.text[:MAX_EXPRESSION_CHARS] if refused else request.text
    message.intent = "" if request.command is None else request.command.intent
    message.request_id = request.request_id
    message.request_stamp = time_message(request.stamp_ns)
    return message


def _expression_statuses(instances: Sequence[Instance]) -> list[Status]:
    """What became of each expression: found where one instance of it is."""
    statuses: dict[int, Status] = {}
    for each in instances:
        status = each.segmentation.status
        if status is Status.FOUND or each.expression_index not in statuses:
            statuses[each.expression_index] = status
    return [statuses[index] for index in sorted(statuses)]


def _array_status(statuses: Sequence[Status]) -> int:
    if all(status is Status.FOUND for status in statuses):
        return SegmentationArray.STATUS_OK
    if Status.FOUND in statuses:
        return SegmentationArray.STATUS_PARTIAL
    if Status.LOW_CONFIDENCE in statuses:
        return SegmentationArray.STATUS_LOW_CONFIDENCE
    return SegmentationArray.STATUS_NO_TARGET


def _entry(answer: Answer, index: int) -> SegmentationMsg:
    assert answer.request.command is not None
    instance = answer.instances[index]
    segmentation, position = instance.segmentation, instance.position
    entry = SegmentationMsg()
    entry.expression = segmentation.expression
    entry.expression_index = instance.expression_index
    entry.instance_index = instance.instance_index
    entry.role = answer.request.command.targets[instance.expression_index].role
    entry.status = _ENTRY_STATUS[segmentation.status]
    entry.score = segmentation.score
    entry.mask_score = segmentation.mask_score
    entry.track_id = instance.track_id
    if instance.inferred_ns is not None:
        entry.propagated = True
        age_ns = nanoseconds(answer.header.stamp) - instance.inferred_ns
        entry.inference_age = _duration(max(0, age_ns))
    entry.centroid_uv = [math.nan, math.nan]
    entry.inside_uv = [-1, -1]
    if segmentation.status is Status.NO_TARGET or segmentation.box_xyxy is None:
        return entry
    x0, y0, x1, y1 = segmentation.box_xyxy
    entry.box = RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0)
    entry.centroid_uv = list(segmentation.centroid_uv or ())
    entry.inside_uv = list(segmentation.inside_uv or ())
    entry.area_px = segmentation.area_px
    crop = segmentation.mask[y0:y1, x0:x1].astype(np.uint8) * np.uint8(255)
    entry.mask = image_from_array(crop, "mono8", answer.header)
    if segmentation.status is Status.FOUND:
        entry.label = _label(index)
    if position is not None:
        _fill_position(entry, position, answer.position_header.frame_id)
    return entry


def _label(index: int) -> int:
    """Value of an entry in the label image; what comes after the 254th is not drawn."""
    return index + 1 if index < _MAX_LABEL else 0


def _fill_position(entry: SegmentationMsg, position: Position, frame_id: str) -> None:
    entry.has_position = True
    entry.frame_id = frame_id
    entry.position = point_message(position.mean)
    entry.position_covariance = position.covariance.ravel().tolist()
    entry.surface_point = point_message(position.surface_point)
    entry.box_pose = pose_message(Header(), position).pose
    x, y, z = position.box_size.tolist()
    entry.box_size = Vector3(x=x, y=y, z=z)
    entry.valid_depth_ratio = position.valid_depth_ratio


def point_message(xyz: NDArray[np.float64]) -> Point:
    """A place (3,), m."""
    x, y, z = xyz.tolist()
    return Point(x=x, y=y, z=z)


def quaternion_message(rotation: NDArray[np.float64]) -> Quaternion:
    """The rotation (3, 3) as a unit quaternion with w >= 0."""
    vector, _ = cv2.Rodrigues(rotation)
    angle = float(np.linalg.norm(vector))
    axis = vector[:, 0] / angle if angle > 1e-12 else np.zeros(3)
    x, y, z = (np.sin(angle / 2) * axis).tolist()
    return Quaternion(x=x, y=y, z=z, w=float(np.cos(angle / 2)))


def _duration(nanoseconds: int) -> Duration:
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)
