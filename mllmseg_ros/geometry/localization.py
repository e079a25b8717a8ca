# SPDX-License-Identifier: Apache-2.0
"""Locate a mask in space with an aligned depth image. NumPy and OpenCV only.

Positions are in the camera's optical frame of REP 103 (x right, y down, z forward, metres) and can
be transformed into another frame; depth is measured along z (REP 118). Knows nothing of messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.masks import Box, box_xyxy

__all__ = [
    "DISTORTION_MODELS",
    "Intrinsics",
    "MaskDepth",
    "Surface",
    "align_axes",
    "cut_out_depth",
    "explain_no_position",
    "image_depth_rays",
    "locate",
    "select_own_depth",
    "stand_box_upright",
    "transform_position",
    "unit_depth_rays",
]

DISTORTION_MODELS = ("plumb_bob", "rational_polynomial", "equidistant")
MIN_POINTS = 10  # valid depths needed for a position
_MAX_POINTS = 3000  # of a target that its position is computed from: more do not change it
_RIM_PX = 3
# Points along an axis: this share at either end reaches out by this share of the rest at most.
_RIM_SHARE, _RIM_MARGIN = 0.01, 0.1
_MAX_RANKED = 500  # points that are put in order
# Of the inside of a mask. A mask reaches over the outline by a few pixels: on the packaged images
# up to 1.1 % of its inside is background. A sensor that measures one pixel in 20 has 5 %.
_MIN_INSIDE_SHARE = 0.02
_MIN_THIN_SHARE = 0.1  # of a mask that is all rim, where background cannot be told from the target
_RIM_EXCESS = 2.0  # a rim with this many times the inside's share of depths has its surroundings'
_GAP_M, _GAP_SHARE = 0.010, 0.005  # width of a depth gap: the first plus this share of the depth
_MAX_BINS = 10_000  # of that width, on either side of the median
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
class Surface:
    """The visible surface of a target, cut out of a depth image."""

    mask: NDArray[np.bool_]  # (h, w) has a point
    depth_m: NDArray[np.float32]  # (h, w) along z
    origin_uv: tuple[int, int]  # px, the cut-out's first pixel in the image
    intrinsics: Intrinsics  # of the whole image
    from_camera: NDArray[np.float64] = field(  # (4, 4) from the optical frame to the points' frame
        default_factory=lambda: np.eye(4)
    )

    @cached_property
    def points_uv(self) -> NDArray[np.int64]:
        """Pixels (N, 2) of the image with a point."""
        v, u = np.nonzero(self.mask)
        return np.stack([u, v], axis=-1) + self.origin_uv

    @cached_property
    def points(self) -> NDArray[np.float32]:
        """Points (N, 3), m."""
        u, v = self.points_uv.T
        z = self.depth_m[self.mask].astype(np.float64)
        points = unit_depth_rays(u, v, self.intrinsics) * z
        rotation, origin = self.from_camera[:3, :3], self.from_camera[:3, 3:]
        return (rotation @ points + origin).T.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Position:
    """Position of a target, in the optical frame unless transformed."""

    mean: NDArray[np.float64]  # (3,) m, mean of 3000 points at most, evenly chosen
    covariance: NDArray[np.float64]  # (3, 3) m^2, of the same points
    surface_point: NDArray[np.float64]  # (3,) m, the point nearest to inside_uv
    box_center: NDArray[np.float64]  # (3,) m, of the box around the points
    box_axes: NDArray[np.float64]  # (3, 3) rotation; columns: edges nearest to x, y, z of the frame
    box_size: NDArray[np.float64]  # (3,) m, along these axes
    valid_depth_ratio: float  # share of the mask's pixels with a valid depth
    surface: Surface | None = None  # all that is visible; None if only the position was kept

    @property
    def points(self) -> NDArray[np.float32]:
        """All points (N, 3) on the visible surface, m; computed when they are first read."""
        return np.zeros((0, 3), np.float32) if self.surface is None else self.surface.points

    @property
    def points_uv(self) -> NDArray[np.int64]:
        """Their pixels (N, 2)."""
        return np.zeros((0, 2), np.int64) if self.surface is None else self.surface.points_uv


@dataclass(frozen=True, kw_only=True)
class MaskDepth:
    """A mask and the depths around it, cut out of the image with a margin of one pixel."""

    mask: NDArray[np.bool_]  # (h, w)
    depth_m: NDArray[np.float32]  # (h, w) metres along z
    valid: NDArray[np.bool_]  # (h, w) is a depth, in the mask or around it
    own: NDArray[np.bool_]  # (h, w) is a depth of the target, not of its surroundings
    rim: NDArray[np.bool_]  # (h, w) of the mask
    box: Box  # px of the image, of the cut-out
    n_px: int  # of the mask
    inside_share: float | None  # of the mask's inside that is valid; None if it is nearly all rim

    @property
    def own_depth_m(self) -> NDArray[np.float32]:
        """Depths (h, w) with NaN at the rim where those are of the target's surroundings."""
        dropped = self.mask & self.valid & ~self.own
        if not dropped.any():
            return self.depth_m
        return np.where(dropped, np.float32(np.nan), self.depth_m)


