# SPDX-License-Identifier: Apache-2.0
"""From a depth image message to a depth for every pixel of the colour image.

Brought into the colour image where its size, lens or place is another. Messages are read by their
fields, as in :mod:`mllmseg_ros.codecs.images`.
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
from mllmseg_ros.geometry.registration import register_depth, scaled

__all__ = ["aligned_depth", "frames_differ"]


def aligned_depth(
    frame: Frame,
    message: Image | CompressedImage,
    info: CameraInfo,
    depth_info: CameraInfo | None,
    *,
    rectified: bool,
    frame_from: Callable[[str], NDArray[np.float64]],
) -> Depth:
    """Depth in the pixels of a colour image.

    Args:
        frame: the colour image.
        message: the depth image.
        info: the colour camera's.
        depth_info: the depth camera's own; None where it has the colour camera's lens.
        rectified: the images are rectified already.
        frame_from: gives the (4, 4) transform from a frame into the colour image's, at its stamp.

    Raises:
        ValueError: saying why there is none.
    """
    depth_m = (
        depth_from_compressed(message) if hasattr(message, "format") else depth_from_image(message)
    )
    color = intrinsics_from_info(info, rectified=rectified)
    if color is None:
        raise ValueError("camera_info says that the camera is not calibrated (K[0] = 0)")
    size_hw = (frame.rgb.shape[0], frame.rgb.shape[1])
    own = _own_camera(depth_info, rectified)
    color_from_depth = None
    depth_frame = message.header.frame_id
    if frames_differ(depth_frame, frame.frame_id):
        if own is None:
            raise ValueError(
                f"the depth image is in frame {depth_frame!r}, the colour image in "
                f"{frame.frame_id!r}; publish depth/camera_info, or depth aligned to the "
                "colour image"
            )
        color_from_depth = frame_from(depth_frame)
    elif own is None and depth_m.shape == size_hw:
        return Depth(metres=depth_m, intrinsics=color)
    depth_hw = (depth_m.shape[0], depth_m.shape[1])
    lens = own or scaled(color, size_hw, depth_hw)
    registered = register_depth(depth_m, lens, color, size_hw, color_from_depth)
    return Depth(metres=registered, intrinsics=color)


def frames_differ(frame_id: str, other_id: str) -> bool:
    """Whether two frames are known to be two; a camera may leave its name out."""
    return bool(frame_id and other_id) and frame_id != other_id


def _own_camera(info: CameraInfo | None, rectified: bool) -> Intrinsics | None:
    """How the depth camera projects, where that has been said."""
    if info is None:
        return None
    lens = intrinsics_from_info(info, rectified=rectified)
    if lens is None:
        raise ValueError("depth/camera_info says that the camera is not calibrated (K[0] = 0)")
    return lens
