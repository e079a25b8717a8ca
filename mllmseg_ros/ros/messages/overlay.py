# SPDX-License-Identifier: Apache-2.0
"""Draw the overlay of a received result, for subscribers of the node."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.ros.messages.segmentation_msgs import segmentation_from_message

__all__ = ["camera_distance_m", "draw_result"]


def draw_result(rgb: NDArray[np.uint8], result: SegmentationArray) -> NDArray[np.uint8]:
    """Draw a result over its image.

    Args:
        rgb: (H, W, 3) uint8 RGB, the image with the result's stamp.
        result: received message.

    Raises:
        ValueError: if a mask does not fit the image.
    """
    size_hw = (result.image_height, result.image_width)
    return draw_overlay(
        rgb,
        [segmentation_from_message(each, size_hw) for each in result.segmentations],
        [each.track_id for each in result.segmentations],
        [camera_distance_m(each, result.header.frame_id) for each in result.segmentations],
    )


def camera_distance_m(entry: Segmentation, camera_frame: str) -> float | None:
    """Return an entry's distance from the camera; None without a position in the camera's frame."""
    if not entry.has_position or entry.frame_id != camera_frame:
        return None
    point = entry.position
    return float(np.linalg.norm([point.x, point.y, point.z]))
