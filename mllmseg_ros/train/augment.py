# SPDX-License-Identifier: Apache-2.0
"""Image augmentation that keeps the expressions about an image true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.language.vocabulary import CLUTTER
from mllmseg_ros.sim.view import MIN_AREA_SHARE, MIN_VISIBLE_SHARE, VisibleObject

__all__ = ["cut_view", "jitter_colors", "jitter_sharpness", "jitter_tones", "random_window"]

_MAX_CUT = 0.18  # of the image's side, at each edge
_UNCUT_SHARE = 0.35  # of the images
_SHORTEST_SIDE = 0.5  # of a cut image, over the image's


def jitter_colors(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vary brightness, contrast and noise of (H, W, 3); colour names stay true."""
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.95, 1.05, size=3)
    shift = rng.uniform(-12, 12)
    table = np.arange(256)[None, :, None] * gain + shift  # (1, 256, 3): old value to new
    pixels = cv2.LUT(np.ascontiguousarray(rgb), np.clip(table, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        noise = rng.standard_normal(rgb.shape, dtype=np.float32) * np.float32(rng.uniform(1, 7))
        pixels = np.clip(pixels + noise, 0, 255)
    return pixels.astype(np.uint8)


def random_window(kept: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Choose a random window of an image that contains all pixels to keep.

    Args:
        kept: (H, W), pixels that the window must contain.
        rng: random generator.

    Returns:
        First and last row (excluded), first and last column (excluded).
    """
    height, width = kept.shape
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    top, bottom = (rows[0], height - 1 - rows[-1]) if len(rows) else (height, height)
    left, right = (columns[0], width - 1 - columns[-1]) if len(columns) else (width, width)
    cuts = [
        int(rng.uniform(0, min(margin, _MAX_CUT * side)))
        for margin, side in ((top, height), (bottom, height), (left, width), (right, width))
    ]
    return cuts[0], height - cuts[1], cuts[2], width - cuts[3]


def jitter_tones(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vary tone curve, saturation and white balance of (H, W, 3) as cameras do."""
    curve = 255 * (np.arange(256) / 255) ** rng.uniform(0.75, 1.35)
    balance = np.clip(curve[None, :, None] * rng.uniform(0.92, 1.08, size=3), 0, 255)
    pixels = cv2.LUT(np.ascontiguousarray(rgb), balance.astype(np.uint8))
    if rng.random() < 0.5:
        grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = float(rng.uniform(0.7, 1.2))
        pixels = cv2.addWeighted(pixels, share, grey, 1 - share, 0)
    return np.asarray(pixels, np.uint8)


def jitter_sharpness(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur some images (H, W, 3), sharpen some, and compress some as JPEG."""
    share = rng.random()
    if share < 0.4:
        blurred = cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(0.4, 1.2)))
        rgb = np.asarray(
            blurred if share < 0.2 else cv2.addWeighted(rgb, 1.7, blurred, -0.7, 0), np.uint8
        )
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        decoded = cv2.imdecode(cv2.imencode(".jpg", rgb, quality)[1], cv2.IMREAD_COLOR)
        assert decoded is not None
        rgb = np.asarray(decoded, np.uint8)
    return rgb


def cut_view(
    rgb: NDArray[np.uint8],
    instances: NDArray[np.uint8],
    objects: Sequence[VisibleObject],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[VisibleObject, ...]]:
    """Cut a random window out of a square view, and stretch it to the square again.

    So there are images of other proportions (upright and wide ones squeezed into the square),
    larger objects and objects at the edge. Some views stay as they are.

    Args:
        rgb: (S, S, 3).
        instances: (S, S), 0 = background.
        objects: all objects of the scene.
        rng: random generator.

    Returns:
        The same for the window, with the objects that are visible in it.
    """
    side = rgb.shape[0]
    if rng.random() < _UNCUT_SHARE:
        return rgb, instances, tuple(objects)
    height, width = (round(side * v) for v in rng.uniform(_SHORTEST_SIDE, 1.0, size=2))
    top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
    window = np.s_[top : top + height, left : left + width]
    before = np.bincount(instances.ravel(), minlength=256)
    rgb, instances = np.ascontiguousarray(rgb[window]), np.ascontiguousarray(instances[window])
    kept = np.bincount(instances.ravel(), minlength=256) / np.maximum(before, 1)
    rgb = np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    instances = np.asarray(
        cv2.resize(instances, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8
    )
    flat, middle = instances.ravel(), (np.arange(side) + 0.5) / side
    area = np.bincount(flat, minlength=256)
    u = np.bincount(flat, np.tile(middle, side), minlength=256) / np.maximum(area, 1)
    v = np.bincount(flat, np.repeat(middle, side), minlength=256) / np.maximum(area, 1)
    return (
        rgb,
        instances,
        tuple(
            _cut_object(each, area, kept, u, v, side * side)
            for each in objects
            if area[each.instance_id]
        ),
    )


def _cut_object(
    thing: VisibleObject,
    area: NDArray[np.int64],
    kept: NDArray[np.float64],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    n_px: int,
) -> VisibleObject:
    k = thing.instance_id
    area_share, visible_share = float(area[k]) / n_px, thing.visible_share * float(kept[k])
    # What was too small to be named stays so, unless the window makes it large enough.
    enough = area_share >= (
        min(MIN_AREA_SHARE, thing.area_share) if thing.nameable else MIN_AREA_SHARE
    )
    return replace(
        thing,
        centroid_uv=(float(u[k]), float(v[k])),
        area_share=area_share,
        visible_share=visible_share,
        nameable=thing.kind != CLUTTER and enough and visible_share >= MIN_VISIBLE_SHARE,
    )
