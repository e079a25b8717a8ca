# SPDX-License-Identifier: Apache-2.0
"""Locate a mask in space with an aligned depth image. NumPy and OpenCV only.

Positions are in the camera's optical frame of REP 103 (x right, y down, z forward, metres) and can
be transformed into another frame; depth is measured along z (REP 118). Knows nothing of messages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.masks import box_xyxy

__all__ = [
    "DISTORTION_MODELS",
    "Intrinsics",
    "explain_no_position",
    "image_depth_rays",
    "locate",
    "select_own_depth",
    "transform_position",
    "unit_depth_rays",
]

DISTORTION_MODELS = ("plumb_bob", "rational_polynomial", "equidistant")
MIN_POINTS = 10  # valid depths needed for a position
_RIM_PX = 3
# Of the inside of a mask. A mask reaches over the outline by a few pixels: on the packaged images
# up to 1.1 % of its inside is background. A sensor that measures one pixel in 20 has 5 %.
_MIN_INSIDE_SHARE = 0.02
_MIN_THIN_SHARE = 0.1  # of a mask that is all rim, where background cannot be told from the target
_RIM_EXCESS = 2.0  # a rim with this many times the inside's share of depths has its surroundings'
_GAP_M, _GAP_SHARE = 0.010, 0.005  # width of a depth gap: the first plus this share of the depth
_FEW_SHARE = 0.004  # of the depths: up to this share within its width is still a gap
_JUMP_M, _JUMP_SHARE = 0.02, 0.02  # depth jump between neighbours, likewise
_MIN_STEADY_SHARE = 0.3  # of the valid depths; in a thin target all are beside a jump
# OpenCV stops after 5 iterations by default: 12 mm off at 1 m in the corner of a Kinect's lens.
_UNDISTORT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-4)  # iterations, px


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """Intrinsic parameters of a camera, as in sensor_msgs/CameraInfo."""

    K: NDArray[np.float64]  # (3, 3) px
    D: NDArray[np.float64]  # distortion coefficients, empty or all zero if undistorted
    distortion_model: str = "plumb_bob"  # one of DISTORTION_MODELS


@dataclass(frozen=True, kw_only=True)
class Position:
    """Position of a target, in the optical frame unless transformed."""

    mean: NDArray[np.float64]  # (3,) m, mean of the points
    covariance: NDArray[np.float64]  # (3, 3) m^2, of the points
    surface_point: NDArray[np.float64]  # (3,) m, the point nearest to inside_uv
    box_center: NDArray[np.float64]  # (3,) m, of the box around the points
    box_axes: NDArray[np.float64]  # (3, 3) rotation, its columns are the box's axes
    box_size: NDArray[np.float64]  # (3,) m, along these axes
    valid_depth_ratio: float  # share of the mask's pixels with a valid depth
    points: NDArray[np.float32]  # (N, 3) m, on the visible surface
    points_uv: NDArray[np.int64]  # (N, 2) px, their pixels


def locate(
    mask: NDArray[np.bool_],
    depth_m: NDArray[np.float32],
    intrinsics: Intrinsics,
    inside_uv: tuple[int, int],
) -> Position | None:
    """Locate the visible surface of one target.

    Three kinds of depth are ignored: those of :func:`select_own_depth`; at the mask's rim those
    beside a depth jump, where a camera mixes foreground and background; and those separated from
    most others by a depth gap, because a mask includes some of the background. A target without a
    gap counts at its full depth.

    Args:
        mask: (H, W).
        depth_m: (H, W) metres along z, NaN where invalid, aligned with the mask.
        intrinsics: of the image that the mask belongs to.
        inside_uv: pixel of the mask at which to take the surface point.

    Returns:
        None if too few depths are valid; :func:`explain_no_position` says why.

    Raises:
        ValueError: if mask and depth differ in size, or the distortion model is unknown.
    """
    if explain_no_position(mask, depth_m):
        return None
    depth_m = select_own_depth(mask, depth_m)
    box = box_xyxy(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    v, u = np.nonzero(mask[y0:y1, x0:x1])  # faster than over the whole image
    u, v = u + x0, v + y0
    z = depth_m[v, u].astype(np.float64)
    valid = np.isfinite(z) & (z > 0)
    ratio = float(valid.mean())
    rim = mask[y0:y1, x0:x1] & ~_erode(mask[y0:y1, x0:x1])
    steady = valid & ~(rim & _find_jumps(depth_m, box))[v - y0, u - x0]
    if int(steady.sum()) >= max(MIN_POINTS, _MIN_STEADY_SHARE * int(valid.sum())):
        valid = steady
    u, v, z = u[valid], v[valid], z[valid]
    kept = _select_without_gaps(z)
    u, v, z = u[kept], v[kept], z[kept]
    points = unit_depth_rays(u, v, intrinsics) * z  # (3, N)
    nearest = int(np.argmin((u - inside_uv[0]) ** 2 + (v - inside_uv[1]) ** 2))
    center, axes, size = _fit_box(points)
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


def select_own_depth(mask: NDArray[np.bool_], depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Drop the depths at a mask's rim where they are those of its surroundings.

    A camera sees nothing of a target that is transparent, black or too near, but all around it.
    Then the rim, where the mask reaches over the outline, has many times the inside's depths.

    Args:
        mask: (H, W).
        depth_m: (H, W) metres along z, NaN where invalid, aligned with the mask.

    Returns:
        The depth as it is, or a copy with NaN at the rim.

    Raises:
        ValueError: if mask and depth differ in size.
    """
    rim, of_rim, of_inside = _measure_depths(mask, depth_m)
    if of_inside is None or of_rim <= _RIM_EXCESS * of_inside:
        return depth_m
    own = depth_m.copy()
    own[rim] = np.nan
    return own


