# SPDX-License-Identifier: Apache-2.0
"""Instances and their positions, from the depth that belongs to a colour image.

Depth is paired by stamp, within a tolerance, and brought into the colour image where its size, lens
or place is another. Positions are measured in the camera's optical frame and then told in the frame
asked for. Without depth or without a transform an answer stays two-dimensional, and says why. Entry
point: :class:`DepthPairing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mllmseg_ros.frame import Frame
from mllmseg_ros.instances import Depth, Instance, Located, OtherFrame, instances_of
from mllmseg_ros.position import Intrinsics, transformed
from mllmseg_ros.registration import register_depth, scaled
from mllmseg_ros.ros.image_msgs import (
    depth_from_compressed,
    depth_from_image,
    intrinsics_from_info,
    nanoseconds,
)
from mllmseg_ros.ros.stamp_history import StampHistory
from mllmseg_ros.ros.tf import TransformLookup
from mllmseg_ros.segmentation import Segmentation, Status
from mllmseg_ros.transforms import TransformError

_WAIT_S = 0.1  # a depth image may come a little later than the colour image


class DepthPairing:
    """Keeps what came on the depth and camera info topics until its image is looked at."""

    def __init__(self, report: Callable[[str], None], transforms: TransformLookup) -> None:
        """Set up.

        Args:
            report: takes one line about a message that could not be used.
            transforms: asked where depth or positions are wanted in another frame.
        """
        self._depths: StampHistory[Image | CompressedImage] = StampHistory()
        self._infos: StampHistory[CameraInfo] = StampHistory()
        self._depth_info: CameraInfo | None = None  # the newest: a lens does not change
        self._frame_id = ""  # of the colour camera, as its info has it
        self._report = report
        self._transforms = transforms

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
        self,
        frame: Frame,
        segmentations: Sequence[Segmentation],
        *,
        rectified: bool,
        target_frame: str = "",
        timeout_s: float = 0.0,
    ) -> Located:
        """Part every found answer into its instances, and measure them where there is depth.

        Args:
            frame: the image.
            segmentations: the answers on it.
            rectified: the images are rectified already.
            target_frame: to tell positions in; "" for the camera's optical frame.
            timeout_s: s, how long to wait for a transform.

        Returns:
            Instances, without positions and with a note where what they need is missing.
        """
        if not any(each.status is Status.FOUND for each in segmentations):
            return Located(instances=instances_of(segmentations))
        try:
            depth = self._depth_of(frame, rectified, timeout_s)
            instances = instances_of(segmentations, depth)
        except ValueError as error:
            return self._without_position(instances_of(segmentations), error)
        if depth is None or not target_frame or target_frame == frame.frame_id:
            return Located(instances=instances, depth=depth)
        try:
            matrix = self._matrix(target_frame, frame, frame.frame_id, timeout_s)
        except TransformError as error:
            # Parted by depth all the same.
            return self._without_position(
                [replace(each, position=None) for each in instances], error
            )
        return Located(
            instances=[_told_in(each, matrix) for each in instances],
            depth=depth,
            frame=OtherFrame(frame_id=target_frame, from_camera=matrix),
        )

    def _without_position(self, instances: Sequence[Instance], error: ValueError) -> Located:
        note = f"no position: {error}"
        self._report(note)
        return Located(instances=instances, note=note)

    def _matrix(
        self, target: str, frame: Frame, source: str, timeout_s: float
    ) -> NDArray[np.float64]:
        """``target_from_source`` (4, 4) at the stamp of an image.

        Raises:
            TransformError: saying why there is none.
        """
        if not source:
            raise TransformError(f"the image names no frame (frame_id) to go to {target!r} from")
        try:
            return self._transforms.matrix(target, source, frame.stamp_ns, timeout_s)
        except TransformError as error:
            raise TransformError(f"no transform from {source!r} to {target!r}: {error}") from None

    def _expect_transforms(self) -> None:
        try:
            self._transforms.listen()
        except TransformError as error:
            self._report(f"depth image in another frame: {error}")

    def _depth_of(self, frame: Frame, rectified: bool, timeout_s: float) -> Depth | None:
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
        own = self._own_camera(rectified)
        color_from_depth = None
        if _differ(message.header.frame_id, frame.frame_id):
            if own is None:
                raise ValueError(
                    f"the depth image is in frame {message.header.frame_id!r}, the colour image in "
                    f"{frame.frame_id!r}; publish depth/camera_info, or depth aligned to the "
                    "colour image"
                )
            color_from_depth = self._matrix(
                frame.frame_id, frame, message.header.frame_id, timeout_s
            )
        elif own is None and depth_m.shape == size_hw:
            return Depth(metres=depth_m, intrinsics=color)
        depth_hw = (depth_m.shape[0], depth_m.shape[1])
        lens = own or scaled(color, size_hw, depth_hw)
        registered = register_depth(depth_m, lens, color, size_hw, color_from_depth)
        return Depth(metres=registered, intrinsics=color)

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


def _told_in(instance: Instance, matrix: NDArray[np.float64]) -> Instance:
    if instance.position is None:
        return instance
    return replace(instance, position=transformed(instance.position, matrix))
