# SPDX-License-Identifier: Apache-2.0
"""Textured things that move over a textured ground, with their true visible masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 240, 320


def make_texture(seed: int, height: int, width: int, rgb: tuple[float, float, float]) -> NDArray:
    """Blotches of two sizes in shades of a colour, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    noise = sum(
        cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), sigma) * sigma
        for sigma in (2.0, 7.0)
    )
    shade = 1 + 0.35 * noise / noise.std()
    return np.clip(shade[..., None] * np.array(rgb), 0, 255).astype(np.uint8)


@dataclass
class Thing:
    """A textured disc."""

    radius: int
    seed: int
    rgb: tuple[float, float, float]

    def __post_init__(self) -> None:
        side = 2 * self.radius + 1
        self.patch = make_texture(self.seed, side, side, self.rgb)
        rows, columns = np.mgrid[:side, :side] - self.radius
        self.cover = (rows**2 + columns**2 <= self.radius**2).astype(np.float32)


class Stage:
    """A ground and things on it, the later in front of the earlier."""

    def __init__(self, things: Sequence[Thing], height: int = HEIGHT, width: int = WIDTH) -> None:
        self._things, self._size_wh = things, (width, height)
        self._ground = make_texture(99, height + 200, width + 200, (110.0, 105.0, 100.0))

    def render(
        self, places_uv: Sequence[tuple[float, float]], camera_uv: tuple[float, float] = (0, 0)
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
        """Things at places (u, v) of the image, the ground moved by the camera, px."""
        shift = np.array([[1, 0, camera_uv[0] - 100], [0, 1, camera_uv[1] - 100]], np.float64)
        image = cv2.warpAffine(self._ground, shift, self._size_wh).astype(np.float32)
        masks: list[NDArray[np.bool_]] = []
        for thing, (u, v) in zip(self._things, places_uv, strict=True):
            to = np.array([[1, 0, u - thing.radius], [0, 1, v - thing.radius]], np.float64)
            cover = cv2.warpAffine(thing.cover, to, self._size_wh)
            patch = cv2.warpAffine(
                thing.patch, to, self._size_wh, borderMode=cv2.BORDER_REPLICATE
            ).astype(np.float32)
            image += cover[..., None] * (patch - image)
            masks = [mask & (cover < 0.5) for mask in masks] + [cover >= 0.5]
        return image.round().astype(np.uint8), masks


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))
