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

__all__ = ["DepthPairing", "PairedMessages"]


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
        self._depth_info: Any = None  # the newest: intrinsics do not change
        self._frame_id = ""  # of the colour camera, from its camera info

    def put_depth(self, message: Any) -> bool:
        """Add a depth image; returns whether its frame differs from the colour image's."""
        self._depths.put(nanoseconds(message.header.stamp), message)
        return frames_differ(message.header.frame_id, self._frame_id)

    def put_info(self, message: Any) -> None:
        """Add the colour camera's info."""
        self._frame_id = message.header.frame_id
        self._infos.put(nanoseconds(message.header.stamp), message)

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
        self._depth_info = None

    def get_depth(
        self,
        frame: Frame,
        paired: PairedMessages,
        *,
        rectified: bool,
        lookup_transform: Callable[[str], NDArray[np.float64]],
        wait_s: float = 0.0,
    ) -> Depth | None:
        """Return depth aligned with an image; None if no depth is published.

        Args:
            frame: the image.
            paired: from :meth:`pair` for that image.
            rectified: the images are rectified already.
            lookup_transform: returns ``image_from_depth`` (4, 4) for the depth image's frame id.
            wait_s: s, how long to wait for late messages.

        Raises:
            ValueError: if there is none, with the reason.
        """
        depth = self._depths.wait_for(paired.depth, wait_s)
        if depth is None:
            if not len(self._depths):  # no depth is published, so no position is expected
                return None
            raise ValueError("no depth image has the stamp of the colour image")
        info = self._infos.wait_for(paired.info, wait_s)
        if info is None:
            raise ValueError("no camera_info has the stamp of the colour image")
        return align_depth(
            frame,
            depth,
            info,
            self._depth_info,
            rectified=rectified,
            lookup_transform=lookup_transform,
        )
