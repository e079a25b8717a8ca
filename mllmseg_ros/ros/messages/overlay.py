# SPDX-License-Identifier: Apache-2.0
"""The overlay of an answer as it came, for who listens to the node."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.ros.messages.segmentation_msgs import segmentation_from_message

__all__ = ["distance_m", "overlay_of"]


def overlay_of(rgb: NDArray[np.uint8], answer: SegmentationArray) -> NDArray[np.uint8]:
    """Draw an answer over its image.

    Args:
        rgb: (H, W, 3) uint8 RGB, the image of the answer's stamp.
        answer: as received.

    Raises:
        ValueError: if a mask does not fit the image.
    """
    size_hw = (answer.image_height, answer.image_width)
    return draw_overlay(
        rgb,
        [segmentation_from_message(each, size_hw) for each in answer.segmentations],
        [each.track_id for each in answer.segmentations],
        [distance_m(each, answer.header.frame_id) for each in answer.segmentations],
    )


def distance_m(entry: Segmentation, camera_frame: str) -> float | None:
    """Of an entry from the camera; in another frame than its own nobody can tell without TF."""
    if not entry.has_position or entry.frame_id != camera_frame:
        return None
    point = entry.position
    return float(np.linalg.norm([point.x, point.y, point.z]))
