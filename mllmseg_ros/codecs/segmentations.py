# SPDX-License-Identifier: Apache-2.0
"""Results as mllmseg_ros/SegmentationArray messages.

Messages of rclpy and of bags differ only in their classes: :class:`MessageTypes` names the classes,
and the fields are filled here for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.images import nanoseconds
from mllmseg_ros.geometry.instances import Instance, InstanceSet
from mllmseg_ros.geometry.localization import Position
from mllmseg_ros.language.command import Command
from mllmseg_ros.language.counts import asks_for_one, count_asked
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

__all__ = ["MessageTypes", "build_segmentation_array", "segmentation_from_message"]

_STATUS_NAMES = {
    Status.FOUND: "STATUS_FOUND",
    Status.NO_TARGET: "STATUS_NO_TARGET",
    Status.LOW_CONFIDENCE: "STATUS_LOW_CONFIDENCE",
}
_MAX_LABEL = 254


@dataclass(frozen=True, kw_only=True)
class MessageTypes:
    """Message classes; each creates a message from default values and the given fields."""

    SegmentationArray: Any
    Segmentation: Any
    RegionOfInterest: Any
    Duration: Any
    Point: Any
    Pose: Any
    Quaternion: Any
    Vector3: Any
    image: Callable[[NDArray[np.uint8], str, Any], Any]  # pixels, encoding, header -> Image


def build_segmentation_array(
    types: MessageTypes,
    *,
    command: Command,
    header: Any,
    size_hw: tuple[int, int],
    instance_set: InstanceSet,
    camera: str,
    model: str,
    note: str = "",
) -> Any:
    """Build the result message of a command on one image, without the fields of its request.

    Args:
        types: message classes.
        command: with the expressions.
        header: std_msgs/Header of the image, kept by reference.
        size_hw: of the image, px.
        instance_set: the instances on the image.
        camera: topic of the image.
        model: name of the model.
        note: how the command was understood, "" if that is clear.
    """
    statuses = _expression_statuses(instance_set.instances)
    n_found = statuses.count(Status.FOUND)
    n_instances = sum(each.segmentation.status is Status.FOUND for each in instance_set.instances)
    things = f" ({n_instances} things)" if n_instances > n_found else ""  # "the mugs" are several
    found = f"{n_found} of {len(statuses)} found{things}"
    message = types.SegmentationArray()
    message.header = header
    message.image_height, message.image_width = size_hw
    message.camera, message.model, message.intent = camera, model, command.intent
    message.status = _combine_statuses(types.SegmentationArray, statuses)
    doubts = _list_doubts([each.segmentation for each in instance_set.instances], len(statuses))
    notes = (*_compare_counts(command, instance_set.instances), *doubts, note, instance_set.note)
    message.text = "; ".join([found, *filter(None, notes)])
    message.segmentations = [
        _build_entry(
            types, instance_set, index, command.targets[each.expression_index].role, header
        )
        for index, each in enumerate(instance_set.instances)
    ]
    return message


def _compare_counts(command: Command, instances: Sequence[Instance]) -> list[str]:
    """Say where more or fewer instances are found than an expression asks for."""
    notes = []
    for index, expression in enumerate(command.expressions):
        n_found = sum(
            each.expression_index == index and each.segmentation.status is Status.FOUND
            for each in instances
        )
        count = count_asked(expression)
        if n_found > 1 and count is None and asks_for_one(expression):
            notes.append(f"several fit {expression!r}: {n_found}")
        elif count is not None and 0 < n_found < count:
            notes.append(f"only {n_found} of {expression!r}")
    return notes


def segmentation_from_message(entry: Any, size_hw: tuple[int, int]) -> Segmentation:
    """Convert a mllmseg_ros/Segmentation message, received or from a bag, to a segmentation.

    Args:
        entry: as received.
        size_hw: image_height, image_width of its array, px.

    Returns:
        The segmentation with its mask at full size. Messages have no
        probabilities: 0 or 1 here.

    Raises:
        ValueError: if the mask does not fit its box, the box does not fit the image, or the status
            is not known.
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
    statuses = {getattr(entry, name): key for key, name in _STATUS_NAMES.items()}
    if entry.status not in statuses:
        raise ValueError(f"status {entry.status} is not known; accepted: {sorted(statuses)}")
    probability = mask.astype(np.float32)
    segmentation = build_segmentation(
        entry.expression,
        statuses[entry.status],
        float(entry.score),
        float(entry.mask_score),
        probability,
        mask,
        str(entry.doubt),
    )
    return replace(segmentation, unconfirmed=bool(entry.unconfirmed))


def point_message(types: MessageTypes, xyz: NDArray[np.float64]) -> Any:
    """Convert a position (3,), m, to geometry_msgs/Point."""
    x, y, z = xyz.tolist()
    return types.Point(x=x, y=y, z=z)


