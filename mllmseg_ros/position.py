# SPDX-License-Identifier: Apache-2.0
"""Where a mask lies in space, from an aligned depth image. NumPy and OpenCV only.

The frame is the camera's optical frame of REP 103: x right, y down, z forward, metres; depth is
measured along z (REP 118). Knows nothing of messages. Entry point: :func:`locate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.masks import box_xyxy

MIN_POINTS = 10  # fewer valid depths than this are no position
_MAD_TO_SIGMA = 1.4826  # standard deviation of a normal distribution over its MAD
_OUTLIER_SIGMAS = 3.0
_MIN_SPREAD_M = 0.005  # a flat target has MAD 0; sensor noise must not empty it


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """How a camera projects, as in sensor_msgs/CameraInfo."""

    K: NDArray[np.float64]  # (3, 3) px
    D: NDArray[np.float64]  # distortion coefficients, none or all zero where undistorted
    distortion_model: str = "plumb_bob"  # plumb_bob, rational_polynomial or equidistant


@dataclass(frozen=True, kw_only=True)
class Position:
    """A target in the camera's optical frame."""

    mean: NDArray[np.float64]  # (3,) m, mean of the points kept
    covariance: NDArray[np.float64]  # (3, 3) m^2, spread of the points kept
    surface_point: NDArray[np.float64]  # (3,) m, the point kept that is nearest to inside_uv
    box_center: NDArray[np.float64]  # (3,) m, of the box around the points kept, along the axes
    box_size: NDArray[np.float64]  # (3,) m
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

    Depths farther than three robust standard deviations (median and MAD) from the median do not
    count: at a target's edge the mask takes in some of what is behind it.

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
    u, v, z = u[valid], v[valid], z[valid]
    kept = _inliers(z)
    u, v, z = u[kept], v[kept], z[kept]
    points = _unit_depth_rays(u, v, intrinsics) * z  # (3, N)
    nearest = int(np.argmin((u - inside_uv[0]) ** 2 + (v - inside_uv[1]) ** 2))
    low, high = points.min(axis=1), points.max(axis=1)
    return Position(
        mean=points.mean(axis=1),
        covariance=np.cov(points),
        surface_point=points[:, nearest],
        box_center=(low + high) / 2,
        box_size=high - low,
        valid_depth_ratio=ratio,
        points=points.T.astype(np.float32),
        points_uv=np.stack([u, v], axis=-1),
    )


def _inliers(z: NDArray[np.float64]) -> NDArray[np.bool_]:
    distance = np.abs(z - np.median(z))
    spread = max(_MAD_TO_SIGMA * float(np.median(distance)), _MIN_SPREAD_M)
    return distance <= _OUTLIER_SIGMAS * spread


def _unit_depth_rays(
    u: NDArray[np.int64], v: NDArray[np.int64], intrinsics: Intrinsics
) -> NDArray[np.float64]:
    """Points (3, N) at z = 1 that the pixels see."""
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
