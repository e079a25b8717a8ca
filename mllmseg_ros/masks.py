# SPDX-License-Identifier: Apache-2.0
"""Geometry of one boolean mask (H, W): box, centroid, a point inside. NumPy and OpenCV only.

Pixel centres lie at integers; u runs right, v down. An empty mask gives None.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def box_xyxy(mask: Mask) -> tuple[int, int, int, int] | None:
    """Smallest half-open box (x0, y0, x1, y1) around the mask, in pixels."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (left, top, left + width, top + height) if width else None


def centroid_uv(mask: Mask) -> tuple[float, float] | None:
    """Mean (u, v) of the mask's pixels; for a ring it lies in the hole."""
    box = box_xyxy(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    v, u = np.nonzero(mask[y0:y1, x0:x1])  # of a large image, most is not the mask
    return x0 + float(u.mean()), y0 + float(v.mean())


def inside_uv(mask: Mask) -> tuple[int, int] | None:
    """The mask's pixel (u, v) farthest from its border, also for a ring or a crescent."""
    box = box_xyxy(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    # A rim of zeros makes the image's own border count as a border of the mask.
    crop = np.pad(mask[y0:y1, x0:x1].astype(np.uint8), 1)
    distance = cv2.distanceTransform(crop, cv2.DIST_L2, 5)
    v, u = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(u) - 1 + x0, int(v) - 1 + y0