def quaternion_message(types: MessageTypes, rotation: NDArray[np.float64]) -> Any:
    """Convert a rotation (3, 3) to a unit geometry_msgs/Quaternion with w >= 0.

    By OpenCV: scipy's Rotation takes 0.2 ms, once per instance of every result.
    """
    vector, _ = cv2.Rodrigues(rotation)
    angle = float(np.linalg.norm(vector))
    axis = vector[:, 0] / angle if angle > 1e-12 else np.zeros(3)
    x, y, z = (np.sin(angle / 2) * axis).tolist()
    return types.Quaternion(x=x, y=y, z=z, w=float(np.cos(angle / 2)))


def box_pose_message(types: MessageTypes, position: Position) -> Any:
    """Convert the pose of a target's box to geometry_msgs/Pose."""
    return types.Pose(
        position=point_message(types, position.box_center),
        orientation=quaternion_message(types, position.box_axes),
    )


def assign_label(index: int) -> int:
    """Return the value of an entry in the label image; 0 (not drawn) after the 254th."""
    return index + 1 if index < _MAX_LABEL else 0


def _expression_statuses(instances: Sequence[Instance]) -> list[Status]:
    """Return the status of each expression: found if one of its instances is."""
    statuses: dict[int, Status] = {}
    for each in instances:
        status = each.segmentation.status
        if status is Status.FOUND or each.expression_index not in statuses:
            statuses[each.expression_index] = status
    return [statuses[index] for index in sorted(statuses)]


def _list_doubts(segmentations: Sequence[Segmentation], n_expressions: int) -> list[str]:
    """Return why things were not found, each reason once, and of what if there are several."""
    doubtful = [each for each in segmentations if each.doubt]
    if n_expressions == 1:
        return list(dict.fromkeys(each.doubt for each in doubtful))
    return list(dict.fromkeys(f"{each.expression}: {each.doubt}" for each in doubtful))


def _combine_statuses(array: Any, statuses: Sequence[Status]) -> int:
    if all(status is Status.FOUND for status in statuses):
        return int(array.STATUS_OK)
    if Status.FOUND in statuses:
        return int(array.STATUS_PARTIAL)
    if Status.LOW_CONFIDENCE in statuses:
        return int(array.STATUS_LOW_CONFIDENCE)
    return int(array.STATUS_NO_TARGET)


def _build_entry(
    types: MessageTypes, instance_set: InstanceSet, index: int, role: str, header: Any
) -> Any:
    instance = instance_set.instances[index]
    segmentation, position = instance.segmentation, instance.position
    entry = types.Segmentation()
    entry.expression = segmentation.expression
    entry.expression_index = instance.expression_index
    entry.instance_index = instance.instance_index
    entry.role = role
    entry.status = getattr(types.Segmentation, _STATUS_NAMES[segmentation.status])
    entry.score = segmentation.score
    entry.mask_score = segmentation.mask_score
    entry.doubt, entry.unconfirmed = segmentation.doubt, segmentation.unconfirmed
    entry.track_id = instance.track_id
    if instance.inferred_ns is not None:
        entry.propagated = True
        age_ns = max(0, nanoseconds(header.stamp) - instance.inferred_ns)
        entry.inference_age = types.Duration(
            sec=age_ns // 1_000_000_000, nanosec=age_ns % 1_000_000_000
        )
    entry.centroid_uv = np.full(2, np.nan, np.float32)
    entry.inside_uv = np.full(2, -1, np.int32)
    if segmentation.status is Status.NO_TARGET or segmentation.box_xyxy is None:
        return entry
    x0, y0, x1, y1 = segmentation.box_xyxy
    entry.box = types.RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0)
    entry.centroid_uv = np.array(segmentation.centroid_uv, np.float32)
    entry.inside_uv = np.array(segmentation.inside_uv, np.int32)
    entry.area_px = segmentation.area_px
    crop = segmentation.mask[y0:y1, x0:x1].astype(np.uint8) * np.uint8(255)
    entry.mask = types.image(crop, "mono8", header)
    if segmentation.status is Status.FOUND:
        entry.label = assign_label(index)
    if position is not None:
        entry.frame_id = instance_set.frame.frame_id if instance_set.frame else header.frame_id
        _fill_position(types, entry, position)
    return entry


def _fill_position(types: MessageTypes, entry: Any, position: Position) -> None:
    entry.has_position = True
    entry.position = point_message(types, position.mean)
    entry.position_covariance = position.covariance.ravel()
    entry.surface_point = point_message(types, position.surface_point)
    entry.box_pose = box_pose_message(types, position)
    x, y, z = position.box_size.tolist()
    entry.box_size = types.Vector3(x=x, y=y, z=z)
    entry.valid_depth_ratio = position.valid_depth_ratio
