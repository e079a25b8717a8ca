# SPDX-License-Identifier: Apache-2.0
"""Register a depth image to a colour image: same size, same pixels, depth along its axis.

Depth is measured along the optical axis (REP 118), frames are optical frames (REP 103).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.geometry.localization import DISTORTION_MODELS, Intrinsics, image_depth_rays

__all__ = ["register_depth"]

_PATCH = np.ones((3, 3), np.uint8)
_FARTHEST_M = 1e6
_MAX_OFF_PX = 3.0  # of a point and its pixel's ray; at the centre of a pixel's side 0.5


def register_depth(
    depth_m: NDArray[np.float32],
    depth_camera: Intrinsics,
    color_camera: Intrinsics,
    color_size_hw: tuple[int, int],
    color_from_depth: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Compute a depth for every pixel of the colour image.

    Args:
        depth_m: (H', W') metres, NaN where invalid.
        depth_camera: intrinsics of the depth image.
        color_camera: intrinsics of the colour image.
        color_size_hw: size (H, W) of the colour image, px.
        color_from_depth: (4, 4) transform between the optical frames; None if both images have the
            same frame, so that each ray is looked up directly in the depth image.

    Returns:
        (H, W) float32 metres along the colour camera's axis, NaN where unknown.

    Raises:
        ValueError: if a distortion model is unknown.
    """
    if color_from_depth is None:
        return _look_up(depth_m, depth_camera, color_camera, color_size_hw)
    return _reproject(depth_m, depth_camera, color_camera, color_size_hw, color_from_depth)


def scale_intrinsics(
    camera: Intrinsics, size_hw: tuple[int, int], to_hw: tuple[int, int]
) -> Intrinsics:
    """Scale intrinsics to another image size; pixel centres lie at integers."""
    K = camera.K.copy()
    for row, (new, old) in enumerate(zip(to_hw[::-1], size_hw[::-1], strict=True)):
        factor = new / old
        K[row, row] *= factor
        K[row, 2] = (K[row, 2] + 0.5) * factor - 0.5
    return Intrinsics(K=K, D=camera.D, distortion_model=camera.distortion_model)


def _look_up(
    depth_m: NDArray[np.float32],
    depth_camera: Intrinsics,
    color_camera: Intrinsics,
    size_hw: tuple[int, int],
) -> NDArray[np.float32]:
    v, u = np.mgrid[: size_hw[0], : size_hw[1]]
    rays = image_depth_rays(u.ravel(), v.ravel(), color_camera, size_hw)
    depth_hw = (depth_m.shape[0], depth_m.shape[1])
    uv, inside = _project_into(rays, depth_camera, depth_hw)
    uv = np.where(inside[:, None], uv, -2).reshape(*size_hw, 2).astype(np.float32)
    depth = cv2.remap(
        depth_m,
        uv[..., 0],
        uv[..., 1],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )
    return np.asarray(depth, dtype=np.float32)


def _reproject(
    depth_m: NDArray[np.float32],
    depth_camera: Intrinsics,
    color_camera: Intrinsics,
    size_hw: tuple[int, int],
    color_from_depth: NDArray[np.float64],
) -> NDArray[np.float32]:
    height, width = size_hw
    v, u = np.nonzero(np.isfinite(depth_m) & (depth_m > 0))
    depth_hw = (depth_m.shape[0], depth_m.shape[1])
    points = image_depth_rays(u, v, depth_camera, depth_hw) * depth_m[v, u]
    points = color_from_depth[:3, :3] @ points + color_from_depth[:3, 3:]
    points = points[:, points[2] > 0]
    uv, inside = _project_into(points, color_camera, size_hw)
    uv, z = uv[inside], points[2, inside].astype(np.float32)
    nearest = np.full(height * width, np.inf, np.float32)
    np.minimum.at(
        nearest, uv[:, 1] * width + uv[:, 0], z
    )  # the nearest surface occludes the others
    depth = nearest.reshape(height, width)
    # Where the colour image is finer, points leave gaps: fill them with the nearest neighbour.
    closed = cv2.erode(depth, _PATCH)
    depth = np.where(np.isinf(depth), closed, depth)
    # OpenCV pads the image's border with the largest finite number.
    depth[depth > _FARTHEST_M] = np.nan
    return depth


def _project_into(
    points: NDArray[np.float64], camera: Intrinsics, size_hw: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Project points (3, N) in front of the camera to the pixels of an image.

    Beyond the field of view a lens's polynomial turns back, and would put what the camera does not
    see into its image: a point is inside only if it lies on the ray of its pixel.

    Returns:
        The nearest pixels (N, 2), and which of them (N,) are inside the image.
    """
    # Numbers that no pixel has must not overflow.
    uv = np.nan_to_num(np.clip(_project(points, camera), -2.0, 1e6), nan=-2.0)
    pixels = np.round(uv).astype(np.int64)
    inside: NDArray[np.bool_] = np.all((pixels >= 0) & (pixels < size_hw[::-1]), axis=1)
    if np.any(camera.D):
        u, v = pixels[inside].T
        rays = image_depth_rays(u, v, camera, size_hw)
        off = points[:2, inside] / points[2, inside] - rays[:2]
        inside[inside] = np.hypot(camera.K[0, 0] * off[0], camera.K[1, 1] * off[1]) < _MAX_OFF_PX
    return pixels, inside


def _project(points: NDArray[np.float64], camera: Intrinsics) -> NDArray[np.float64]:
    """Project points (3, N) in front of the camera to pixels (N, 2)."""
    K, D = camera.K, camera.D
    if not len(points.T):
        return np.zeros((0, 2))
    if not np.any(D):
        x, y = points[:2] / points[2]
        return np.stack([K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]], axis=-1)
    zeros = np.zeros(3)
    rows = np.ascontiguousarray(points.T)[:, None]
    if camera.distortion_model == "equidistant":
        pixels = cv2.fisheye.projectPoints(rows, zeros, zeros, K, D[:4])[0]
    elif camera.distortion_model in ("plumb_bob", "rational_polynomial"):
        pixels = cv2.projectPoints(rows, zeros, zeros, K, D)[0]
    else:
        raise ValueError(
            f"unknown distortion model {camera.distortion_model!r}; accepted: "
            f"{', '.join(DISTORTION_MODELS)}"
        )
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
