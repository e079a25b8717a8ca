# SPDX-License-Identifier: Apache-2.0
"""Results to messages, and to the mask, label and confidence images.

Only what the model found for certain (FOUND) is drawn into mask, labels and centroid: a robot acts
on those. A LOW_CONFIDENCE mask travels in its entry, a NO_TARGET entry is empty. The fields of a
result are filled in :mod:`mllmseg_ros.codecs.segmentations`.
"""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from numpy.typing import NDArray

from mllmseg_ros.codecs.segmentations import assign_label, build_segmentation_array
from mllmseg_ros.geometry.instances import union_mask
from mllmseg_ros.geometry.localization import Position
from mllmseg_ros.language.command import MAX_EXPRESSION_CHARS
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.messages.image_msgs import time_message
from mllmseg_ros.ros.messages.segmentation_msgs import MESSAGE_TYPES
from mllmseg_ros.ros.node.request import EndReason, Request, RequestEvent
from mllmseg_ros.ros.node.result import Result
from mllmseg_ros.segmentation import Status

_EVENT_STATUS = {
    EndReason.REFUSED: SegmentationArray.STATUS_ERROR,
    EndReason.SUPERSEDED: SegmentationArray.STATUS_SUPERSEDED,
    EndReason.STOPPED: SegmentationArray.STATUS_STOPPED,
    EndReason.STALE_INPUT: SegmentationArray.STATUS_STALE_INPUT,
}


def array_message(result: Result, camera: str) -> SegmentationArray:
    """Build the message of a result."""
    if result.error:
        message = SegmentationArray()
        message.header = result.header
        message.image_height, message.image_width = result.size_hw
        message.camera, message.model = camera, result.model
        message.status, message.text = SegmentationArray.STATUS_ERROR, result.error
    else:
        message = build_segmentation_array(
            MESSAGE_TYPES,
            command=result.request.accepted,
            header=result.header,
            size_hw=result.size_hw,
            instance_set=result.instance_set,
            camera=camera,
            model=result.model,
            note=result.request.note,
        )
    _fill_request(message, result.request)
    message.latency = _duration(result.latency_ns)
    return message


def event_message(event: RequestEvent) -> SegmentationArray:
    """Build the message for the end of a request that no image is behind."""
    message = SegmentationArray()
    _fill_request(message, event.request)
    message.status = _EVENT_STATUS[event.reason]
    message.text = event.text
    return message


def union_image(result: Result) -> NDArray[np.uint8]:
    """Mask (H, W) of all that was found, 0 or 255."""
    union = union_mask(result.instances, result.size_hw).view(np.uint8)
    return np.multiply(union, np.uint8(255), out=union)


def label_image(result: Result) -> NDArray[np.uint8]:
    """Label (H, W) of each pixel, 0 = none; where masks overlap, the first asked wins."""
    labels = np.zeros(result.size_hw, dtype=np.uint8)
    for index in reversed(range(len(result.instances))):
        each = result.instances[index].segmentation
        if each.status is Status.FOUND and each.box_xyxy is not None:
            x0, y0, x1, y1 = each.box_xyxy
            labels[y0:y1, x0:x1][each.mask[y0:y1, x0:x1]] = assign_label(index)
    return labels


def confidence_image(result: Result) -> NDArray[np.uint8]:
    """How sure each pixel of :func:`label_image` is, (H, W), 255 for certain.

    Of a labelled pixel it is its mask's probability, of any other that no mask covers it.
    """
    none = np.ones(result.size_hw, dtype=np.float32)
    sure = np.zeros(result.size_hw, dtype=np.float32)
    for each in reversed([one.segmentation for one in result.instances]):
        if each.status is Status.FOUND:
            np.minimum(none, 1 - each.probability, out=none)
            np.copyto(sure, each.probability, where=each.mask)
    return np.asarray(np.round(255 * np.where(sure > 0, sure, none)), dtype=np.uint8)


def labelled_points(
    result: Result,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint32]]:
    """Points of all that was found: (N, 3) m, RGB (N, 3), and labels (N,) of :func:`label_image`.

    A point of two masks has the label of the one asked first, as in the image.
    """
    labels = label_image(result)
    points, pixels = [np.zeros((0, 3), np.float32)], [np.zeros((0, 2), np.int64)]
    for index, instance in enumerate(result.instances):
        position = instance.position
        if position is not None:
            u, v = position.points_uv.T
            own = labels[v, u] == assign_label(index)
            points.append(position.points[own])
            pixels.append(position.points_uv[own])
    u, v = np.concatenate(pixels).T
    return np.concatenate(points), result.rgb[v, u], labels[v, u].astype(np.uint32)


def chosen_position(result: Result) -> Position | None:
    """Position of the first found "pick" target, else of the first found target.

    Of several instances it is the largest. None if that one has no position: another's would be
    taken for it.
    """
    found = [each for each in result.instances if each.segmentation.status is Status.FOUND]
    roles = [target.role for target in result.request.accepted.targets]
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
