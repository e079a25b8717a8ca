# SPDX-License-Identifier: Apache-2.0
"""Results to messages, to the union mask and to the label image.

Only what the model found for certain (FOUND) is drawn into mask, labels and centroid: a robot acts
on those. A LOW_CONFIDENCE mask travels in its entry, a NO_TARGET entry is empty. The fields of a
result are filled in :mod:`mllmseg_ros.codecs.segmentations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Duration
from numpy.typing import NDArray
from std_msgs.msg import Header

from mllmseg_ros.codecs.segmentations import answer_message, label_of
from mllmseg_ros.geometry.instances import Instance, Located
from mllmseg_ros.geometry.localization import Position
from mllmseg_ros.language.command import MAX_EXPRESSION_CHARS
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.messages.image_msgs import time_message
from mllmseg_ros.ros.messages.segmentation_msgs import MESSAGE_TYPES
from mllmseg_ros.ros.node.request import Ending, Notice, Request
from mllmseg_ros.segmentation import Status

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
            MESSAGE_TYPES,
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
            labels[each.mask] = label_of(index)
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


def _fill_request(message: SegmentationArray, request: Request) -> None:
    refused = request.command is None
    message.command = request.text[:MAX_EXPRESSION_CHARS] if refused else request.text
    message.intent = "" if request.command is None else request.command.intent
    message.request_id = request.request_id
    message.request_stamp = time_message(request.stamp_ns)


def _duration(nanoseconds: int) -> Duration:
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)
