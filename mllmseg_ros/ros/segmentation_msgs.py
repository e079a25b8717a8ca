# SPDX-License-Identifier: Apache-2.0
"""Answers to messages, to the union mask and to the label image.

Only what the model found for certain (FOUND) is drawn into mask, labels and centroid: a robot acts
on those. A LOW_CONFIDENCE mask travels in its entry, a NO_TARGET entry is empty. The fields of an
answer are filled in :mod:`mllmseg_ros.answer_message`. Entry points: :func:`array_message`,
:func:`union_mask`, :func:`label_image`, :func:`confidence_image`, :func:`chosen_position`, and
:func:`segmentation_from_message` for who listens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, PointStamped, Pose, PoseStamped, Quaternion, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from mllmseg_ros import answer_message as answers
from mllmseg_ros.answer_message import MessageTypes, answer_message, segmentation_from_message
from mllmseg_ros.command import MAX_EXPRESSION_CHARS
from mllmseg_ros.instances import Instance, Located
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.position import Position
from mllmseg_ros.ros.image_msgs import image_from_array, time_message
from mllmseg_ros.ros.request import Ending, Notice, Request
from mllmseg_ros.segmentation import Status

__all__ = [
    "Answer",
    "array_message",
    "centroid_message",
    "chosen_position",
    "confidence_image",
    "label_image",
    "notice_message",
    "point_message",
    "pose_message",
    "quaternion_message",
    "segmentation_from_message",
    "union_mask",
]

_TYPES = MessageTypes(
    SegmentationArray=SegmentationArray,
    Segmentation=Segmentation,
    RegionOfInterest=RegionOfInterest,
    Duration=Duration,
    Point=Point,
    Pose=Pose,
    Quaternion=Quaternion,
    Vector3=Vector3,
    image=image_from_array,
)
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
    if answer.error:
        message = SegmentationArray()
        message.header = answer.header
        message.image_height, message.image_width = answer.size_hw
        message.camera, message.model = camera, model
        message.status, message.text = SegmentationArray.STATUS_ERROR, answer.error
    else:
        assert answer.request.command is not None
        message = answer_message(
            _TYPES,
            command=answer.request.command,
            header=answer.header,
            size_hw=answer.size_hw,
            located=answer.located,
            camera=camera,
            model=model,
            note=answer.request.note,
        )
    _fill_request(message, answer.request)
    message.latency = _duration(answer.latency_ns)
    return message


def notice_message(notice: Notice) -> SegmentationArray:
    """Build the message for the end of a request that no image is behind."""
    message = SegmentationArray()
    _fill_request(message, notice.request)
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
            labels[each.mask] = answers.label_of(index)
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
    return PoseStamped(header=header, pose=answers.box_pose_message(_TYPES, position))


def point_message(xyz: NDArray[np.float64]) -> Point:
    """A place (3,), m."""
    return answers.point_message(_TYPES, xyz)


def quaternion_message(rotation: NDArray[np.float64]) -> Quaternion:
    """The rotation (3, 3) as a unit quaternion with w >= 0."""
    return answers.quaternion_message(_TYPES, rotation)


def _fill_request(message: SegmentationArray, request: Request) -> None:
    refused = request.command is None
    message.command = request.text[:MAX_EXPRESSION_CHARS] if refused else request.text
    message.intent = "" if request.command is None else request.command.intent
    message.request_id = request.request_id
    message.request_stamp = time_message(request.stamp_ns)


def _duration(nanoseconds: int) -> Duration:
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)
