# SPDX-License-Identifier: Apache-2.0
"""The depth that belongs to a colour image.

Paired by stamp, within a tolerance, and brought into the colour image where its size, lens or place
is another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mllmseg_ros.codecs.depth import aligned_depth, frames_differ
from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth
from mllmseg_ros.geometry.transforms import TransformError
from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.ros.support.stamp_history import StampHistory, StampMatch
from mllmseg_ros.ros.support.tf import TransformLookup, matrix_at

__all__ = ["DepthPairing"]

_WAIT_S = 0.1  # a depth image may come a little later than the colour image


@dataclass(frozen=True, kw_only=True)
class PairedMessages:
    """What belongs to one image, as far as it has come."""

    depth: StampMatch[Image | CompressedImage]
    info: StampMatch[CameraInfo]


class DepthPairing:
    """Keeps what came on the depth and camera info topics until its image is looked at."""

    def __init__(self, report: Callable[[str], None], transforms: TransformLookup) -> None:
        """Set up.

        Args:
            report: takes one line about a message that could not be used.
            transforms: asked where depth comes from another frame.
        """
        self._depths: StampHistory[Image | CompressedImage] = StampHistory()
        self._infos: StampHistory[CameraInfo] = StampHistory()
        self._depth_info: CameraInfo | None = None  # the newest: a lens does not change
        self._frame_id = ""  # of the colour camera, as its info has it
        self._report, self._transforms = report, transforms

    def put_depth(self, msg: Image | CompressedImage) -> None:
        """Take a depth image in."""
        if frames_differ(msg.header.frame_id, self._frame_id):
            self._expect_transforms()
        self._depths.put(nanoseconds(msg.header.stamp), msg)

    def put_info(self, msg: CameraInfo) -> None:
        """Take the colour camera's info in."""
        self._frame_id = msg.header.frame_id
        self._infos.put(nanoseconds(msg.header.stamp), msg)

    def put_depth_info(self, msg: CameraInfo) -> None:
        """Take the depth camera's info in."""
        self._depth_info = msg

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
        self, frame: Frame, expected: PairedMessages, *, rectified: bool, timeout_s: float
    ) -> Depth | None:
        """Depth in the pixels of a colour image; None where nobody publishes any.

        Waits a moment for a depth image that is late.

        Args:
            frame: the colour image.
            expected: from :meth:`expect` for that image.
            rectified: the images are rectified already.
            timeout_s: s, how long to wait for a transform, where one is needed.

        Raises:
            ValueError: saying why there is none.
        """
        message = self._depths.wait_for(expected.depth, _WAIT_S)
        if message is None:
            if not len(self._depths):  # without any, nobody expects a position
                return None
            raise ValueError("no depth image has the stamp of the colour image")
        info = self._infos.wait_for(expected.info, _WAIT_S)
        if info is None:
            raise ValueError("no camera_info has the stamp of the colour image")
        return aligned_depth(
            frame,
            message,
            info,
            self._depth_info,
            rectified=rectified,
            frame_from=lambda depth_frame: matrix_at(
                self._transforms, frame.frame_id, depth_frame, frame.stamp_ns, timeout_s
            ),
        )

    def _expect_transforms(self) -> None:
        try:
            self._transforms.listen()
        except TransformError as error:
            self._report(f"depth image in another frame: {error}")
