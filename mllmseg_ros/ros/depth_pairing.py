# SPDX-License-Identifier: Apache-2.0
"""Positions of targets, from the depth image and camera info that belong to a colour image.

They must have the colour image's stamp and size: aligned depth. Without them an answer stays
two-dimensional. Entry point: :class:`DepthPairing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sensor_msgs.msg import CameraInfo, Image

from mllmseg_ros.frame import Frame
from mllmseg_ros.instances import Instance, instances_of
from mllmseg_ros.ros.image_msgs import depth_from_image, intrinsics_from_info, nanoseconds
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
        self._depths: StampHistory[Image] = StampHistory()
        self._infos: StampHistory[CameraInfo] = StampHistory()
        self._report = report

    def put_depth(self, msg: Image) -> None:
        """Take a depth image in."""
        self._depths.put(nanoseconds(msg.header.stamp), msg)

    def put_info(self, msg: CameraInfo) -> None:
        """Take a camera info in."""
        self._infos.put(nanoseconds(msg.header.stamp), msg)

    def expect(self, stamp_ns: int) -> None:
        """Hold on to what has this stamp: an image with it is about to be looked at."""
        self._depths.keep(stamp_ns)
        self._infos.keep(stamp_ns)

    def clear(self) -> None:
        """Forget all."""
        self._depths.clear()
        self._infos.clear()

    def locate(
        self, frame: Frame, segmentations: Sequence[Segmentation], *, rectified: bool
    ) -> list[Instance]:
        """Part every found answer into its instances; without depth they have no position."""
        nowhere = instances_of(segmentations)
        if not any(each.status is Status.FOUND for each in segmentations):
            return nowhere
        depth_msg = self._depths.kept(frame.stamp_ns, _WAIT_S)
        if depth_msg is None:
            if len(self._depths):  # without any, nobody expects a position
                self._report("no position: no depth image has the stamp of the colour image")
            return nowhere
        info = self._infos.kept(frame.stamp_ns, _WAIT_S)
        if info is None:
            self._report("no position: no camera_info has the stamp of the colour image")
            return nowhere
        try:
            depth_m = depth_from_image(depth_msg)
            intrinsics = intrinsics_from_info(info, rectified=rectified)
            if intrinsics is None:
                raise ValueError("camera_info says that the camera is not calibrated (K[0] = 0)")
            return instances_of(segmentations, depth_m, intrinsics)
        except ValueError as error:
            self._report(f"no position: {error}")
            return nowhere
