# SPDX-License-Identifier: Apache-2.0
"""Pair an image with its depth and camera info, live and in bags.

By stamp, within a tolerance. Not by message_filters: its synchronizer calls back only when a set is
complete, and an image without depth is segmented all the same; bags have no ROS either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.depth import aligned_depth, frames_differ
from mllmseg_ros.codecs.images import nanoseconds
from mllmseg_ros.codecs.stamp_history import StampHistory, StampMatch
from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth

__all__ = ["DepthPairing", "PairedMessages"]


@dataclass(frozen=True, kw_only=True)
class PairedMessages:
    """What belongs to one image, as far as it has come."""

    depth: StampMatch[Any]
    info: StampMatch[Any]


class DepthPairing:
    """Keeps depth images and camera infos of one camera. May be used from any thread.

    Messages are anything with the fields of sensor_msgs.
    """

    def __init__(self, capacity: int = 8) -> None:
        """Keep the newest ``capacity`` messages, and those paired with images that are held."""
        self._depths: StampHistory[Any] = StampHistory(capacity)
        self._infos: StampHistory[Any] = StampHistory(capacity)
        self._depth_info: Any = None  # the newest: a lens does not change
        self._frame_id = ""  # of the colour camera, as its info has it

    def put_depth(self, message: Any) -> bool:
        """Take a depth image in; returns whether it comes from another frame than the image."""
        self._depths.put(nanoseconds(message.header.stamp), message)
        return frames_differ(message.header.frame_id, self._frame_id)

    def put_info(self, message: Any) -> None:
        """Take the colour camera's info in."""
        self._frame_id = message.header.frame_id
        self._infos.put(nanoseconds(message.header.stamp), message)

    def put_depth_info(self, message: Any) -> None:
        """Take the depth camera's info in."""
        self._depth_info = message

    def expect(self, stamp_ns: int, tolerance_ns: int) -> PairedMessages:
        """Hold on to what belongs to the image with this stamp, there or yet to come."""
        return PairedMessages(
            depth=self._depths.keep(stamp_ns, tolerance_ns),
            info=self._infos.keep(stamp_ns, tolerance_ns),
        )

    def clear(self) -> None:
        """Forget all."""
        self._depths.clear()
        self._infos.clear()
        self._depth_info = None

    def depth_of(
        self,
        frame: Frame,
        paired: PairedMessages,
        *,
        rectified: bool,
        frame_from: Callable[[str], NDArray[np.float64]],
        wait_s: float = 0.0,
    ) -> Depth | None:
        """Depth in the pixels of an image; None where nobody publishes any.

        Args:
            frame: the image.
            paired: from :meth:`expect` for that image.
            rectified: the images are rectified already.
            frame_from: ``image_from_depth`` (4, 4) by the name of the depth image's frame.
            wait_s: s, how long to wait for messages that are late.

        Raises:
            ValueError: saying why there is none.
        """
        depth = self._depths.wait_for(paired.depth, wait_s)
        if depth is None:
            if not len(self._depths):  # without any, nobody expects a position
                return None
            raise ValueError("no depth image has the stamp of the colour image")
        info = self._infos.wait_for(paired.info, wait_s)
        if info is None:
            raise ValueError("no camera_info has the stamp of the colour image")
        return aligned_depth(
            frame, depth, info, self._depth_info, rectified=rectified, frame_from=frame_from
        )
