# SPDX-License-Identifier: Apache-2.0
"""Where a mask lies in space, from an aligned depth image. NumPy and OpenCV only.

The frame is the camera's optical frame of REP 103: x right, y down, z forward, metres; depth is
measured along z (REP 118). What was measured can then be told in another frame. Knows nothing of
messages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.masks import box_xyxy

__all__ = ["Intrinsics", "locate", "transformed", "unit_depth_rays"]

MIN_POINTS = 10  # fewer valid depths than this are no position
_RIM_PX = 3
_GAP_M, _GAP_SHARE = 0.010, 0.005  # a gap in depth is wider than both together
_FEW_SHARE = 0.004  # of the depths: no more in a gap's width are a gap still
_JUMP_M, _JUMP_SHARE = 0.02, 0.02  # neighbours farther apart than both together are a jump
_LEAST_STEADY = 0.3  # of the valid depths; of a thin thing, all are beside a jump


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """How a camera projects, as in sensor_msgs/CameraInfo."""

    K: NDArray[np.float64]  # (3, 3) px
    D: NDArray[np.float64]  # distortion coefficients, none or all zero where undistorted
    distortion_model: str = "plumb_bob"  # plumb_bob, rational_polynomial or equidistant


@dataclass(frozen=True, kw_only=True)
class Position:
    """A target, in the camera's optical frame unless it was :func:`transformed`."""

    mean: NDArray[np.float64]  # (3,) m, mean of the points kept
    covariance: NDArray[np.float64]  # (3, 3) m^2, spread of the points kept
    surface_point: NDArray[np.float64]  # (3,) m, the point kept that is nearest to inside_uv
    box_center: NDArray[np.float64]  # (3,) m, of the box around the points kept
    box_axes: NDArray[np.float64]  # (3, 3) a rotation: its columns are the box's edges
    box_size: NDArray[np.float64]  # (3,) m, along these edges
    valid_depth_ratio: float  # share of the mask's pixels with a valid depth
    points: NDArray[np.float32]  # (N, 3) m, the points kept
    points_uv: NDArray[np.int64]  # (N, 2) px, where the image shows them


