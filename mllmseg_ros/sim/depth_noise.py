# SPDX-License-Identifier: Apache-2.0
"""Depth noise of a small active stereo camera.

The parameters are of the order of an Intel RealSense D435 at 640 x 480. Depth has steps of
disparity; its noise grows with the square of the distance and is correlated between neighbouring
pixels; outlines have holes on the side that is hidden from one of the two cameras, and flying
pixels between foreground and background.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["add_stereo_noise"]

_BASELINE_M = 0.05
_SUBPIXEL = 0.08  # standard deviation of disparity, px
_STEP = 1 / 32  # of disparity, px
_GRAIN_PX = 1.5  # correlation length of the noise
_JUMP_M = 0.02  # depth difference of neighbours that makes an outline
_WIDEST_PX = 24  # largest width of a hidden strip
_DROPPED = 0.004  # share of pixels without any depth


def add_stereo_noise(
    depth_m: NDArray[np.float32], focal_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add the noise to exact depth.

    Args:
        depth_m: (H, W) along the optical axis, 0 where nothing was hit.
        focal_px: of the camera.
        rng: random generator.

    Returns:
        (H, W) float32 metres, NaN where the camera would give no depth.
    """
    hit = depth_m > 0
    depth = np.where(hit, depth_m, 1.0).astype(np.float64)
    disparity = focal_px * _BASELINE_M / depth
    grain = cv2.GaussianBlur(rng.standard_normal(depth.shape), (0, 0), _GRAIN_PX)
    disparity += _SUBPIXEL * grain / grain.std()
    disparity = np.maximum(np.round(disparity / _STEP) * _STEP, _STEP)
    noisy = focal_px * _BASELINE_M / disparity

    size = np.ones((3, 3), np.uint8)
    exact = np.where(hit, depth_m, 0).astype(np.float32)
    far, near = cv2.dilate(exact, size), cv2.erode(np.where(hit, exact, np.float32(9)), size)
    outline = (far - near > _JUMP_M) & hit
    flying = outline & (rng.random(depth.shape) < 0.35)
    share = rng.random(depth.shape)
    noisy = np.where(flying, near + share * (far - near), noisy)

    # From the second camera, a strip of background left of every outline is hidden.
    seen_twice = 1 / np.maximum(near, 0.1) - 1 / np.maximum(far, 0.1)
    shadow_px = np.where(outline, np.clip(focal_px * _BASELINE_M * seen_twice, 0, _WIDEST_PX), 0)
    front = np.where(outline, near, np.inf)
    hidden = np.zeros(depth.shape, np.bool_)
    for shift in range(1, _WIDEST_PX + 1):
        reach = np.roll(np.where(shadow_px >= shift, front, np.inf), -shift, axis=1)
        reach[:, -shift:] = np.inf
        hidden |= exact > reach + _JUMP_M
    ragged = outline & (rng.random(depth.shape) < 0.4)
    lost = hidden | ragged | ~hit | (rng.random(depth.shape) < _DROPPED)
    noisy[lost] = np.nan
    return noisy.astype(np.float32)
