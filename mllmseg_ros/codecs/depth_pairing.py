# SPDX-License-Identifier: Apache-2.0
"""Pair images with their depth and camera info, live and from bags.

Messages are paired by stamp, within a tolerance. Not with message_filters: its synchronizers wait
for complete sets, but images without depth are segmented too; and bags are read without ROS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.depth import align_depth, frames_differ
from mllmseg_ros.codecs.images import nanoseconds
from mllmseg_ros.codecs.stamp_history import StampHistory, StampMatch
from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth

__all__ = ["DepthPairing", "MissingDepthError", "PairedMessages"]


class MissingDepthError(ValueError):
    """Depth images are published, but that of this image has not come."""


@dataclass(frozen=True, kw_only=True)
class PairedMessages:
    """Depth image and camera info of one image, as far as received."""

    depth: StampMatch[Any]
    info: StampMatch[Any]


class DepthPairing:
    """A short history of depth images and camera infos of one camera. Thread-safe.

    Messages are objects with the fields of sensor_msgs.
    """

    def __init__(self, capacity: int = 8) -> None:
        """Keep the newest ``capacity`` messages, and those paired with images in use."""
        self._depths: StampHistory[Any] = StampHistory(capacity)
        self._infos: StampHistory[Any] = StampHistory(capacity)
        self._info: Any = None  # the newest: intrinsics hardly ever change
        self._depth_info: Any = None

    def put_depth(self, message: Any, stamp_ns: int | None = None) -> bool:
        """Add a depth image.

        Args:
            message: the depth image.
            stamp_ns: to pair it by; None for its own stamp.

        Returns:
            Whether its frame differs from the colour image's.
        """
        self._depths.put(_own_stamp(message) if stamp_ns is None else stamp_ns, message)
        info = self._info
        return info is not None and frames_differ(message.header.frame_id, info.header.frame_id)

    def put_info(self, message: Any, stamp_ns: int | None = None) -> None:
        """Add the colour camera's info; for ``stamp_ns`` see :meth:`put_depth`."""
        self._info = message
        self._infos.put(_own_stamp(message) if stamp_ns is None else stamp_ns, message)

    def put_depth_info(self, message: Any) -> None:
        """Set the depth camera's info."""
        self._depth_info = message

    def pair(self, stamp_ns: int, tolerance_ns: int) -> PairedMessages:
        """Pair the image of this stamp with messages received before or after."""
        return PairedMessages(
            depth=self._depths.match(stamp_ns, tolerance_ns),
            info=self._infos.match(stamp_ns, tolerance_ns),
        )

    def clear(self) -> None:
        """Drop all messages."""
        self._depths.clear()
        self._infos.clear()
        self._info = self._depth_info = None

    def get_depth(
        self,
        frame: Frame,
        paired: PairedMessages,
        *,
        rectified: bool,
        depth_rectified: bool | None = None,
        lookup_transform: Callable[[str], NDArray[np.float64]],
        wait_s: float = 0.0,
    ) -> Depth | None:
        """Return depth aligned with an image; None if no depth is published.

        Args:
            frame: the image.
            paired: from :meth:`pair` for that image.
            rectified: the image is rectified already.
            depth_rectified: the depth image is; None for the same.
            lookup_transform: returns ``image_from_depth`` (4, 4) for the depth image's frame id.
            wait_s: s, how long to wait for late messages.

        Raises:
            MissingDepthError: if the depth image of this image has not come.
            ValueError: if there is no depth for another reason, which it names.
        """
        depth = self._depths.wait_for(paired.depth, wait_s)
        if depth is None:
            nearest_ns = self._depths.nearest_distance(paired.depth.stamp_ns)
            if nearest_ns is None:  # no depth is published, so no position is expected
                return None
            raise MissingDepthError(
                "no depth image has the stamp of the colour image; the nearest is "
                f"{nearest_ns / 1e9:.3f} s off{self._explain_missing(paired.depth)}"
            )
        return align_depth(
            frame,
            depth,
            self._infos.wait_for(paired.info, wait_s) or self._static_info(frame),
            self._depth_info,
            rectified=rectified,
            depth_rectified=depth_rectified,
            lookup_transform=lookup_transform,
        )

    def _explain_missing(self, depth: StampMatch[Any]) -> str:
        """Say what arrives: lost images need another remedy than other stamps."""
        n_matched, n = self._depths.count_matched(depth.stamp_ns)
        if n_matched:
            return f"; {n_matched} of {n} depth images arrive, see Large images in docs/topics.md"
        if n > 1:
            return (
                f", and none of the last {n} images has one within {depth.tolerance_ns / 1e9:g} s "
                "(depth_tolerance)"
            )
        return ""

    def _static_info(self, frame: Frame) -> Any:
        """The newest camera info, for an image whose stamp none has.

        Some drivers publish it once, late, or with a stamp that never changes.
        """
        info = self._info
        if info is None:
            raise ValueError("no camera_info has arrived")
        if frames_differ(info.header.frame_id, frame.frame_id):
            raise ValueError(
                f"no camera_info has the stamp of the colour image, and the newest is of frame "
                f"{info.header.frame_id!r}, the colour image of {frame.frame_id!r}"
            )
        return info


def _own_stamp(message: Any) -> int:
    return nanoseconds(message.header.stamp)
