# SPDX-License-Identifier: Apache-2.0
"""One thing followed as a flat piece: the affine motion by which it still looks as it did.

The motion leads straight from the key image to the newest one, so that nothing drifts: optical flow
foretells it, and a robust Gauss-Newton alignment of the thing's colours, its rim included, corrects
it. Pixels that do not fit weigh little, so that what passes in front does not drag the piece along;
and they are not drawn. Everything happens in small images, "px" are theirs unless said otherwise.

Source: B. D. Lucas, T. Kanade, An iterative image registration technique, IJCAI 1981; in the
inverse compositional form of S. Baker, I. Matthews, IJCV 56(3), 2004, with Geman-McClure weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["PropagatedMask", "RegionTracker", "SmallImage", "SoftMask", "Step"]

_RIM_PX = 2  # so much of the surroundings is aligned, too: it shows where the thing ends
_ITERATIONS = 5
_STILL_PX = 0.03  # a correction that is smaller is the last
_FIT_LEVELS = 25.0  # of 256: pixels that are so far off weigh a quarter
_STIFFNESS = 0.01  # share of the template's own information that every weighting keeps
_WORSE = 0.02  # by so much the cost may grow
_MOST_GROWN = 6.0  # times its area in the key image, or one over that
_LOST = 0.3  # confidence under which the thing itself tells no motion
_OFF_LEVELS = 40.0  # of 256: what differs more from the thing is something else
_OFF_M, _OFF_SHARE = 0.03, 0.02  # so is what lies farther off in depth (or that share of it)
_SPECK = np.ones((3, 3), np.uint8)  # what is off in less than this is the rim's blur

Affine = NDArray[np.float64]  # (2, 3), from px to px


@dataclass(frozen=True, kw_only=True)
class SmallImage:
    """A camera image as it is followed."""

    rgb: NDArray[np.float32]  # (h, w, 3) in 0 to 255, a little blurred
    depth_m: NDArray[np.float32] | None  # (h, w) metres, NaN where invalid; None without
    size_hw: tuple[int, int]  # of the whole image, px of it

    @property
    def scale(self) -> NDArray[np.float64]:
        """Pixels of the whole image per small one, across and down, (2,)."""
        height, width = self.rgb.shape[:2]
        return np.array([self.size_hw[1] / width, self.size_hw[0] / height])


@dataclass(frozen=True, kw_only=True)
class Step:
    """From one image to the next."""

    flow: NDArray[np.float32]  # (h', w', 2) px, over the first image in any size
    most: NDArray[np.float32]  # (2,) px, the flow of most of it
    gain: float  # light in the second over that in the first
    image: SmallImage  # the second


@dataclass(frozen=True, kw_only=True)
class SoftMask:
    """A soft mask where it is not zero, in the pixels of its whole key image."""

    patch: NDArray[np.float32]  # (h, w) in [0, 1]
    origin_uv: tuple[int, int]  # of the patch's first pixel


@dataclass(frozen=True, kw_only=True)
class PropagatedMask:
    """A soft mask in the newest image."""

    probability: NDArray[np.float32]  # (H, W) in [0, 1]
    confidence: float  # [0, 1], share of the thing that looks as it did in the key image


class RegionTracker:
    """A thing of a key image that moves.

    Attributes:
        confidence: [0, 1], share of the thing that looks as it did in the key image.
    """

    def __init__(self, key: SmallImage, mask: SoftMask, n_points: int) -> None:
        """Take a thing.

        Args:
            key: the image on which the mask was drawn.
            mask: its mask.
            n_points: at most so many of its pixels are aligned.
        """
        self.confidence = 1.0
        self._key, self._mask = key, mask
        self._motion: Affine = np.eye(2, 3)  # from the key image to the newest
        inside = _small_mask(mask, key)
        size = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
        v, u = np.nonzero(cv2.dilate(inside, size))
        step = max(1, -(-len(u) // n_points))
        v, u = v[::step], u[::step]
        self._points = np.stack([u, v], axis=-1).astype(np.float64)  # (N, 2)
        self._colors = key.rgb[v, u]  # (N, 3)
        self._gain = np.float32(1)  # light in the newest image over that in the key image
        self._inside = inside[v, u] > 0  # (N,) of the thing itself, not of its rim
        if not self._inside.any():
            self.confidence = 0.0
            return
        self._middle = self._points.mean(axis=0)
        self._size = max(4.0, float(self._points.std()))
        x, y = ((self._points - self._middle) / self._size).astype(np.float32).T[..., None]
        along_u = cv2.Sobel(key.rgb, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)[v, u]
        along_v = cv2.Sobel(key.rgb, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)[v, u]
        # How the colours change with a shift and with each entry of a linear map, (N, 3, 6).
        self._slopes = np.stack(
            [along_u, along_v, along_u * x, along_u * y, along_v * x, along_v * y], axis=-1
        )
        flat = self._slopes.reshape(-1, 6)
        self._stiff = _STIFFNESS * (flat.T @ flat) + 1e-3 * len(u) * np.eye(6)

    @property
    def motion(self) -> Affine:
        """From the key image to the newest."""
        return self._motion

    def jump(self, motions: Sequence[Affine], gain: float, newest: SmallImage) -> None:
        """Go straight to the newest image by the motion that fits best, and align there.

        Args:
            motions: at least one, from the key image to the newest.
            gain: light in the newest image over that in the key image.
            newest: the newest image.
        """
        if not self._inside.any():
            return
        self._gain = np.float32(gain)
        self._motion = min(motions, key=lambda motion: self._cost(motion, newest))
        self.align(newest)
        self.align(newest)  # it is farther off than after one step

    def predict(self, step: Step) -> None:
        """Move on as the flow of a step says."""
        if not self._inside.any():
            return
        self._gain *= np.float32(step.gain)
        flow, newest = step.flow, step.image
        shifts = [step.most]
        if self.confidence >= _LOST:
            height, width = newest.rgb.shape[:2]
            here = _moved(self._points[self._inside], self._motion)
            here = here * (flow.shape[1] / width, flow.shape[0] / height)
            u, v = here.astype(int).clip(0, (flow.shape[1] - 1, flow.shape[0] - 1)).T
            shifts.append(np.median(flow[v, u], axis=0))
        foretold = [np.column_stack([self._motion[:, :2], self._motion[:, 2] + s]) for s in shifts]
        self._motion = min(foretold, key=lambda motion: self._cost(motion, newest))

    def align(self, newest: SmallImage) -> None:
        """Correct the motion by what the newest image shows, and say how well it fits."""
        if not self._inside.any():
            return
        motion = self._motion
        off, seen = self._differences(motion, newest)
        before = self._robust(off, seen)
        for _ in range(_ITERATIONS):
            squares = (off * off).sum(axis=1)
            weight = (seen / (1 + squares / _FIT_LEVELS**2) ** 2).astype(np.float32)
            weighted = (self._slopes * weight[:, None, None]).reshape(-1, 6)
            information = weighted.T @ self._slopes.reshape(-1, 6) + self._stiff
            d = np.linalg.solve(information.astype(np.float64), weighted.T @ off.reshape(-1))
            linear = np.eye(2) + d[2:].reshape(2, 2) / self._size
            if not 0.5 < np.linalg.det(linear) < 2:
                break
            # The template would move so: the image moves the other way.
            back = np.linalg.inv(linear)
            shift = self._middle - back @ (self._middle + d[:2])
            motion = then(np.column_stack([back, shift]), motion)
            off, seen = self._differences(motion, newest)
            if np.abs(d[:2]).max() < _STILL_PX:
                break
        sane = 1 / _MOST_GROWN < np.linalg.det(motion[:, :2]) < _MOST_GROWN
        if sane and self._robust(off, seen) <= before + _WORSE:
            self._motion = motion
        else:
            off, seen = self._differences(self._motion, newest)
        seen &= self._inside
        fits = seen & (np.abs(off).max(axis=1) < _OFF_LEVELS)
        self.confidence = float(fits.sum()) / max(1, int(seen.sum()))

    def drawn(self, newest: SmallImage) -> PropagatedMask:
        """Sample the mask in the newest image, where that shows the thing."""
        height, width = newest.size_hw
        whole = np.zeros((height, width), np.float32)
        patch, scale = self._mask.patch, newest.scale
        # From the patch's pixels to those of the whole newest image; pixel centres at integers.
        linear = self._motion[:, :2] * scale[:, None] / scale
        corner = (np.array(self._mask.origin_uv) + 0.5) / scale - 0.5
        shift = scale * (self._motion[:, :2] @ corner + self._motion[:, 2] + 0.5) - 0.5
        to_whole = np.column_stack([linear, shift])
        outline = _moved(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * patch.shape[::-1], to_whole)
        left, top = np.floor(outline.min(axis=0) - 1).clip(0, (width, height)).astype(int).tolist()
        right, bottom = (
            np.ceil(outline.max(axis=0) + 2).clip(0, (width, height)).astype(int).tolist()
        )
        if self.confidence and right > left and bottom > top:
            size_wh = (right - left, bottom - top)
            box = cv2.warpAffine(patch, to_whole - [[0, 0, left], [0, 0, top]], size_wh)
            whole[top:bottom, left:right] = box * self._visible(newest, (left, top), size_wh)
        return PropagatedMask(probability=whole, confidence=self.confidence)

    def _differences(
        self, motion: Affine, newest: SmallImage
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """How far each point's colour is off, (N, 3), and whether it is in the picture, (N,)."""
        height, width = newest.rgb.shape[:2]
        here = _moved(self._points, motion)
        seen = ((here >= 0) & (here <= (width - 1, height - 1))).all(axis=1)
        u, v = here.astype(np.float32).T[..., None]
        shown = cv2.remap(newest.rgb, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return shown[:, 0] / self._gain - self._colors, np.asarray(seen)

    def _cost(self, motion: Affine, newest: SmallImage) -> float:
        """How badly a motion fits."""
        return self._robust(*self._differences(motion, newest))

    def _robust(self, off: NDArray[np.float32], seen: NDArray[np.bool_]) -> float:
        """Mean robust difference over the thing, in [0, 1]."""
        squares = (off * off).sum(axis=1)
        costs = np.where(seen, squares / (squares + _FIT_LEVELS**2), 1.0)
        return float(costs[self._inside].mean())

    def _visible(
        self, newest: SmallImage, origin: tuple[int, int], size_wh: tuple[int, int]
    ) -> NDArray[np.float32]:
        """1 where a box of the whole image shows the thing, 0 where something else, (h, w)."""
        scale = newest.scale
        x0, y0 = np.floor(np.array(origin) / scale - 1).clip(0).astype(int).tolist()
        end = np.ceil((np.array(origin) + size_wh) / scale).astype(int) + 1
        x1, y1 = np.minimum(end, newest.rgb.shape[1::-1]).tolist()
        to_crop = self._motion - [[0, 0, x0], [0, 0, y0]]
        small_wh = (x1 - x0, y1 - y0)
        was = cv2.warpAffine(self._key.rgb, to_crop, small_wh, borderMode=cv2.BORDER_REPLICATE)
        off = cv2.absdiff(was, newest.rgb[y0:y1, x0:x1] / self._gain).max(axis=2) > _OFF_LEVELS
        if self._key.depth_m is not None and newest.depth_m is not None:
            now = newest.depth_m[y0:y1, x0:x1]
            then = cv2.warpAffine(
                self._key.depth_m, to_crop, small_wh, flags=cv2.INTER_NEAREST, borderValue=np.nan
            )
            off = _beyond_jump(now, np.asarray(then, np.float32), off)
        other = cv2.morphologyEx(off.astype(np.uint8), cv2.MORPH_OPEN, _SPECK)
        to_small = np.column_stack(
            [np.diag(1 / scale), (np.array(origin) + 0.5) / scale - 0.5 - (x0, y0)]
        )
        return np.asarray(
            cv2.warpAffine(
                1 - other.astype(np.float32),
                to_small,
                size_wh,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )


def _beyond_jump(
    now: NDArray[np.float32], then: NDArray[np.float32], off: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Correct what is off in colour by depth (h, w), where it is known then and now."""
    step = now - then
    known = np.isfinite(step)
    if not (known & ~off).any():
        return off
    step = np.abs(step - np.median(step[known & ~off]))  # the thing itself comes nearer or goes
    jump = step > np.maximum(_OFF_M, _OFF_SHARE * np.where(known, now, 0))
    return np.where(known, jump, off)


def _small_mask(mask: SoftMask, key: SmallImage) -> NDArray[np.uint8]:
    """1 on the pixels of the small key image that are the thing, (h, w)."""
    height, width = key.rgb.shape[:2]
    scale = key.scale
    to_patch = np.column_stack([np.diag(scale), 0.5 * scale - 0.5 - mask.origin_uv])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    soft = cv2.warpAffine(mask.patch, to_patch, (width, height), flags=flags)
    # What is too thin to fill a small pixel is where most of it is.
    return (soft >= min(0.5, 0.5 * float(soft.max()) + 1e-6)).astype(np.uint8)


def _moved(points: NDArray[np.float64], motion: Affine) -> NDArray[np.float64]:
    return np.asarray(points @ motion[:, :2].T + motion[:, 2])


def then(first: Affine, second: Affine) -> Affine:
    """Make one motion of two, one after another."""
    return np.column_stack(
        [second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]]
    )
