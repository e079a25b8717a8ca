# SPDX-License-Identifier: Apache-2.0
"""TF messages into a transform buffer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mllmseg_ros.codecs.images import nanoseconds
from mllmseg_ros.geometry.transforms import TransformBuffer

__all__ = ["put_transforms"]


def put_transforms(
    buffer: TransformBuffer, transforms: Iterable[Any], *, static: bool
) -> list[str]:
    """Take in what a message of ``/tf`` or ``/tf_static`` says.

    Args:
        buffer: to put the transforms into.
        transforms: with the fields of geometry_msgs/TransformStamped.
        static: they hold at any time.

    Returns:
        Why transforms were refused, one line each.
    """
    refusals = []
    for each in transforms:
        shift, turn = each.transform.translation, each.transform.rotation
        try:
            buffer.put(
                each.header.frame_id,
                each.child_frame_id,
                nanoseconds(each.header.stamp),
                (shift.x, shift.y, shift.z),
                (turn.x, turn.y, turn.z, turn.w),
                static=static,
            )
        except ValueError as error:
            refusals.append(str(error))
    return refusals
