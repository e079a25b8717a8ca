# SPDX-License-Identifier: Apache-2.0
"""Track one image region by an affine motion from its key image to the newest image.

The motion always refers to the key image, so that errors do not accumulate: optical flow predicts
it, and a robust Gauss-Newton alignment of the region's colours, including a rim around it, corrects
it. Pixels that do not fit get a low weight, so that an occluder does not drag the region along, and
are left out of the propagated mask. Images are downscaled; "px" are pixels of these unless stated
otherwise.

Source: B. D. Lucas, T. Kanade, An iterative image registration technique, IJCAI 1981; in the
inverse compositional form of S. Baker, I. Matthews, IJCV 56(3), 2004, with Geman-McClure weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.masks import Box

__all__ = ["PropagatedMask", "RegionTracker", "SmallImage", "SoftMask", "Step"]

_RIM_PX = 2  # of the surroundings, aligned too: they show where the region ends
_ITERATIONS = 5
_CONVERGED_PX = 0.03  # a smaller correction ends the iterations
_FIT_LEVELS = 25.0  # of 256: pixels with this residual get a quarter of the weight
_STIFFNESS = 0.01  # share of the template's unweighted Hessian that is always added
_MAX_COST_INCREASE = 0.02  # that an alignment may cause
_MAX_AREA_RATIO = 6.0  # to the area in the key image, and its inverse
_LOST = 0.3  # below this confidence the flow inside the region is not used
_OCCLUDED_LEVELS = 40.0  # of 256: pixels that differ more are occluded
_OCCLUDED_M, _OCCLUDED_SHARE = 0.03, 0.02  # likewise in depth, or this share of the depth
_MIN_OCCLUDER = np.ones((3, 3), np.uint8)  # smaller differences are blur at the rim

Affine = NDArray[np.float64]  # (2, 3), from px to px


@dataclass(frozen=True, kw_only=True)
class SmallImage:
    """A downscaled camera image."""

    rgb: NDArray[np.float32]  # (h, w, 3) in 0 to 255, a little blurred
    depth_m: NDArray[np.float32] | None  # (h, w) metres, NaN where invalid; None without
    size_hw: tuple[int, int]  # of the full-size image, its px

    @property
    def scale(self) -> NDArray[np.float64]:
        """Pixels of the full-size image per downscaled pixel, horizontal and vertical, (2,)."""
        height, width = self.rgb.shape[:2]
        return np.array([self.size_hw[1] / width, self.size_hw[0] / height])


@dataclass(frozen=True, kw_only=True)
class Step:
    """Optical flow from one image to the next."""

    flow: NDArray[np.float32]  # (h', w', 2) px, sampled evenly over the first image
    median: NDArray[np.float32]  # (2,) px, over the image
    gain: float  # brightness of the second image relative to the first
    image: SmallImage  # the second image


@dataclass(frozen=True, kw_only=True)
class SoftMask:
    """The part of a soft mask that is not zero, in pixels of the full-size key image."""

    patch: NDArray[np.float32]  # (h, w) in [0, 1]
    origin_uv: tuple[int, int]  # of the patch's first pixel


@dataclass(frozen=True, kw_only=True)
class PropagatedMask:
    """A soft mask in the newest image."""

    probability: NDArray[np.float32]  # (H, W) in [0, 1]
    box: Box  # px; outside of it the probability is 0
    confidence: float  # [0, 1], share of the region that looks as in the key image


class RegionTracker:
    """A region of a key image that moves.

    Attributes:
        confidence: [0, 1], share of the region that looks as in the key image.
    """

    def __init__(self, key: SmallImage, mask: SoftMask, n_points: int) -> None:
        """Set up the region on its key image.

        Args:
            key: the key image.
            mask: of the region.
            n_points: maximum number of pixels to align.
        """
        self.confidence = 1.0
        self._key, self._mask = key, mask
        self._motion: Affine = np.eye(2, 3)  # from the key image to the newest
        inside = _downscale_mask(mask, key)
        size = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
        v, u = np.nonzero(cv2.dilate(inside, size))
        step = max(1, -(-len(u) // n_points))
        v, u = v[::step], u[::step]
        self._points = np.stack([u, v], axis=-1).astype(np.float64)  # (N, 2)
        self._colors = key.rgb[v, u]  # (N, 3)
        self._gain = np.float32(1)  # brightness of the newest image relative to the key image
        self._inside = inside[v, u] > 0  # (N,) in the region itself, not in its rim
        if not self._inside.any():
            self.confidence = 0.0
            return
        self._centre = self._points.mean(axis=0)
        self._size = max(4.0, float(self._points.std()))
        x, y = ((self._points - self._centre) / self._size).astype(np.float32).T[..., None]
        along_u = cv2.Sobel(key.rgb, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)[v, u]
        along_v = cv2.Sobel(key.rgb, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)[v, u]
        # Jacobian of the colours for a shift and the four entries of a linear map, (N, 3, 6).
        self._jacobian = np.stack(
            [along_u, along_v, along_u * x, along_u * y, along_v * x, along_v * y], axis=-1
        )
        flat = self._jacobian.reshape(-1, 6)
        self._damping = _STIFFNESS * (flat.T @ flat) + 1e-3 * len(u) * np.eye(6)

    @property
    def motion(self) -> Affine:
        """Affine motion from the key image to the newest image."""
        return self._motion

    def initialize(self, motions: Sequence[Affine], gain: float, newest: SmallImage) -> None:
        """Start from the candidate motion that fits best, and align to the newest image.

        Args:
            motions: candidates, at least one, from the key image to the newest.
            gain: brightness of the newest image relative to the key image.
            newest: the newest image.
        """
        if not self._inside.any():
            return
        self._gain = np.float32(gain)
        self._motion = min(motions, key=lambda motion: self._cost(motion, newest))
        self.align(newest)
        self.align(newest)  # again: the start is less exact than after a single step

    def predict(self, step: Step) -> None:
        """Update the motion by the flow to the next image."""
        if not self._inside.any():
            return
        self._gain *= np.float32(step.gain)
        flow, newest = step.flow, step.image
        shifts = [step.median]
        if self.confidence >= _LOST:
            height, width = newest.rgb.shape[:2]
            moved = _transform_points(self._points[self._inside], self._motion)
            moved = moved * (flow.shape[1] / width, flow.shape[0] / height)
            u, v = moved.astype(int).clip(0, (flow.shape[1] - 1, flow.shape[0] - 1)).T
            shifts.append(np.median(flow[v, u], axis=0))
        predicted = [np.column_stack([self._motion[:, :2], self._motion[:, 2] + s]) for s in shifts]
        self._motion = min(predicted, key=lambda motion: self._cost(motion, newest))

    def align(self, newest: SmallImage) -> None:
        """Align the region to the newest image, and update motion and confidence."""
        if not self._inside.any():
            return
        motion = self._motion
        residual, visible = self._compute_residuals(motion, newest)
        before = self._robust_cost(residual, visible)
        for _ in range(_ITERATIONS):
            squares = (residual * residual).sum(axis=1)
            weight = (visible / (1 + squares / _FIT_LEVELS**2) ** 2).astype(np.float32)
            weighted = (self._jacobian * weight[:, None, None]).reshape(-1, 6)
            hessian = weighted.T @ self._jacobian.reshape(-1, 6) + self._damping
            d = np.linalg.solve(hessian.astype(np.float64), weighted.T @ residual.reshape(-1))
            linear = np.eye(2) + d[2:].reshape(2, 2) / self._size
            if not 0.5 < np.linalg.det(linear) < 2:
                break
            # This moves the template; the image moves by the inverse.
            inverse = np.linalg.inv(linear)
            shift = self._centre - inverse @ (self._centre + d[:2])
            motion = compose(np.column_stack([inverse, shift]), motion)
            residual, visible = self._compute_residuals(motion, newest)
            if np.abs(d[:2]).max() < _CONVERGED_PX:
                break
        plausible = 1 / _MAX_AREA_RATIO < np.linalg.det(motion[:, :2]) < _MAX_AREA_RATIO
        if plausible and self._robust_cost(residual, visible) <= before + _MAX_COST_INCREASE:
            self._motion = motion
        else:
            residual, visible = self._compute_residuals(self._motion, newest)
        visible &= self._inside
        fits = visible & (np.abs(residual).max(axis=1) < _OCCLUDED_LEVELS)
        self.confidence = float(fits.sum()) / max(1, int(visible.sum()))

    def propagate(self, newest: SmallImage) -> PropagatedMask:
        """Warp the mask into the newest image and remove what is occluded there."""
        height, width = newest.size_hw
        full_size = np.zeros((height, width), np.float32)
        patch, scale = self._mask.patch, newest.scale
        # From the patch's pixels to those of the full-size newest image; pixel centres at integers.
        linear = self._motion[:, :2] * scale[:, None] / scale
        corner = (np.array(self._mask.origin_uv) + 0.5) / scale - 0.5
        shift = scale * (self._motion[:, :2] @ corner + self._motion[:, 2] + 0.5) - 0.5
        to_newest = np.column_stack([linear, shift])
        corners = _transform_points(
            np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * patch.shape[::-1], to_newest
        )
        left, top = np.floor(corners.min(axis=0) - 1).clip(0, (width, height)).astype(int).tolist()
        right, bottom = (
            np.ceil(corners.max(axis=0) + 2).clip(0, (width, height)).astype(int).tolist()
        )
        if self.confidence and right > left and bottom > top:
            size_wh = (right - left, bottom - top)
            box = cv2.warpAffine(patch, to_newest - [[0, 0, left], [0, 0, top]], size_wh)
            full_size[top:bottom, left:right] = box * self._compute_visibility(
                newest, (left, top), size_wh
            )
        return PropagatedMask(
            probability=full_size, box=(left, top, right, bottom), confidence=self.confidence
        )

    def _compute_residuals(
        self, motion: Affine, newest: SmallImage
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Colour residual of each point, (N, 3), and whether it is inside the image, (N,)."""
        height, width = newest.rgb.shape[:2]
        moved = _transform_points(self._points, motion)
        visible = ((moved >= 0) & (moved <= (width - 1, height - 1))).all(axis=1)
        u, v = moved.astype(np.float32).T[..., None]
        sampled = cv2.remap(newest.rgb, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return sampled[:, 0] / self._gain - self._colors, np.asarray(visible)

    def _cost(self, motion: Affine, newest: SmallImage) -> float:
        """Robust cost of a motion, in [0, 1]."""
        return self._robust_cost(*self._compute_residuals(motion, newest))

    def _robust_cost(self, residual: NDArray[np.float32], visible: NDArray[np.bool_]) -> float:
        """Mean Geman-McClure cost over the region, in [0, 1]."""
        squares = (residual * residual).sum(axis=1)
        costs = np.where(visible, squares / (squares + _FIT_LEVELS**2), 1.0)
        return float(costs[self._inside].mean())

    def _compute_visibility(
        self, newest: SmallImage, origin: tuple[int, int], size_wh: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Mask out occluders in a box of the full-size image: (h, w), 0 where occluded, else 1."""
        scale = newest.scale
        x0, y0 = np.floor(np.array(origin) / scale - 1).clip(0).astype(int).tolist()
        end = np.ceil((np.array(origin) + size_wh) / scale).astype(int) + 1
        x1, y1 = np.minimum(end, newest.rgb.shape[1::-1]).tolist()
        to_crop = self._motion - [[0, 0, x0], [0, 0, y0]]
        small_wh = (x1 - x0, y1 - y0)
        expected = cv2.warpAffine(self._key.rgb, to_crop, small_wh, borderMode=cv2.BORDER_REPLICATE)
        difference = cv2.absdiff(expected, newest.rgb[y0:y1, x0:x1] / self._gain).max(axis=2)
        occluded = difference > _OCCLUDED_LEVELS
        if self._key.depth_m is not None and newest.depth_m is not None:
            measured = newest.depth_m[y0:y1, x0:x1]
            expected = cv2.warpAffine(
                self._key.depth_m, to_crop, small_wh, flags=cv2.INTER_NEAREST, borderValue=np.nan
            )
            occluded = _correct_by_depth(measured, np.asarray(expected, np.float32), occluded)
        occluder = cv2.morphologyEx(occluded.astype(np.uint8), cv2.MORPH_OPEN, _MIN_OCCLUDER)
        to_small = np.column_stack(
            [np.diag(1 / scale), (np.array(origin) + 0.5) / scale - 0.5 - (x0, y0)]
        )
        return np.asarray(
            cv2.warpAffine(
                1 - occluder.astype(np.float32),
                to_small,
                size_wh,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )


def _correct_by_depth(
    measured: NDArray[np.float32], expected: NDArray[np.float32], occluded: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Decide by depth (h, w) which pixels are occluded, where both depths are valid."""
    difference = measured - expected
    known = np.isfinite(difference)
    if not (known & ~occluded).any():
        return occluded
    # The median is the region's own motion towards or away from the camera.
    difference = np.abs(difference - np.median(difference[known & ~occluded]))
    limit = np.maximum(_OCCLUDED_M, _OCCLUDED_SHARE * np.where(known, measured, 0))
    return np.where(known, difference > limit, occluded)


def _downscale_mask(mask: SoftMask, key: SmallImage) -> NDArray[np.uint8]:
    """Return 1 on the pixels of the downscaled key image inside the mask, (h, w)."""
    height, width = key.rgb.shape[:2]
    scale = key.scale
    to_patch = np.column_stack([np.diag(scale), 0.5 * scale - 0.5 - mask.origin_uv])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    soft = cv2.warpAffine(mask.patch, to_patch, (width, height), flags=flags)
    # Parts too thin to fill a downscaled pixel are kept where they cover most.
    return (soft >= min(0.5, 0.5 * float(soft.max()) + 1e-6)).astype(np.uint8)


def _transform_points(points: NDArray[np.float64], motion: Affine) -> NDArray[np.float64]:
    return np.asarray(points @ motion[:, :2].T + motion[:, 2])


def compose(first: Affine, second: Affine) -> Affine:
    """Compose two motions: ``first``, then ``second``."""
    return np.column_stack(
        [second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]]
    )
