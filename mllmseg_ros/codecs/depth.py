# SPDX-License-Identifier: Apache-2.0
"""Convert a depth image message to depth aligned with the colour image.

Depth is registered if size, intrinsics or frame differ from the colour image's. Messages are read
by their fields, as in :mod:`mllmseg_ros.codecs.images`.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.camera_info import intrinsics_of_image
from mllmseg_ros.codecs.images import (
    CameraInfo,
    CompressedImage,
    Image,
    depth_from_compressed,
    depth_from_image,
)
from mllmseg_ros.error_text import one_line
from mllmseg_ros.frame import Frame, bare_frame_id
from mllmseg_ros.geometry.instances import Depth
from mllmseg_ros.geometry.registration import register_depth, scale_intrinsics

__all__ = ["align_depth", "frames_differ"]


def align_depth(
    frame: Frame,
    message: Image | CompressedImage,
    info: CameraInfo,
    depth_info: CameraInfo | None,
    *,
    rectified: bool,
    depth_rectified: bool | None = None,
    lookup_transform: Callable[[str], NDArray[np.float64]],
) -> Depth:
    """Align a depth image with a colour image.

    Args:
        frame: the colour image.
        message: the depth image.
        info: camera info of the colour image.
        depth_info: camera info of the depth image; None if its intrinsics are the colour image's,
            as they are anyway if frame and size are the colour image's and it is unusable or of
            another frame.
        rectified: the colour image is rectified already.
        depth_rectified: the depth image is; None for the same.
        lookup_transform: returns the (4, 4) transform from a frame into the colour image's, at the
            colour image's stamp.

    Raises:
        ValueError: if there is none, with the reason.
    """
    depth_m = (
        depth_from_compressed(message) if hasattr(message, "format") else depth_from_image(message)
    )
    size_hw = (frame.rgb.shape[0], frame.rgb.shape[1])
    depth_hw = (depth_m.shape[0], depth_m.shape[1])
    color = intrinsics_of_image(info, size_hw, rectified=rectified)
    color_from_depth = None
    depth_frame = message.header.frame_id
    is_other_frame = frames_differ(depth_frame, frame.frame_id)
    is_aligned = not is_other_frame and depth_hw == size_hw
    depth_camera = None
    # An info of another frame is of the depth camera, from before the depth was aligned.
    if depth_info is not None and not (
        is_aligned and frames_differ(depth_info.header.frame_id, frame.frame_id)
    ):
        try:
            depth_camera = intrinsics_of_image(
                depth_info,
                depth_hw,
                rectified=rectified if depth_rectified is None else depth_rectified,
                name="depth/camera_info",
            )
        except ValueError:
            if not is_aligned:
                raise
    if is_other_frame:
        if depth_camera is None:
            raise ValueError(
                f"the depth image is in frame {depth_frame!r}, the colour image in "
                f"{frame.frame_id!r}; publish depth/camera_info, or depth aligned to the "
                "colour image"
            )
        color_from_depth = lookup_transform(depth_frame)
    elif depth_camera is None and is_aligned:
        return Depth(metres=depth_m, intrinsics=color)
    if depth_camera is None:
        if abs(depth_hw[0] * size_hw[1] - depth_hw[1] * size_hw[0]) > max(size_hw):
            raise ValueError(
                f"the depth image is {depth_hw[1]} x {depth_hw[0]}, the colour image "
                f"{size_hw[1]} x {size_hw[0]}, so their views differ; publish depth/camera_info"
            )
        depth_camera = scale_intrinsics(color, size_hw, depth_hw)
    try:
        registered = register_depth(depth_m, depth_camera, color, size_hw, color_from_depth)
    except cv2.error as error:  # numbers that no camera has
        raise ValueError(f"depth cannot be registered: {one_line(error)}") from error
    return Depth(metres=registered, intrinsics=color)


def frames_differ(frame_id: str, other_id: str) -> bool:
    """Return whether two frame ids are known to differ; an empty one is unknown."""
    bare, other = bare_frame_id(frame_id), bare_frame_id(other_id)
    return bool(bare and other) and bare != other
