# SPDX-License-Identifier: Apache-2.0
"""Carry a soft mask from the image that it was drawn on to a newer one, by dense optical flow.

Flow is computed from image to image, small and in grey, and composed along the way: at any time
there is a map from the newest image back to each key image that matters. A mask is sampled once,
from its key image through that map, so that no blur piles up. An image like the last one costs no
flow. NumPy and OpenCV only; knows neither models nor identities.

Entry points: :class:`ImageFlow`, :class:`FlowMap`, :class:`SoftMask`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

_SMALL_PX = 320 * 240  # about so many pixels has the image that flow is computed on
_THUMBNAIL_WH = (40, 30)
_UNCHANGED = 3.0  # grey levels: no part of a thumbnail differs more, but for its brightness
_SAME_SCENE = 0.5  # correlation of two thumbnails; less is a cut, or a blank image
_DRIFT_PX = 2.0  # small px: standard deviation of what a step's there and back may miss by
_BETWEEN_STEPS, _MOST_BETWEEN = 2, 60  # images kept for an answer that comes late
_OFF_LEVELS = 25.0  # grey levels: standard deviation of what a pixel may differ by from the last


class Change(Enum):
    """What an image is to the one before."""

    NONE = "none"  # the same picture
    MOVED = "moved"
    JUMPED = "jumped"  # a cut, a blank image, another size: nothing can be followed


@dataclass(frozen=True, kw_only=True)
class SoftMask:
    """A soft mask where it is not zero, in the pixels of its key image."""

    patch: NDArray[np.float32]  # (h, w) in [0, 1]
    origin_uv: tuple[int, int]  # px, of the patch's first pixel


@dataclass(frozen=True, kw_only=True)
class FlowMap:
    """Where each part of the newest image was in a key image, in small pixels."""

    displacement: NDArray[np.float32]  # (h, w, 2) px, from the newest to the key image
    confidence: NDArray[np.float32]  # (h, w) in [0, 1]
    newest: NDArray[np.uint8]  # (h, w, 3) RGB
    key: NDArray[np.uint8]  # (h, w, 3) RGB
    newest_grey: NDArray[np.uint8]  # (h, w)
    key_grey: NDArray[np.uint8]  # (h, w)
    between: Sequence[NDArray[np.uint8]]  # (h, w) grey, a few of the images in between, in order
    size_hw: tuple[int, int]  # of the whole image, px
    n_steps: int  # flow computations in between; 0: both are the same picture

    @property
    def scale(self) -> NDArray[np.float64]:
        """Pixels of the whole image per small pixel, (u, v)."""
        small_h, small_w = self.confidence.shape
        return np.array([self.size_hw[1] / small_w, self.size_hw[0] / small_h])

    def sampled(self, soft: SoftMask) -> NDArray[np.float32]:
        """A soft mask of the key image where the flow says that it is now, (h, w) small px."""
        scale = self.scale
        columns, rows = _grid(*self.confidence.shape)
        u = (columns + self.displacement[..., 0] + 0.5) * scale[0] - 0.5 - soft.origin_uv[0]
        v = (rows + self.displacement[..., 1] + 0.5) * scale[1] - 0.5 - soft.origin_uv[1]
        drawn = cv2.remap(soft.patch, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
        return np.asarray(drawn)


@dataclass
class _Key:
    """What is known of a key image; changes with each step."""

    displacement: NDArray[np.float32]
    confidence: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    grey: NDArray[np.uint8]
    between: list[NDArray[np.uint8]] = field(default_factory=list)
    n_steps: int = 0


class ImageFlow:
    """Flow between the images of one camera. Not thread-safe.

    Attributes:
        n_flows: how many images flow was computed for.
        shift_uv: px of the whole image, by how much most of the last image moved at the last step.
    """

    def __init__(self) -> None:
        self.n_flows = 0
        self.shift_uv = (0.0, 0.0)
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._keys: dict[int, _Key] = {}
        self._next_key = 0
        self._size_hw = (0, 0)
        self._grey: NDArray[np.uint8] | None = None
        self._rgb: NDArray[np.uint8] = np.zeros((1, 1, 3), np.uint8)
        self._thumbnail: NDArray[np.float32] | None = None

    def see(self, rgb: NDArray[np.uint8]) -> Change:
        """Take the camera's next image, RGB (H, W, 3)."""
        size_hw = (rgb.shape[0], rgb.shape[1])
        small = _small(rgb)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        thumbnail = cv2.resize(grey, _THUMBNAIL_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self.shift_uv = self._thumbnail, (0.0, 0.0)
        if before is not None and size_hw == self._size_hw:
            difference = thumbnail - before
            if np.abs(difference - difference.mean()).max() <= _UNCHANGED:
                return Change.NONE  # compared with the last one that was not, so that slow adds up
        last, self._grey, self._thumbnail, self._rgb = self._grey, grey, thumbnail, small
        if before is None or last is None or size_hw != self._size_hw:
            self._keys.clear()
            self._size_hw = size_hw
            return Change.JUMPED
        if _correlation(before, thumbnail) < _SAME_SCENE:
            self._keys.clear()
            return Change.JUMPED
        if self._keys:
            self._step(last, grey)
        return Change.MOVED

    def mark(self) -> int:
        """Make the newest image a key image; returns its number.

        Raises:
            ValueError: if there is no image.
        """
        if self._grey is None:
            raise ValueError("no image was seen yet")
        self._next_key += 1
        height, width = self._grey.shape
        self._keys[self._next_key] = _Key(
            displacement=np.zeros((height, width, 2), np.float32),
            confidence=np.ones((height, width), np.float32),
            rgb=self._rgb,
            grey=self._grey,
        )
        return self._next_key

    def keep(self, *keys: int) -> None:
        """Let go of every other key image."""
        self._keys = {key: value for key, value in self._keys.items() if key in keys}

    def map_to(self, key: int) -> FlowMap | None:
        """From the newest to a key image; None where it was let go, or a jump lies between."""
        found = self._keys.get(key)
        if found is None or self._grey is None:
            return None
        return FlowMap(
            displacement=found.displacement,
            confidence=found.confidence,
            newest=self._rgb,
            key=found.rgb,
            newest_grey=self._grey,
            key_grey=found.grey,
            between=found.between,
            size_hw=self._size_hw,
            n_steps=found.n_steps,
        )

    def forget(self) -> None:
        """Forget every image."""
        self._keys.clear()
        self._grey = self._thumbnail = None

    def _flow(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
        start = np.zeros((*a.shape, 2), np.float32)
        return np.asarray(self._dis.calc(a, b, start), dtype=np.float32)

    def _step(self, last: NDArray[np.uint8], newest: NDArray[np.uint8]) -> None:
        self.n_flows += 1
        back, forth = self._flow(newest, last), self._flow(last, newest)
        columns, rows = _grid(*newest.shape)
        source = back.copy()
        source[..., 0] += columns
        source[..., 1] += rows
        missed = back + _at(forth, source, cv2.BORDER_CONSTANT)
        off = newest.astype(np.float32) - _at(last, source)
        off = cv2.blur(off - np.median(off[::8, ::8]), (3, 3))
        squares = cv2.transform(missed * missed, np.ones((1, 2), np.float32)) / (2 * _DRIFT_PX**2)
        step_confidence = cv2.exp(-(squares + off * off / (2 * _OFF_LEVELS**2)))
        for key in self._keys.values():
            key.displacement = back + _at(key.displacement, source)
            # What came in over the image's border is unknown: 0.
            key.confidence = step_confidence * _at(key.confidence, source, cv2.BORDER_CONSTANT)
            key.n_steps += 1
            if key.n_steps % _BETWEEN_STEPS == 0 and len(key.between) < _MOST_BETWEEN:
                key.between.append(newest)
        scale = self._size_hw[1] / newest.shape[1]
        self.shift_uv = (
            -scale * float(np.median(back[::8, ::8, 0])),
            -scale * float(np.median(back[::8, ::8, 1])),
        )


def _at(
    image: NDArray, source_uv: NDArray[np.float32], border: int = cv2.BORDER_REPLICATE
) -> NDArray[np.float32]:
    """An image sampled at places (h, w, 2)."""
    u, v = np.ascontiguousarray(source_uv[..., 0]), np.ascontiguousarray(source_uv[..., 1])
    sampled = cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(sampled, dtype=np.float32)


def _small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    shrink = min(1.0, (_SMALL_PX / (height * width)) ** 0.5)
    size_wh = (max(16, round(width * shrink)), max(16, round(height * shrink)))
    return np.asarray(cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA))


def _grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns (1, W) and rows (H, 1)."""
    return (
        np.arange(width, dtype=np.float32)[None],
        np.arange(height, dtype=np.float32)[:, None],
    )


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread > 1.0 else 0.0
