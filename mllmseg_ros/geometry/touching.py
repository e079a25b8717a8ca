# SPDX-License-Identifier: Apache-2.0
"""Tell things that touch from parts of one thing.

Things that stand beside each other on a surface meet at a neck of their common outline; parts of
one thing are mostly stacked (the head on a bear's body, a lamp's shade), or one is much smaller (a
teapot's spout). What is printed on a thing is not looked at: colour never splits. NumPy and OpenCV
only.
"""

from __future__ import annotations

import math
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.masks import fill_from_nearest

__all__ = ["Surface", "are_apart_in_depth", "cut_at_necks"]

Up = tuple[float, float]  # unit vector (du, dv) in the image

# A neck: its half-width relative to the largest circle in the smaller lobe, the lobes' areas
# relative to each other, and the direction from lobe to lobe, off the surface's horizontal.
_MAX_NECK, _MIN_LOBE_SHARE, _MAX_STACKED = 0.75, 0.3, math.sin(math.radians(45))
_MIN_LOBE_RADIUS_PX = 4.0
_MIN_OCCLUDER_PX = 6  # beside a neck
_NEARER_M = 0.01  # by which an occluder is nearer than the mask, at least
# Of the convex hull: two circles that overlap up to a neck of _MAX_NECK fill 0.96 of it.
_CONVEX_SHARE = 0.97
_LEVELS = np.linspace(0.2, 0.95, 16)  # of the distance from the outline, where necks are sought

# Two pieces beside a depth jump are parts of one thing if one is this small, or if they are farther
# apart in depth than this times the smaller one's size.
_MIN_PIECE_SHARE, _MAX_DEPTH_STEP = 0.15, 2.2
# What is farther stands higher in the image, unless it is nearly as far.
_SURELY_NEAR_STEP = 1.0

_MIN_TILT = 0.05  # change of the inverse depth over the image, relative to its mean
_MIN_SAMPLES = 50  # of the depth
_ABOVE_M = 0.02  # nearer than the surface by this along z: stands on it


class Surface:
    """What things stand on, as a plane that the camera sees.

    A plane's inverse depth is linear in the pixel.
    """

    def __init__(self, depth_m: NDArray[np.float32] | None) -> None:
        """Look at an image, of which every n-th pixel is enough; it takes a millisecond, once.

        Args:
            depth_m: (H, W) metres along z, NaN or 0 where invalid; None: the camera counts as
                upright.
        """
        self._depth_m = depth_m

    @property
    def up(self) -> Up | None:
        """The direction in the image in which the surface recedes.

        For an upright camera that looks at a table it is up. None if the depth does not tell, as
        for a camera that looks straight down.
        """
        if self._depth_m is None:
            return 0.0, -1.0
        if self._plane is None:
            return None
        du, dv, mean = self._plane[0], self._plane[1], self._plane[3]
        tilt = math.hypot(du, dv)
        if tilt * max(self._depth_m.shape) < _MIN_TILT * mean:
            return None
        return -du / tilt, -dv / tilt

    def find_nearer(
        self, depth_m: NDArray[np.float32], origin_uv: tuple[int, int], step: int
    ) -> NDArray[np.bool_]:
        """Find what stands between the camera and the surface.

        Args:
            depth_m: (h, w) of every step-th pixel of the image, from an origin.
            origin_uv: px, of its first pixel.
            step: px.

        Returns:
            (h, w), False where the surface is not known.
        """
        if self._plane is None:
            return np.zeros(depth_m.shape, np.bool_)
        du, dv, offset, _ = self._plane
        v, u = np.ogrid[: depth_m.shape[0], : depth_m.shape[1]]
        inverse = offset + du * (origin_uv[0] + step * u) + dv * (origin_uv[1] + step * v)
        return (depth_m > 0) & (depth_m < 1 / np.maximum(inverse, 1e-6) - _ABOVE_M)

    @cached_property
    def _plane(self) -> tuple[float, float, float, float] | None:
        """Inverse depth's change per px to the right and down, its value at (0, 0), its mean."""
        if self._depth_m is None:
            return None
        step = max(1, round(max(self._depth_m.shape) / 64))
        sampled = self._depth_m[::step, ::step].astype(np.float64)
        v, u = np.nonzero((sampled > 0) & (sampled < np.inf))
        if len(u) < _MIN_SAMPLES:
            return None
        inverse = 1 / sampled[v, u]
        columns = np.stack([u, v, np.ones(len(u))], axis=1)
        weights = np.ones(len(u))
        for _ in range(5):  # what stands on the surface weighs little in the end
            plane, *_ = np.linalg.lstsq(columns * weights[:, None], inverse * weights, rcond=None)
            residuals = np.abs(columns @ plane - inverse)
            weights = 1 / np.sqrt(1 + (residuals / max(np.median(residuals), 1e-6)) ** 2)
        du, dv, offset = (float(value) for value in plane)
        return du / step, dv / step, offset, float(np.mean(inverse))