def explain_no_position(mask: NDArray[np.bool_], depth_m: NDArray[np.float32]) -> str:
    """Say why a target has too few depths for a position; "" if it has enough.

    Args:
        mask: (H, W).
        depth_m: (H, W) metres along z, NaN where invalid, aligned with the mask.

    Raises:
        ValueError: if mask and depth differ in size.
    """
    _, _, of_inside = _measure_depths(mask, depth_m)
    n_valid = int(_is_valid(depth_m[mask]).sum())
    share = n_valid / max(1, int(mask.sum()))
    reason = f"{100 * share:.0f} % of the mask has depth"
    if n_valid < MIN_POINTS:
        return f"{reason}: {n_valid} px, at least {MIN_POINTS} are needed"
    if of_inside is None and share < _MIN_THIN_SHARE:
        return f"{reason}, at least {100 * _MIN_THIN_SHARE:.0f} % is needed of a thin one"
    if of_inside is not None and of_inside < _MIN_INSIDE_SHARE:
        return (
            f"{reason}, inside its rim {100 * of_inside:.1f} %, at least "
            f"{100 * _MIN_INSIDE_SHARE:.0f} % is needed there"
        )
    n_own = int(_is_valid(select_own_depth(mask, depth_m)[mask]).sum())
    if n_own < MIN_POINTS:
        return f"{reason}, inside its rim {n_own} px, at least {MIN_POINTS} are needed there"
    return ""


def _measure_depths(
    mask: NDArray[np.bool_], depth_m: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], float, float | None]:
    """Measure where a mask has depths.

    Returns:
        Its rim (H, W), and the shares of rim and inside with a valid depth; None for the inside of
        a mask that is nearly all rim.
    """
    if mask.shape != depth_m.shape:
        raise ValueError(f"depth image is {depth_m.shape}, the mask {mask.shape}")
    rim = np.zeros_like(mask)
    box = box_xyxy(mask)
    if box is None:
        return rim, 0.0, None
    part = np.s_[box[1] : box[3], box[0] : box[2]]
    inside = _erode(mask[part])
    rim[part] = mask[part] & ~inside
    valid = _is_valid(depth_m[part])
    of_rim = float(valid[rim[part]].mean()) if rim.any() else 0.0
    if int(inside.sum()) < _MIN_STEADY_SHARE * int(mask.sum()):
        return rim, of_rim, None
    return rim, of_rim, float(valid[inside].mean())


def _is_valid(depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(depth_m) & (depth_m > 0))


def transform_position(position: Position, matrix: NDArray[np.float64]) -> Position:
    """Transform a position into another frame.

    Args:
        position: in the source frame.
        matrix: (4, 4) rigid transform from the source frame into the target frame.

    Returns:
        The position in the target frame. The box is the same, with its axes in the order of the
        axes of the target frame.
    """
    rotation, origin = matrix[:3, :3], matrix[:3, 3]
    axes, order = _align_axes(rotation @ position.box_axes)
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


