# SPDX-License-Identifier: Apache-2.0
"""Geometry of a boolean mask (H, W): box, centroid, a point inside. NumPy and OpenCV only.

Pixel centres lie at integers; u points right, v down. Functions return None for an empty mask.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def box_xyxy(mask: Mask) -> tuple[int, int, int, int] | None:
    """Compute the smallest half-open box (x0, y0, x1, y1) around the mask, in pixels."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (left, top, left + width, top + height) if width else None


def centroid_uv(mask: Mask) -> tuple[float, float] | None:
    """Compute the mean (u, v) of the mask's pixels, which may lie outside the mask."""
    box = box_xyxy(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    v, u = np.nonzero(mask[y0:y1, x0:x1])  # faster than over the whole image
    return x0 + float(u.mean()), y0 + float(v.mean())


def inside_uv(mask: Mask) -> tuple[int, int] | None:
    """Find the mask's pixel (u, v) that is farthest from its border."""
    box = box_xyxy(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    # Padding makes the image's border count as a border of the mask.
    crop = np.pad(mask[y0:y1, x0:x1].astype(np.uint8), 1)
    distance = cv2.distanceTransform(crop, cv2.DIST_L2, 5)
    v, u = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(u) - 1 + x0, int(v) - 1 + y0
