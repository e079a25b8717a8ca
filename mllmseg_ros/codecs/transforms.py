# SPDX-License-Identifier: Apache-2.0
"""Put TF messages into a transform buffer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mllmseg_ros.codecs.images import nanoseconds
from mllmseg_ros.geometry.transforms import TransformBuffer

__all__ = ["put_transforms"]


def put_transforms(
    buffer: TransformBuffer,
    transforms: Iterable[Any],
    *,
    static: bool,
    now_ns: int | None = None,
) -> list[str]:
    """Put the transforms of a message of ``/tf`` or ``/tf_static`` into a buffer.

    Args:
        buffer: the buffer.
        transforms: with the fields of geometry_msgs/TransformStamped.
        static: valid at any time.
        now_ns: ns, the time now, where it is known: stamps far ahead of it are refused.

    Returns:
        The reasons for refused transforms, one line each.
    """
    refusals = []
    for each in transforms:
        translation, rotation = each.transform.translation, each.transform.rotation
        try:
            buffer.put(
                each.header.frame_id,
                each.child_frame_id,
                nanoseconds(each.header.stamp),
                (translation.x, translation.y, translation.z),
                (rotation.x, rotation.y, rotation.z, rotation.w),
                static=static,
                now_ns=now_ns,
            )
        except ValueError as error:
            refusals.append(str(error))
    return refusals
