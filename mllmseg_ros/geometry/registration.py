# SPDX-License-Identifier: Apache-2.0
"""Bring a depth image into the colour image: same size, same pixels, depth along the colour's axis.

Depth is measured along the optical axis (REP 118), frames are optical ones (REP 103).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.geometry.localization import Intrinsics, unit_depth_rays

__all__ = ["register_depth"]

_PATCH = np.ones((3, 3), np.uint8)
_FARTHEST_M = 1e6


def register_depth(
    depth_m: NDArray[np.float32],
    depth_camera: Intrinsics,
    color_camera: Intrinsics,
    color_size_hw: tuple[int, int],
    color_from_depth: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Look a depth up for every pixel of the colour image.

    Args:
        depth_m: (H', W') metres, NaN where invalid.
        depth_camera: how it projects.
        color_camera: how the colour image projects.
        color_size_hw: size (H, W) of the colour image, px.
        color_from_depth: (4, 4) of the two optical frames; None where they are one, so that every
            pixel sees the same ray and is looked up at its place in the other image.

    Returns:
        (H, W) float32 metres along the colour camera's axis, NaN where there is none.

    Raises:
        ValueError: if a distortion model is unknown.
    """
    if color_from_depth is None:
        return _looked_up(depth_m, depth_camera, color_camera, color_size_hw)
    return _reprojected(depth_m, depth_camera, color_camera, color_size_hw, color_from_depth)


def scaled(camera: Intrinsics, size_hw: tuple[int, int], to_hw: tuple[int, int]) -> Intrinsics:
    """The same camera with its image at another size; pixel centres lie at integers."""
    K = camera.K.copy()
    for row, (ours, theirs) in enumerate(zip(to_hw[::-1], size_hw[::-1], strict=True)):
        factor = ours / theirs
        K[row, row] *= factor
        K[row, 2] = (K[row, 2] + 0.5) * factor - 0.5
    return Intrinsics(K=K, D=camera.D, distortion_model=camera.distortion_model)


def _looked_up(
    depth_m: NDArray[np.float32],
    depth_camera: Intrinsics,
    color_camera: Intrinsics,
    size_hw: tuple[int, int],
) -> NDArray[np.float32]:
    v, u = np.mgrid[: size_hw[0], : size_hw[1]]
    rays = unit_depth_rays(u.ravel(), v.ravel(), color_camera)
    at = _projected(rays, depth_camera).reshape(*size_hw, 2).astype(np.float32)
    depth = cv2.remap(
        depth_m,
        at[..., 0],
        at[..., 1],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )
    return np.asarray(depth, dtype=np.float32)


def _reprojected(
    depth_m: NDArray[np.float32],
    depth_camera: Intrinsics,
    color_camera: Intrinsics,
    size_hw: tuple[int, int],
    color_from_depth: NDArray[np.float64],
) -> NDArray[np.float32]:
    height, width = size_hw
    v, u = np.nonzero(np.isfinite(depth_m) & (depth_m > 0))
    points = unit_depth_rays(u, v, depth_camera) * depth_m[v, u]
    points = color_from_depth[:3, :3] @ points + color_from_depth[:3, 3:]
    points = points[:, points[2] > 0]
    at = np.round(_projected(points, color_camera)).astype(np.int64)
    inside = ((at >= 0) & (at < (width, height))).all(axis=1)
    at, z = at[inside], points[2, inside].astype(np.float32)
    nearest = np.full(height * width, np.inf, np.float32)
    np.minimum.at(nearest, at[:, 1] * width + at[:, 0], z)  # what is in front hides what is behind
    depth = nearest.reshape(height, width)
    # Where the colour image is finer, points leave gaps: each takes the nearest of its neighbours.
    closed = cv2.erode(depth, _PATCH)
    depth = np.where(np.isinf(depth), closed, depth)
    # Beyond its rim OpenCV takes the largest finite number for what is not there.
    depth[depth > _FARTHEST_M] = np.nan
    return depth


def _projected(points: NDArray[np.float64], camera: Intrinsics) -> NDArray[np.float64]:
    """Pixels (N, 2) of points (3, N) before the camera."""
    K, D = camera.K, camera.D
    if not len(points.T):
        return np.zeros((0, 2))
    if not np.any(D):
        x, y = points[:2] / points[2]
        return np.stack([K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]], axis=-1)
    still = np.zeros(3)
    rows = np.ascontiguousarray(points.T)[:, None]
    if camera.distortion_model == "equidistant":
        pixels = cv2.fisheye.projectPoints(rows, still, still, K, D[:4])[0]
    elif camera.distortion_model in ("plumb_bob", "rational_polynomial"):
        pixels = cv2.projectPoints(rows, still, still, K, D)[0]
    else:
        raise ValueError(
            f"unknown distortion model {camera.distortion_model!r}; accepted: plumb_bob, "
            "rational_polynomial, equidistant"
        )
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