def locate(
    mask: NDArray[np.bool_],
    depth_m: NDArray[np.float32],
    intrinsics: Intrinsics,
    inside_uv: tuple[int, int],
) -> Position | None:
    """Measure the visible surface of one target.

    Two kinds of depth do not count: at the mask's rim those beside a jump, where a camera mixes
    front and back; and those that a gap in depth parts from most of the others, for a mask takes in
    some of what is behind the target. What a target shows without a gap counts, however deep it is.

    Args:
        mask: (H, W).
        depth_m: (H, W) metres along z, NaN where invalid, aligned with the mask.
        intrinsics: of the image that the mask was drawn on.
        inside_uv: pixel of the mask to find the surface point near.

    Returns:
        None where fewer than MIN_POINTS depths are valid.

    Raises:
        ValueError: if mask and depth differ in size, or the distortion model is unknown.
    """
    if mask.shape != depth_m.shape:
        raise ValueError(f"depth image is {depth_m.shape}, the mask {mask.shape}")
    box = box_xyxy(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    v, u = np.nonzero(mask[y0:y1, x0:x1])  # of a large image, most is not the target
    u, v = u + x0, v + y0
    z = depth_m[v, u].astype(np.float64)
    valid = np.isfinite(z) & (z > 0)
    if int(valid.sum()) < MIN_POINTS:
        return None
    ratio = float(valid.mean())
    rim = mask[y0:y1, x0:x1] & ~_eroded(mask[y0:y1, x0:x1])
    steady = valid & ~(rim & _beside_jump(depth_m, box))[v - y0, u - x0]
    if int(steady.sum()) >= max(MIN_POINTS, _LEAST_STEADY * int(valid.sum())):
        valid = steady
    u, v, z = u[valid], v[valid], z[valid]
    kept = _together(z)
    u, v, z = u[kept], v[kept], z[kept]
    points = unit_depth_rays(u, v, intrinsics) * z  # (3, N)
    nearest = int(np.argmin((u - inside_uv[0]) ** 2 + (v - inside_uv[1]) ** 2))
    center, axes, size = _box_around(points)
    return Position(
        mean=points.mean(axis=1),
        covariance=np.cov(points),
        surface_point=points[:, nearest],
        box_center=center,
        box_axes=axes,
        box_size=size,
        valid_depth_ratio=ratio,
        points=points.T.astype(np.float32),
        points_uv=np.stack([u, v], axis=-1),
    )


def transformed(position: Position, matrix: NDArray[np.float64]) -> Position:
    """Tell the same place in another frame.

    Args:
        position: in one frame.
        matrix: (4, 4) rigid transform from that frame into the other.

    Returns:
        The position in the other frame. The box is the same box; its edges are named after the
        axes of the new frame.
    """
    rotation, origin = matrix[:3, :3], matrix[:3, 3]
    axes, order = _named(rotation @ position.box_axes)
    return replace(
        position,
        mean=rotation @ position.mean + origin,
        covariance=rotation @ position.covariance @ rotation.T,
        surface_point=rotation @ position.surface_point + origin,
        box_center=rotation @ position.box_center + origin,
        box_axes=axes,
        box_size=position.box_size[order],
        points=(position.points @ rotation.T + origin).astype(np.float32),
    )


def _beside_jump(depth_m: NDArray[np.float32], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Pixels of a box (x0, y0, x1, y1) with a jump in depth to one of their eight neighbours."""
    x0, y0, x1, y1 = box
    top, left = max(0, y0 - 1), max(0, x0 - 1)
    z = depth_m[top : y1 + 1, left : x1 + 1]
    known = np.isfinite(z) & (z > 0)
    size = np.ones((3, 3), np.uint8)
    # Unknown neighbours take no side.
    far = cv2.dilate(np.where(known, z, np.float32(0)), size)
    near = cv2.erode(np.where(known, z, np.float32(1e6)), size)
    jump = known & (far - near > _JUMP_M + _JUMP_SHARE * np.where(known, z, np.float32(0)))
    return np.asarray(jump[y0 - top : y1 - top, x0 - left : x1 - left])


def _box_around(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centre, axes and size of the box around points (3, N).

    One edge is the direction in which the points spread least, for what a camera sees of a thing is
    a surface; across it lies the least rectangle. Each edge gets the name of the optical axis that
    it is nearest to, so that a box does not turn over from one image to the next.
    """
    middle = points.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.cov(points))
    across = vectors[:, 1:].T @ (points - middle)  # (2, N)
    # Millimetres, and a hull: minAreaRect counts in single precision.
    hull = cv2.convexHull((1000 * across.T).astype(np.float32))
    angle = np.deg2rad(cv2.minAreaRect(hull)[2])
    first = vectors[:, 1:] @ np.array([np.cos(angle), np.sin(angle)])
    axes, _ = _named(np.stack([first, np.cross(vectors[:, 0], first), vectors[:, 0]], axis=1))
    along = axes.T @ points
    low, high = along.min(axis=1), along.max(axis=1)
    return axes @ ((low + high) / 2), axes, high - low


def _named(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[int]]:
    """Name each edge after the axis that it is nearest to.

    Args:
        edges: (3, 3), orthonormal columns in any order, pointing either way.

    Returns:
        A rotation (3, 3) whose columns are the edges x, y and z, and which edge each of them was.
    """
    likeness = np.abs(edges)  # of axis (row) and edge (column)
    axes, order = np.zeros((3, 3)), [0, 0, 0]
    for _ in range(3):
        axis, edge = np.unravel_index(int(np.argmax(likeness)), likeness.shape)
        likeness[axis, :] = likeness[:, edge] = -1
        order[axis] = int(edge)
        axes[:, axis] = edges[:, edge] * (1 if edges[axis, edge] >= 0 else -1)
    if np.linalg.det(axes) < 0:
        axes[:, 2] *= -1
    return axes, order


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    size = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
    padded = np.pad(mask.astype(np.uint8), _RIM_PX)
    return np.asarray(cv2.erode(padded, size)[_RIM_PX:-_RIM_PX, _RIM_PX:-_RIM_PX] > 0)


def _together(z: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The depths around the median, up to the first gap on either side; few in a bin are a gap."""
    middle = float(np.median(z))
    step = _GAP_M + _GAP_SHARE * middle
    bins = np.floor((z - middle) / step + 0.5).astype(np.int64)
    first = int(bins.min())
    counts = np.bincount(bins - first)
    full = counts > max(1.0, _FEW_SHARE * len(z))
    if not full[-first]:
        return np.ones(len(z), np.bool_)
    low = high = -first
    while low > 0 and full[low - 1]:
        low -= 1
    while high < len(full) - 1 and full[high + 1]:
        high += 1
    return np.asarray((bins - first >= low) & (bins - first <= high))


def unit_depth_rays(
    u: NDArray[np.int64], v: NDArray[np.int64], intrinsics: Intrinsics
) -> NDArray[np.float64]:
    """Points (3, N) at z = 1 that the pixels (u, v) see.

    Raises:
        ValueError: if the distortion model is unknown.
    """
    K, D = intrinsics.K, intrinsics.D
    if not np.any(D):
        return np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(len(u))])
    pixels = np.stack([u, v], axis=-1).astype(np.float64)[:, None]
    if intrinsics.distortion_model in ("plumb_bob", "rational_polynomial"):
        x, y = cv2.undistortPoints(pixels, K, D)[:, 0].T
    elif intrinsics.distortion_model == "equidistant":
        x, y = cv2.fisheye.undistortPoints(pixels, K, D[:4])[:, 0].T
    else:
        raise ValueError(
            f"unknown distortion model {intrinsics.distortion_model!r}; accepted: plumb_bob, "
            "rational_polynomial, equidistant"
        )
    return np.stack([x, y, np.ones(len(u))])
