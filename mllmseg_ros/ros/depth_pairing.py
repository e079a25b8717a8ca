# SPDX-License-Identifier: Apache-2.0
"""Instances and their positions, from the depth that belongs to a colour image.

Depth is paired by stamp, within a tolerance, and brought into the colour image where its size or
lens is another. Without depth an answer stays two-dimensional, and says why. Entry point:
:class:`DepthPairing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mllmseg_ros.frame import Frame
from mllmseg_ros.instances import Depth, Located, instances_of
from mllmseg_ros.position import Intrinsics
from mllmseg_ros.registration import register_depth, scaled
from mllmseg_ros.ros.image_msgs import (
    depth_from_compressed,
    depth_from_image,
    intrinsics_from_info,
    nanoseconds,
)
from mllmseg_ros.ros.stamp_history import StampHistory
from mllmseg_ros.segmentation import Segmentation, Status

_WAIT_S = 0.1  # a depth image may come a little later than the colour image


class DepthPairing:
    """Keeps what came on the depth and camera info topics until its image is looked at."""

    def __init__(self, report: Callable[[str], None]) -> None:
        """Set up.

        Args:
            report: takes one line about a message that could not be used.
        """
        self._depths: StampHistory[Image | CompressedImage] = StampHistory()
        self._infos: StampHistory[CameraInfo] = StampHistory()
        self._depth_info: CameraInfo | None = None  # the newest: a lens does not change
        self._report = report

    def put_depth(self, msg: Image | CompressedImage) -> None:
        """Take a depth image in."""
        self._depths.put(nanoseconds(msg.header.stamp), msg)

    def put_info(self, msg: CameraInfo) -> None:
        """Take the colour camera's info in."""
        self._infos.put(nanoseconds(msg.header.stamp), msg)

    def put_depth_info(self, msg: CameraInfo) -> None:
        """Take the depth camera's info in."""
        self._depth_info = msg

    def expect(self, stamp_ns: int, tolerance_ns: int) -> None:
        """Hold on to what is nearest to this stamp: an image with it is about to be looked at."""
        self._depths.keep(stamp_ns, tolerance_ns)
        self._infos.keep(stamp_ns, tolerance_ns)

    def clear(self) -> None:
        """Forget all."""
        self._depths.clear()
        self._infos.clear()
        self._depth_info = None

    def locate(
        self, frame: Frame, segmentations: Sequence[Segmentation], *, rectified: bool
    ) -> Located:
        """Part every found answer into its instances, and measure them where there is depth."""
        if not any(each.status is Status.FOUND for each in segmentations):
            return Located(instances=instances_of(segmentations))
        try:
            depth = self._depth_of(frame, rectified)
            return Located(instances=instances_of(segmentations, depth), depth=depth)
        except ValueError as error:
            note = f"no position: {error}"
            self._report(note)
            return Located(instances=instances_of(segmentations), note=note)

    def _depth_of(self, frame: Frame, rectified: bool) -> Depth | None:
        """Depth in the colour image; None where nobody publishes any.

        Raises:
            ValueError: saying why there is none.
        """
        message = self._depths.kept(frame.stamp_ns, _WAIT_S)
        if message is None:
            if not len(self._depths):  # without any, nobody expects a position
                return None
            raise ValueError("no depth image has the stamp of the colour image")
        info = self._infos.kept(frame.stamp_ns, _WAIT_S)
        if info is None:
            raise ValueError("no camera_info has the stamp of the colour image")
        compressed = isinstance(message, CompressedImage)
        depth_m = depth_from_compressed(message) if compressed else depth_from_image(message)
        color = intrinsics_from_info(info, rectified=rectified)
        if color is None:
            raise ValueError("camera_info says that the camera is not calibrated (K[0] = 0)")
        size_hw = (frame.rgb.shape[0], frame.rgb.shape[1])
        depth_frame = message.header.frame_id
        if depth_frame and frame.frame_id and depth_frame != frame.frame_id:
            raise ValueError(
                f"the depth image is in frame {depth_frame!r}, the colour image in "
                f"{frame.frame_id!r}; publish depth aligned to the colour image"
            )
        own = self._own_camera(rectified)
        if own is None and depth_m.shape == size_hw:
            return Depth(metres=depth_m, intrinsics=color)
        depth_hw = (depth_m.shape[0], depth_m.shape[1])
        lens = own or scaled(color, size_hw, depth_hw)
        registered = register_depth(depth_m, lens, color, size_hw)
        return Depth(metres=registered, intrinsics=color)

    def _own_camera(self, rectified: bool) -> Intrinsics | None:
        """How the depth camera projects, where that has been said."""
        if self._depth_info is None:
            return None
        lens = intrinsics_from_info(self._depth_info, rectified=rectified)
        if lens is None:
            raise ValueError("depth/camera_info says that the camera is not calibrated (K[0] = 0)")
        return lens
