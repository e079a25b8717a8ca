# SPDX-License-Identifier: Apache-2.0
"""Geometry of a boolean mask (H, W): box, area, centroid, a point inside. NumPy and OpenCV only.

Pixel centres lie at integers; u points right, v down. Functions return None for an empty mask. Most
masks are small in a large image: where the caller knows a box that contains the mask's pixels, only
that is looked at.
"""

from __future__ import annotations

import itertools
import math
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1, px, half-open
_Value = TypeVar("_Value", bound=np.generic)

_MAX_INSIDE_PX = 65_536  # of a box; in larger ones the point inside is sought on every n-th pixel


def box_xyxy(mask: Mask, within: Box | None = None) -> Box | None:
    """Compute the smallest half-open box (x0, y0, x1, y1) around the mask, in pixels.

    Args:
        mask: (H, W).
        within: a box that contains all pixels of the mask; None is the image.
    """
    x0, y0, x1, y1 = within or (0, 0, mask.shape[1], mask.shape[0])
    crop = mask[y0:y1, x0:x1]
    # By rows first: NumPy reduces them eight bytes at a time.
    rows = np.flatnonzero(crop.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, _, width, _ = cv2.boundingRect(crop[top:bottom].view(np.uint8))
    return x0 + left, y0 + top, x0 + left + width, y0 + bottom


def iou(first: Mask, second: Mask) -> float:
    """Compute the intersection over union of two masks (H, W); 1 if both are empty."""
    union_px = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union_px) if union_px else 1.0


def area_px(mask: Mask, box: Box | None = None) -> int:
    """Count the mask's pixels.

    Args:
        mask: (H, W).
        box: contains all pixels of the mask; None is the image.
    """
    x0, y0, x1, y1 = box or (0, 0, mask.shape[1], mask.shape[0])
    return int(np.count_nonzero(mask[y0:y1, x0:x1]))


def fill_from_nearest(values: NDArray[_Value], known: Mask) -> NDArray[_Value]:
    """Give each pixel the value of the nearest pixel where it is known.

    Args:
        values: (H, W).
        known: (H, W), True at one pixel at least.
    """
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(int(nearest.max()) + 1, values.dtype)
    by_label[nearest[known]] = values[known]
    return by_label[nearest]


def centroid_uv(mask: Mask, box: Box | None = None) -> tuple[float, float] | None:
    """Compute the mean (u, v) of the mask's pixels, which may lie outside the mask.

    Args:
        mask: (H, W).
        box: from :func:`box_xyxy`, if it is known.
    """
    box = box or box_xyxy(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    moments = cv2.moments(mask[y0:y1, x0:x1].view(np.uint8), binaryImage=True)
    return x0 + moments["m10"] / moments["m00"], y0 + moments["m01"] / moments["m00"]


def inside_uv(mask: Mask, box: Box | None = None) -> tuple[int, int] | None:
    """Find the mask's pixel (u, v) that is farthest from its border.

    In a large mask only every n-th row and column is looked at: the pixel is in the mask, and its
    distance from the border is less than the largest by 2 n px at most, unless the mask has holes
    or gaps narrower than n. n is 2 for a box of 500 x 500 px.

    Args:
        mask: (H, W).
        box: from :func:`box_xyxy`, if it is known.
    """
    box = box or box_xyxy(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    n = math.ceil(math.sqrt((x1 - x0) * (y1 - y0) / _MAX_INSIDE_PX))
    for step in (n, 1):
        first = step // 2
        crop = mask[y0 + first : y1 : step, x0 + first : x1 : step]
        # With a margin, because the image's border counts as a border of the mask.
        padded = np.zeros((crop.shape[0] + 2, crop.shape[1] + 2), np.uint8)
        padded[1:-1, 1:-1] = crop
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
        _, largest, _, (u, v) = cv2.minMaxLoc(distance)
        if largest > 0:  # else the mask is a line between the rows that were looked at
            return x0 + first + (u - 1) * step, y0 + first + (v - 1) * step
    return None


def encode_run_lengths(mask: Mask) -> dict[str, object]:
    """Encode a mask (H, W) as COCO's compressed run lengths, for JSON.

    Runs of 0 and 1 alternate, column by column, beginning with 0. Each is coded in base 32: five
    bits per character, counted from "0", and a sixth bit if more characters follow. From the third
    run on, the difference to the last but one run is coded.

    Returns:
        ``{"size": [H, W], "counts": text}``, as pycocotools writes and reads it.
    """
    flat = mask.T.ravel()
    bounds = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    runs = [after - before for before, after in itertools.pairwise(bounds)]
    if flat.size and flat[0]:
        runs.insert(0, 0)
    code = bytearray()
    for number, run in enumerate(runs):
        value = run - runs[number - 2] if number > 2 else run
        while True:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            code.append(48 + bits + 32 * more)
            if not more:
                break
    return {"size": list(mask.shape), "counts": code.decode("ascii")}
