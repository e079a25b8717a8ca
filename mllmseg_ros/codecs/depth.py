# SPDX-License-Identifier: Apache-2.0
"""Convert a depth image message to depth aligned with the colour image.

Depth is registered if size, intrinsics or frame differ from the colour image's. Messages are read
by their fields, as in :mod:`mllmseg_ros.codecs.images`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.images import (
    CameraInfo,
    CompressedImage,
    Image,
    depth_from_compressed,
    depth_from_image,
    intrinsics_from_info,
)
from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.geometry.registration import register_depth, scale_intrinsics

__all__ = ["align_depth", "frames_differ"]


def align_depth(
    frame: Frame,
    message: Image | CompressedImage,
    info: CameraInfo,
    depth_info: CameraInfo | None,
    *,
    rectified: bool,
    lookup_transform: Callable[[str], NDArray[np.float64]],
) -> Depth:
    """Align a depth image with a colour image.

    Args:
        frame: the colour image.
        message: the depth image.
        info: camera info of the colour image.
        depth_info: camera info of the depth image; None if its intrinsics are the colour image's.
        rectified: the images are rectified already.
        lookup_transform: returns the (4, 4) transform from a frame into the colour image's, at the
            colour image's stamp.

    Raises:
        ValueError: if there is none, with the reason.
    """
    depth_m = (
        depth_from_compressed(message) if hasattr(message, "format") else depth_from_image(message)
    )
    color = intrinsics_from_info(info, rectified=rectified)
    if color is None:
        raise ValueError("camera_info says that the camera is not calibrated (K[0] = 0)")
    size_hw = (frame.rgb.shape[0], frame.rgb.shape[1])
    depth_camera = _read_depth_camera(depth_info, rectified)
    color_from_depth = None
    depth_frame = message.header.frame_id
    if frames_differ(depth_frame, frame.frame_id):
        if depth_camera is None:
            raise ValueError(
                f"the depth image is in frame {depth_frame!r}, the colour image in "
                f"{frame.frame_id!r}; publish depth/camera_info, or depth aligned to the "
                "colour image"
            )
        color_from_depth = lookup_transform(depth_frame)
    elif depth_camera is None and depth_m.shape == size_hw:
        return Depth(metres=depth_m, intrinsics=color)
    depth_hw = (depth_m.shape[0], depth_m.shape[1])
    depth_camera = depth_camera or scale_intrinsics(color, size_hw, depth_hw)
    registered = register_depth(depth_m, depth_camera, color, size_hw, color_from_depth)
    return Depth(metres=registered, intrinsics=color)


def frames_differ(frame_id: str, other_id: str) -> bool:
    """Return whether two frame ids are known to differ; an empty one is unknown."""
    return bool(frame_id and other_id) and frame_id != other_id


def _read_depth_camera(info: CameraInfo | None, rectified: bool) -> Intrinsics | None:
    """Read the depth camera's intrinsics; None without camera info."""
    if info is None:
        return None
    intrinsics = intrinsics_from_info(info, rectified=rectified)
    if intrinsics is None:
        raise ValueError("depth/camera_info says that the camera is not calibrated (K[0] = 0)")
    return intrinsics
