# SPDX-License-Identifier: Apache-2.0
"""The depth that belongs to a colour image.

Paired by stamp, within a tolerance, and brought into the colour image where its size, lens or place
is another. Entry point: :class:`DepthPairing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mllmseg_ros.frame import Frame
from mllmseg_ros.instances import Depth
from mllmseg_ros.position import Intrinsics
from mllmseg_ros.registration import register_depth, scaled
from mllmseg_ros.ros.image_msgs import (
    depth_from_compressed,
    depth_from_image,
    intrinsics_from_info,
    nanoseconds,
)
from mllmseg_ros.ros.stamp_history import Kept, StampHistory
from mllmseg_ros.ros.tf import TransformLookup, matrix_at
from mllmseg_ros.transforms import TransformError

_WAIT_S = 0.1  # a depth image may come a little later than the colour image


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What belongs to one image, as far as it has come."""

    depth: Kept[Image | CompressedImage]
    info: Kept[CameraInfo]


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
        if _differ(msg.header.frame_id, self._frame_id):
            self._expect_transforms()
        self._depths.put(nanoseconds(msg.header.stamp), msg)

    def put_info(self, msg: CameraInfo) -> None:
        """Take the colour camera's info in."""
        self._frame_id = msg.header.frame_id
        self._infos.put(nanoseconds(msg.header.stamp), msg)

    def put_depth_info(self, msg: CameraInfo) -> None:
        """Take the depth camera's info in."""
        self._depth_info = msg

    def expect(self, stamp_ns: int, tolerance_ns: int) -> Expected:
        """Hold on to what belongs to the image with this stamp, there or yet to come."""
        return Expected(
            depth=self._depths.keep(stamp_ns, tolerance_ns),
            info=self._infos.keep(stamp_ns, tolerance_ns),
        )

    def clear(self) -> None:
        """Forget all."""
        self._depths.clear()
        self._infos.clear()
        self._depth_info = None

    def depth_of(
        self, frame: Frame, expected: Expected, *, rectified: bool, timeout_s: float
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
        compressed = isinstance(message, CompressedImage)
        depth_m = depth_from_compressed(message) if compressed else depth_from_image(message)
        color = intrinsics_from_info(info, rectified=rectified)
        if color is None:
            raise ValueError("camera_info says that the camera is not calibrated (K[0] = 0)")
        size_hw = (frame.rgb.shape[0], frame.rgb.shape[1])
        own = self._own_camera(rectified)
        color_from_depth = None
        depth_frame = message.header.frame_id
        if _differ(depth_frame, frame.frame_id):
            if own is None:
                raise ValueError(
                    f"the depth image is in frame {depth_frame!r}, the colour image in "
                    f"{frame.frame_id!r}; publish depth/camera_info, or depth aligned to the "
                    "colour image"
                )
            color_from_depth = matrix_at(
                self._transforms, frame.frame_id, depth_frame, frame.stamp_ns, timeout_s
            )
        elif own is None and depth_m.shape == size_hw:
            return Depth(metres=depth_m, intrinsics=color)
        depth_hw = (depth_m.shape[0], depth_m.shape[1])
        lens = own or scaled(color, size_hw, depth_hw)
        registered = register_depth(depth_m, lens, color, size_hw, color_from_depth)
        return Depth(metres=registered, intrinsics=color)

    def _expect_transforms(self) -> None:
        try:
            self._transforms.listen()
        except TransformError as error:
            self._report(f"depth image in another frame: {error}")

    def _own_camera(self, rectified: bool) -> Intrinsics | None:
        """How the depth camera projects, where that has been said."""
        if self._depth_info is None:
            return None
        lens = intrinsics_from_info(self._depth_info, rectified=rectified)
        if lens is None:
            raise ValueError("depth/camera_info says that the camera is not calibrated (K[0] = 0)")
        return lens


def _differ(frame_id: str, other_id: str) -> bool:
    """Whether two frames are known to be two; a camera may leave its name out."""
    return bool(frame_id and other_id) and frame_id != other_id