class Front:
    """What stands in front of a mask, found when it is asked for."""

    def __init__(
        self,
        mask: NDArray[np.bool_],
        depth_m: NDArray[np.float32],
        surface: Surface,
        origin_uv: tuple[int, int],
        step: int,
    ) -> None:
        """Set up.

        Args:
            mask: (h, w) of every step-th pixel of the image, from an origin.
            depth_m: (h, w) metres along z of the same pixels, NaN or 0 where invalid.
            surface: on which things stand.
            origin_uv: px, of the first pixel.
            step: px.
        """
        self._mask, self._depth_m, self._surface = mask, depth_m, surface
        self._origin_uv, self._step = origin_uv, step

    @cached_property
    def pixels(self) -> NDArray[np.bool_]:
        """(h, w) outside the mask, nearer than it and than the surface."""
        own_m = self._depth_m[self._mask]
        own_m = own_m[(own_m > 0) & (own_m < np.inf)]
        if not len(own_m):
            return np.zeros(self._mask.shape, np.bool_)
        nearest_m = float(np.percentile(own_m, 10)) - _NEARER_M
        nearer = ~self._mask & (self._depth_m > 0) & (self._depth_m < nearest_m)
        return nearer & self._surface.find_nearer(self._depth_m, self._origin_uv, self._step)


def cut_at_necks(
    mask: NDArray[np.bool_], surface: Surface, front: Front | None = None
) -> list[NDArray[np.bool_]]:
    """Cut a connected mask where things side by side meet.

    Args:
        mask: (h, w), connected.
        surface: where its direction is unknown, lobes may meet in any.
        front: what stands in front, which may make a neck; None if that is unknown.

    Returns:
        Masks (h, w) that together are the mask; the mask itself if there is no neck.
    """
    if _is_convex(mask):
        return [mask]
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    highest = float(inside.max())
    if highest < _MIN_LOBE_RADIUS_PX:
        return [mask]
    for level in _LEVELS * highest:
        count, labels = cv2.connectedComponents((inside > level).view(np.uint8))
        if count < 3:
            continue
        lobes = [labels == index for index in range(1, count)]
        peaks = [float(inside[lobe].max()) for lobe in lobes]
        lobes = [
            lobe
            for lobe, peak in zip(lobes, peaks, strict=True)
            if peak >= _MIN_LOBE_RADIUS_PX and level <= _MAX_NECK * peak
        ]
        if len(lobes) < 2:
            continue
        parts = _grow(lobes, mask)
        if _stand_side_by_side(parts, surface) and not _are_occluded(parts, front):
            return [piece for part in parts for piece in cut_at_necks(part, surface, front)]
    return [mask]


def _is_convex(mask: NDArray[np.bool_]) -> bool:
    """Whether a mask nearly fills its convex hull, so that no neck in it is deep enough."""
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=len)
    return cv2.contourArea(outline) > _CONVEX_SHARE * cv2.contourArea(cv2.convexHull(outline))


def _grow(lobes: list[NDArray[np.bool_]], mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Give each pixel of the mask to the nearest lobe."""
    labels = np.zeros(mask.shape, np.int32)
    for index, lobe in enumerate(lobes, start=1):
        labels[lobe] = index
    owners = fill_from_nearest(labels, labels > 0)
    return [(owners == index) & mask for index in range(1, len(lobes) + 1)]


def _are_occluded(parts: list[NDArray[np.bool_]], front: Front | None) -> bool:
    """Whether something stands in front of a neck between parts."""
    if front is None:
        return False
    size = np.ones((3, 3), np.uint8)
    reached = np.stack([cv2.dilate(part.view(np.uint8), size) for part in parts])
    near = reached.sum(axis=0, dtype=np.uint8) > 1
    ends = cv2.dilate(near.view(np.uint8), np.ones((7, 7), np.uint8)) > 0
    return int(np.count_nonzero(ends & front.pixels)) >= _MIN_OCCLUDER_PX


def _stand_side_by_side(parts: list[NDArray[np.bool_]], surface: Surface) -> bool:
    areas = [int(np.count_nonzero(part)) for part in parts]
    if min(areas) < _MIN_LOBE_SHARE * max(areas):
        return False
    if surface.up is None:
        return True
    centres = np.array([_centre_uv(part) for part in parts])
    # Along the line on which they stand, whatever their order.
    spread = centres - centres.mean(axis=0)
    direction = np.linalg.svd(spread)[2][0]
    return abs(float(direction @ np.array(surface.up))) <= _MAX_STACKED


def _centre_uv(part: NDArray[np.bool_]) -> tuple[float, float]:
    moments = cv2.moments(part.view(np.uint8), binaryImage=True)
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


def are_apart_in_depth(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    depth_m: NDArray[np.float32],
    surface: Surface,
    focal_px: float | None,
) -> bool:
    """Decide whether two pieces of a mask, with a depth jump between them, are two things.

    Args:
        first: (h, w).
        second: (h, w).
        depth_m: (h, w) metres along z, without holes.
        surface: on which they stand.
        focal_px: of the camera; None if it is unknown, and with it the size of the pieces.
    """
    areas = [int(np.count_nonzero(piece)) for piece in (first, second)]
    if min(areas) < _MIN_PIECE_SHARE * max(areas):
        return False
    z = [float(np.median(depth_m[piece])) for piece in (first, second)]
    near, far = (first, second) if z[0] < z[1] else (second, first)
    if focal_px is None:
        return True
    size_m = math.sqrt(min(areas)) * min(z) / focal_px
    step = abs(z[0] - z[1]) / size_m
    if step > _MAX_DEPTH_STEP:
        return False
    if step < _SURELY_NEAR_STEP or surface.up is None:
        return True
    up = surface.up
    (u0, v0), (u1, v1) = _centre_uv(near), _centre_uv(far)
    return (u1 - u0) * up[0] + (v1 - v0) * up[1] > 0
