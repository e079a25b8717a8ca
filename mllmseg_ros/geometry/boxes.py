# SPDX-License-Identifier: Apache-2.0
"""Keep the boxes of tracked instances steady from one result to the next.

A box is fitted to the visible points of one image: noise turns its axes, most of all those of round
things, and a few points at the rim change its size. Entry point: :class:`BoxHistory`.
"""

from __future__ import annotations

from dataclasses import replace

import cv2

from mllmseg_ros.geometry.instances import Instance, InstanceSet
from mllmseg_ros.geometry.localization import Position, align_axes

__all__ = ["BoxHistory"]

_WEIGHT = 0.25  # of a new box's axes and size; its centre is never held back


class BoxHistory:
    """The last box of each track. Not thread-safe."""

    def __init__(self) -> None:
        self._boxes: dict[tuple[str, str, bool], Position] = {}

    def steady(self, instance_set: InstanceSet) -> InstanceSet:
        """Steady the boxes of instances that had one in the last result, and remember all.

        Args:
            instance_set: of one image; instances without a track are left as they are.
        """
        frame = instance_set.frame
        kind = ("", False) if frame is None else (frame.frame_id, frame.upright_boxes)
        boxes: dict[tuple[str, str, bool], Position] = {}

        def steadied(instance: Instance) -> Instance:
            position = instance.position
            if position is None or not instance.track_id:
                return instance
            key = (instance.track_id, *kind)
            if key in self._boxes:
                position = _steady(position, self._boxes[key])
            boxes[key] = position
            return replace(instance, position=position)

        instances = [steadied(each) for each in instance_set.instances]
        self._boxes = boxes
        return replace(instance_set, instances=instances)


def _steady(position: Position, last: Position) -> Position:
    """Turn the last box towards the new one, and resize it likewise.

    The centre is the new one, so that a moving target's box does not lag.
    """
    turn, order = align_axes(last.box_axes.T @ position.box_axes)
    axes = last.box_axes @ cv2.Rodrigues(_WEIGHT * cv2.Rodrigues(turn)[0])[0]
    size = last.box_size + _WEIGHT * (position.box_size[order] - last.box_size)
    return replace(position, box_axes=axes, box_size=size)