def locate(
    mask: NDArray[np.bool_],
    depth_m: NDArray[np.float32],
    intrinsics: Intrinsics,
    inside_uv: tuple[int, int],
    box: Box | None = None,
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
        box: contains all pixels of the mask, if one is known: saves time.

    Returns:
        None if too few depths are valid; :func:`explain_no_position` says why.

    Raises:
        ValueError: if mask and depth differ in size, or the distortion model is unknown.
    """
    part = cut_out_depth(mask, depth_m, box)
    if part is None or _explain(part):
        return None
    left, top = part.box[:2]
    n_own = int(np.count_nonzero(part.own))
    used = part.own.copy()
    used[part.rim] &= ~_find_jumps(part)
    if int(np.count_nonzero(used)) < max(MIN_POINTS, _MIN_STEADY_SHARE * n_own):
        used = part.own.copy()
    v, u = _choose_pixels(used, (inside_uv[0] - left, inside_uv[1] - top))
    z = part.depth_m[v, u].astype(np.float64)
    median = float(np.partition(z, len(z) // 2)[len(z) // 2])
    low, high = _find_gaps(part.depth_m[used], median)
    kept = (z >= low) & (z < high)
    u, v, z = u[kept] + left, v[kept] + top, z[kept]
    points = unit_depth_rays(u, v, intrinsics) * z  # (3, N)
    nearest = int(np.argmin((u - inside_uv[0]) ** 2 + (v - inside_uv[1]) ** 2))
    mean = points.mean(axis=1)
    offsets = points - mean[:, None]
    covariance = offsets @ offsets.T / (len(z) - 1)
    # Along the direction of least variance, because a camera sees a surface.
    center, axes, size = _fit_box(offsets, np.roll(np.linalg.eigh(covariance)[1], -1, axis=1))
    used &= (part.depth_m >= low) & (part.depth_m < high)
    return Position(
        mean=mean,
        covariance=covariance,
        surface_point=points[:, nearest],
        box_center=mean + center,
        box_axes=axes,
        box_size=size,
        valid_depth_ratio=n_own / part.n_px,
        surface=Surface(
            mask=used, depth_m=part.depth_m, origin_uv=(left, top), intrinsics=intrinsics
        ),
    )


def _choose_pixels(
    used: NDArray[np.bool_], inside_uv: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose pixels (v, u) evenly, and the one at which to take the surface point."""
    indices = np.flatnonzero(used)
    step = -(-len(indices) // _MAX_POINTS)
    if step > 1:
        # From the middle of each step: where it divides the width, a column is all that is chosen.
        indices = indices[step // 2 :: step]
        at = inside_uv[1] * used.shape[1] + inside_uv[0]
        if 0 <= at < used.size and used.flat[at]:
            indices = np.append(indices, at)
    v, u = np.divmod(indices, used.shape[1])
    return v, u


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
    part = cut_out_depth(mask, depth_m)
    if part is None or part.own_depth_m is part.depth_m:
        return depth_m
    x0, y0, x1, y1 = part.box
    own = depth_m.copy()
    own[y0:y1, x0:x1] = part.own_depth_m
    return own


def explain_no_position(mask: NDArray[np.bool_], depth_m: NDArray[np.float32]) -> str:
    """Say why a target has too few depths for a position; "" if it has enough.

    Args:
        mask: (H, W).
        depth_m: (H, W) metres along z, NaN where invalid, aligned with the mask.

    Raises:
        ValueError: if mask and depth differ in size.
    """
    part = cut_out_depth(mask, depth_m)
    if part is None:
        return f"0 % of the mask has depth: 0 px, at least {MIN_POINTS} are needed"
    return _explain(part)


def _explain(part: MaskDepth) -> str:
    """Say why a cut-out has too few depths for a position; "" if it has enough."""
    n_valid = int(np.count_nonzero(part.valid & part.mask))
    share = n_valid / part.n_px
    reason = f"{100 * share:.0f} % of the mask has depth"
    if n_valid < MIN_POINTS:
        return f"{reason}: {n_valid} px, at least {MIN_POINTS} are needed"
    if part.inside_share is None and share < _MIN_THIN_SHARE:
        return f"{reason}, at least {100 * _MIN_THIN_SHARE:.0f} % is needed of a thin one"
    if part.inside_share is not None and part.inside_share < _MIN_INSIDE_SHARE:
        return (
            f"{reason}, inside its rim {100 * part.inside_share:.1f} %, at least "
            f"{100 * _MIN_INSIDE_SHARE:.0f} % is needed there"
        )
    n_own = int(np.count_nonzero(part.own))
    if n_own < MIN_POINTS:
        return f"{reason}, inside its rim {n_own} px, at least {MIN_POINTS} are needed there"
    return ""


def cut_out_depth(
    mask: NDArray[np.bool_], depth_m: NDArray[np.float32], box: Box | None = None
) -> MaskDepth | None:
    """Cut a mask and the depths around it out of the image; None for an empty mask.

    Args:
        mask: (H, W).
        depth_m: (H, W) metres along z, NaN where invalid, aligned with the mask.
        box: contains all pixels of the mask, if one is known.

    Raises:
        ValueError: if mask and depth differ in size.
    """
    if mask.shape != depth_m.shape:
        raise ValueError(f"depth image is {depth_m.shape}, the mask {mask.shape}")
    box = box_xyxy(mask, box)
    if box is None:
        return None
    height, width = mask.shape
    box = max(0, box[0] - 1), max(0, box[1] - 1), min(width, box[2] + 1), min(height, box[3] + 1)
    region = np.s_[box[1] : box[3], box[0] : box[2]]
    mask, depth_m = np.ascontiguousarray(mask[region]), depth_m[region]
    valid = (depth_m > 0) & (depth_m < np.inf)
    inside = _erode(mask)
    rim = mask & ~inside
    n_px, n_rim = int(np.count_nonzero(mask)), int(np.count_nonzero(rim))
    rim_share = np.count_nonzero(valid & rim) / n_rim
    inside_share, own = None, valid & mask
    if n_px - n_rim >= _MIN_STEADY_SHARE * n_px:
        inside_share = np.count_nonzero(valid & inside) / (n_px - n_rim)
        if rim_share > _RIM_EXCESS * inside_share:
            own &= inside
    return MaskDepth(
        mask=mask,
        depth_m=depth_m,
        valid=valid,
        own=own,
        rim=rim,
        box=box,
        n_px=n_px,
        inside_share=inside_share,
    )


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
    axes, order = align_axes(rotation @ position.box_axes)
    surface = position.surface
    return replace(
        position,
        mean=rotation @ position.mean + origin,
        covariance=rotation @ position.covariance @ rotation.T,
        surface_point=rotation @ position.surface_point + origin,
        box_center=rotation @ position.box_center + origin,
        box_axes=axes,
        box_size=position.box_size[order],
        surface=surface and replace(surface, from_camera=matrix @ surface.from_camera),
    )


def stand_box_upright(position: Position) -> Position:
    """Fit the box anew, so that its z axis is that of the frame of the position.

    Args:
        position: with its surface.

    Returns:
        The position with the smallest upright box: the other two axes are those of the
        minimum-area rectangle around the points as seen along z.
    """
    step = -(-len(position.points) // _MAX_POINTS)
    offsets = (position.points[step // 2 :: step] - position.mean).T.astype(np.float64)
    center, axes, size = _fit_box(offsets, np.eye(3))
    return replace(position, box_center=position.mean + center, box_axes=axes, box_size=size)


def _find_jumps(part: MaskDepth) -> NDArray[np.bool_]:
    """Tell which pixels of the rim have a depth jump to one of eight neighbours."""
    # What is invalid or not the target's is ignored as a neighbour.
    known = (part.valid & (part.own | ~part.mask)).view(np.uint8)
    size = np.ones((3, 3), np.uint8)
    far = cv2.dilate(cv2.copyTo(part.depth_m, known, np.zeros_like(part.depth_m)), size)
    near = cv2.erode(cv2.copyTo(part.depth_m, known, np.full_like(part.depth_m, 1e6)), size)
    limit = _JUMP_M + _JUMP_SHARE * part.depth_m[part.rim]
    return np.asarray(far[part.rim] - near[part.rim] > limit)


def _fit_box(
    offsets: NDArray[np.float64], basis: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit an oriented box to points (3, N) around 0.

    Args:
        offsets: the points.
        basis: (3, 3) orthonormal; its last column is an axis of the box, and the other two axes are
            those of the minimum-area rectangle perpendicular to it.

    Returns:
        Its centre, axes and size. Axes are ordered by the nearest axis of the frame, so that a box
        does not flip from one image to the next.
    """
    across = basis[:, :2].T @ offsets  # (2, N)
    # In millimetres, and of the hull: minAreaRect computes in single precision.
    hull = cv2.convexHull((1000 * across.T).astype(np.float32))
    angle = np.deg2rad(cv2.minAreaRect(hull)[2])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axes, _ = align_axes(np.column_stack([basis[:, :2] @ turn, basis[:, 2]]))
    low, high = _measure_extent(axes.T @ offsets)
    return axes @ ((low + high) / 2), axes, high - low


def _measure_extent(
    along: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure from where to where points (3, N) reach along three axes, each (3,).

    A few points of the rim, farther out than the others, do not count.
    """
    few = along[:, :: 1 + along.shape[1] // _MAX_RANKED]
    first = int(_RIM_SHARE * few.shape[1])
    last = few.shape[1] - 1 - first
    ranked = np.partition(few, (first, last), axis=1)
    inner_low, inner_high = ranked[:, first], ranked[:, last]
    margin = _RIM_MARGIN * (inner_high - inner_low)
    low, high = along.min(axis=1), along.max(axis=1)
    return np.maximum(low, inner_low - margin), np.minimum(high, inner_high + margin)


def align_axes(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[int]]:
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
    # The image's border is a border of the mask.
    eroded = cv2.erode(mask.view(np.uint8), size, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return eroded.view(np.bool_)


def _find_gaps(z: NDArray[np.float32], median: float) -> tuple[float, float]:
    """Find the first depth gap on either side of the median: the depths between, half-open.

    Of all depths: whether a few of a thousand are a gap does not show in a part of them.
    """
    step = _GAP_M + _GAP_SHARE * median
    steps = (z - np.float32(median)) * np.float32(1 / step) + np.float32(0.5)
    bins = np.floor(steps.clip(-_MAX_BINS, _MAX_BINS)).astype(np.int64)
    first = int(bins.min())
    counts = np.bincount(bins - first)
    full = counts > max(1.0, _FEW_SHARE * len(z))
    if not full[-first]:
        return -np.inf, np.inf
    low = high = -first
    while low > 0 and full[low - 1]:
        low -= 1
    while high < len(full) - 1 and full[high + 1]:
        high += 1
    return median + (low + first - 0.5) * step, median + (high + first + 0.5) * step


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
        x, y = _undistort(pixels, K, D)[:, 0].T
    elif intrinsics.distortion_model == "equidistant":
        x, y = cv2.fisheye.undistortPoints(pixels, K, D[:4])[:, 0].T
    else:
        raise ValueError(
            f"unknown distortion model {intrinsics.distortion_model!r}; accepted: "
            f"{', '.join(DISTORTION_MODELS)}"
        )
    return np.stack([x, y, np.ones(len(u))])


def _undistort(
    pixels: NDArray[np.float64], K: NDArray[np.float64], D: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Undistort pixels (N, 1, 2); OpenCV 4 has a function of its own for the criteria."""
    if hasattr(cv2, "undistortPointsIter"):
        return np.asarray(cv2.undistortPointsIter(pixels, K, D, np.eye(3), np.eye(3), _UNDISTORT))
    return np.asarray(cv2.undistortPoints(pixels, K, D, criteria=_UNDISTORT))


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