def _find_jumps(depth_m: NDArray[np.float32], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Mark the pixels of a box (x0, y0, x1, y1) with a depth jump to one of eight neighbours."""
    x0, y0, x1, y1 = box
    top, left = max(0, y0 - 1), max(0, x0 - 1)
    z = depth_m[top : y1 + 1, left : x1 + 1]
    known = np.isfinite(z) & (z > 0)
    size = np.ones((3, 3), np.uint8)
    # Invalid neighbours are ignored.
    far = cv2.dilate(np.where(known, z, np.float32(0)), size)
    near = cv2.erode(np.where(known, z, np.float32(1e6)), size)
    jump = known & (far - near > _JUMP_M + _JUMP_SHARE * np.where(known, z, np.float32(0)))
    return np.asarray(jump[y0 - top : y1 - top, x0 - left : x1 - left])


def _fit_box(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit an oriented box to points (3, N): its centre, axes and size.

    One axis is the direction of least variance, because a camera sees a surface; the other two are
    those of the minimum-area rectangle perpendicular to it. Axes are ordered by the nearest axis of
    the optical frame, so that a box does not flip from one image to the next.
    """
    mean = points.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.cov(points))
    across = vectors[:, 1:].T @ (points - mean)  # (2, N)
    # In millimetres, and of the hull: minAreaRect computes in single precision.
    hull = cv2.convexHull((1000 * across.T).astype(np.float32))
    angle = np.deg2rad(cv2.minAreaRect(hull)[2])
    first = vectors[:, 1:] @ np.array([np.cos(angle), np.sin(angle)])
    axes, _ = _align_axes(np.stack([first, np.cross(vectors[:, 0], first), vectors[:, 0]], axis=1))
    along = axes.T @ points
    low, high = along.min(axis=1), along.max(axis=1)
    return axes @ ((low + high) / 2), axes, high - low


def _align_axes(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[int]]:
    """Order box edges by the coordinate axis that they are nearest to.

    Args:
        edges: (3, 3), orthonormal columns in any order and with any sign.

    Returns:
        A rotation (3, 3) whose columns are the edges for x, y and z, and their indices in
        ``edges``.
    """
    alignment = np.abs(edges)  # of axis (row) and edge (column)
    axes, order = np.zeros((3, 3)), [0, 0, 0]
    for _ in range(3):
        axis, edge = np.unravel_index(int(np.argmax(alignment)), alignment.shape)
        alignment[axis, :] = alignment[:, edge] = -1
        order[axis] = int(edge)
        axes[:, axis] = edges[:, edge] * (1 if edges[axis, edge] >= 0 else -1)
    if np.linalg.det(axes) < 0:
        axes[:, 2] *= -1
    return axes, order


def _erode(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    size = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
    padded = np.pad(mask.astype(np.uint8), _RIM_PX)
    return np.asarray(cv2.erode(padded, size)[_RIM_PX:-_RIM_PX, _RIM_PX:-_RIM_PX] > 0)


def _select_without_gaps(z: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Select the depths around the median, up to the first gap on either side."""
    median = float(np.median(z))
    step = _GAP_M + _GAP_SHARE * median
    bins = np.floor((z - median) / step + 0.5).astype(np.int64)
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
    """Back-project pixels (u, v) to points (3, N) at z = 1.

    Raises:
        ValueError: if the distortion model is unknown.
    """
    K, D = intrinsics.K, intrinsics.D
    if not np.any(D):
        return np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(len(u))])
    pixels = np.stack([u, v], axis=-1).astype(np.float64)[:, None]
    if intrinsics.distortion_model in ("plumb_bob", "rational_polynomial"):
        x, y = cv2.undistortPoints(pixels, K, D, criteria=_UNDISTORT)[:, 0].T
    elif intrinsics.distortion_model == "equidistant":
        x, y = cv2.fisheye.undistortPoints(pixels, K, D[:4])[:, 0].T
    else:
        raise ValueError(
            f"unknown distortion model {intrinsics.distortion_model!r}; accepted: "
            f"{', '.join(DISTORTION_MODELS)}"
        )
    return np.stack([x, y, np.ones(len(u))])


def image_depth_rays(
    u: NDArray[np.int64], v: NDArray[np.int64], intrinsics: Intrinsics, size_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Back-project many pixels (u, v) of every image of a camera to points (3, N) at z = 1.

    The same as :func:`unit_depth_rays`, but the rays of a distorted camera are computed once.

    Args:
        u: (N,).
        v: (N,).
        intrinsics: of the camera.
        size_hw: size (H, W) of its images, px.

    Raises:
        ValueError: if the distortion model is unknown.
    """
    K, D = intrinsics.K, intrinsics.D
    if not np.any(D):
        return unit_depth_rays(u, v, intrinsics)
    rays = _compute_image_rays(K.tobytes(), D.tobytes(), intrinsics.distortion_model, size_hw)
    x, y = rays[:, v, u].astype(np.float64)
    return np.stack([x, y, np.ones(len(u))])


@lru_cache(maxsize=4)
def _compute_image_rays(
    K: bytes, D: bytes, distortion_model: str, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Compute x and y (2, H, W) of all rays of a distorted camera, at z = 1."""
    camera = Intrinsics(
        K=np.frombuffer(K).reshape(3, 3), D=np.frombuffer(D), distortion_model=distortion_model
    )
    v, u = np.mgrid[: size_hw[0], : size_hw[1]]
    rays = unit_depth_rays(u.ravel(), v.ravel(), camera)
    return rays[:2].reshape(2, *size_hw).astype(np.float32)
