# SPDX-License-Identifier: Apache-2.0
"""Camera sensor model: exposure, blur, motion blur, noise, compression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Sensor", "apply_sensor"]

_REFERENCE_WIDTH_PX = 640  # image width for the lengths below


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """One exposure."""

    gain: tuple[float, float, float]  # of red, green and blue
    blur_px: float  # standard deviation of defocus, in an image 640 px wide
    motion_px: float  # length of motion blur, likewise
    motion_rad: float  # its direction in the image
    noise: float  # standard deviation, of 255
    jpeg_quality: int  # [1, 100]
    seed: int  # of the noise
    gamma: float = 1.0  # of the tone curve; above 1 is darker
    saturation: float = 1.0  # of colours, 0 is grey
    vignette: float = 0.0  # share of light lost in the corners


def apply_sensor(rgb: NDArray[np.uint8], sensor: Sensor) -> NDArray[np.uint8]:
    """Apply a sensor model to an image (H, W, 3)."""
    scale = rgb.shape[1] / _REFERENCE_WIDTH_PX
    pixels: NDArray[Any] = rgb.astype(np.float32) * np.array(sensor.gain, np.float32)
    if sensor.saturation != 1.0:
        grey = pixels.mean(axis=2, keepdims=True)
        pixels = grey + np.float32(sensor.saturation) * (pixels - grey)
    if sensor.gamma != 1.0:
        pixels = 255 * (np.clip(pixels, 0, 255) / 255) ** np.float32(sensor.gamma)
    if sensor.vignette > 0:
        y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in rgb.shape[:2])
        loss = np.float32(sensor.vignette / 2) * (y[:, None] ** 2 + x[None] ** 2)
        pixels = pixels * (1 - loss)[..., None]
    motion_blur = sensor.motion_px * scale
    if motion_blur >= 1.5:
        pixels = cv2.filter2D(pixels, -1, _motion_blur(motion_blur, sensor.motion_rad))
    if sensor.blur_px * scale > 0.2:
        pixels = cv2.GaussianBlur(pixels, (0, 0), sensor.blur_px * scale)
    if sensor.noise > 0:
        noise = np.random.default_rng(sensor.seed).standard_normal(rgb.shape, dtype=np.float32)
        pixels = pixels + np.float32(sensor.noise) * noise
    whole = np.clip(pixels, 0, 255).astype(np.uint8)
    bgr = cv2.cvtColor(whole, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg_quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[:, :, ::-1]).astype(np.uint8, copy=False)


def _motion_blur(length_px: float, angle_rad: float) -> NDArray[np.float32]:
    """Return a line as a convolution kernel that sums to 1."""
    side = 2 * math.ceil(length_px / 2) + 1
    kernel = np.zeros((side, side), np.float32)
    middle = side // 2
    reach = np.array([math.cos(angle_rad), math.sin(angle_rad)]) * length_px / 2
    start, end = (tuple(round(middle + sign * r) for r in reach) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1)
    return kernel / kernel.sum()
