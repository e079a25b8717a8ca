# SPDX-License-Identifier: Apache-2.0
"""Carry a soft mask from the image that it was drawn on to a newer one, by dense optical flow.

Flow is computed from image to image, small and in grey, and composed along the way: at any time
there is a map from the newest image back to each key image that matters. A mask is sampled once,
from its key image through that map, so that no blur piles up. An image like the last one costs no
flow. NumPy and OpenCV only; knows neither models nor identities.

Entry points: :class:`ImageFlow`, :class:`FlowMap`, :class:`SoftMask`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

_SMALL_PX = 320 * 240  # about so many pixels has the image that flow is computed on
_THUMBNAIL_WH = (40, 30)
_UNCHANGED = 2.0  # grey levels: no part of a thumbnail differs more, but for its brightness
_SAME_SCENE = 0.5  # correlation of two thumbnails; less is a cut, or a blank image
_DRIFT_PX = 2.0  # small px: standard deviation of what a step's there and back may miss by
_OFF_LEVELS = 25.0  # grey levels: standard deviation of what a pixel may differ by from the last
_SURE = 0.05  # confidence from which a pixel counts


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
    size_hw: tuple[int, int]  # of the whole image, px
    n_steps: int  # flow computations in between; 0: both are the same picture

    def carried(self, soft: SoftMask) -> tuple[NDArray[np.float32], float]:
        """Sample a soft mask of the key image in the newest.

        Returns:
            Probabilities (H, W); and the confidence in [0, 1], mean over what the mask covers now,
            0 where it covers nothing.
        """
        height, width = self.size_hw
        whole = np.zeros((height, width), np.float32)
        small_h, small_w = self.confidence.shape
        scale = np.array([width / small_w, height / small_h], np.float32)
        u0, v0 = soft.origin_uv
        patch_h, patch_w = soft.patch.shape
        columns, rows = _grid(small_h, small_w)
        # Where the patch is in the newest image, in small pixels.
        low = (np.array([u0, v0], np.float32) + 0.5) / scale - 1.5
        high = (np.array([u0 + patch_w, v0 + patch_h], np.float32) - 0.5) / scale + 0.5
        x, y = columns + self.displacement[..., 0], rows + self.displacement[..., 1]
        touched = (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])
        touched &= self.confidence > _SURE
        box = cv2.boundingRect(touched.view(np.uint8))
        if not box[2]:
            return whole, 0.0
        left, top = (max(0, int((box[k] - 1) * scale[k])) for k in (0, 1))
        right = min(width, int(np.ceil((box[0] + box[2] + 1) * scale[0])))
        bottom = min(height, int(np.ceil((box[1] + box[3] + 1) * scale[1])))
        size_wh = (right - left, bottom - top)
        to_small = np.array(
            [
                [1 / scale[0], 0, (left + 0.5) / scale[0] - 0.5],
                [0, 1 / scale[1], (top + 0.5) / scale[1] - 0.5],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        source = cv2.warpAffine(
            self.displacement, to_small, size_wh, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        sure = cv2.warpAffine(
            self.confidence, to_small, size_wh, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        source *= scale
        columns, rows = _grid(size_wh[1], size_wh[0])
        source[..., 0] += columns + np.float32(left - u0)
        source[..., 1] += rows + np.float32(top - v0)
        drawn = cv2.remap(soft.patch, source, None, cv2.INTER_LINEAR)
        total = float(drawn.sum())
        confidence = float((drawn * sure).sum()) / total if total > 0 else 0.0
        whole[top:bottom, left:right] = drawn * (sure > 0.5)
        return whole, confidence


@dataclass
class _Key:
    """What is known of a key image; changes with each step."""

    displacement: NDArray[np.float32]
    confidence: NDArray[np.float32]
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
        self._dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._keys: dict[int, _Key] = {}
        self._next_key = 0
        self._size_hw = (0, 0)
        self._grey: NDArray[np.uint8] | None = None
        self._thumbnail: NDArray[np.float32] | None = None

    def see(self, rgb: NDArray[np.uint8]) -> Change:
        """Take the camera's next image, RGB (H, W, 3)."""
        size_hw = (rgb.shape[0], rgb.shape[1])
        grey = _small_grey(rgb)
        thumbnail = cv2.resize(grey, _THUMBNAIL_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self.shift_uv = self._thumbnail, (0.0, 0.0)
        if before is not None and size_hw == self._size_hw:
            difference = thumbnail - before
            if np.abs(difference - difference.mean()).max() <= _UNCHANGED:
                return Change.NONE  # compared with the last one that was not, so that slow adds up
        last, self._grey, self._thumbnail = self._grey, grey, thumbnail
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
        )
        return self._next_key

    def keep(self, *keys: int) -> None:
        """Let go of every other key image."""
        self._keys = {key: value for key, value in self._keys.items() if key in keys}

    def map_to(self, key: int) -> FlowMap | None:
        """From the newest image to a key image; None where it was let go, or a jump lies between."""
        found = self._keys.get(key)
        if found is None:
            return None
        return FlowMap(
            displacement=found.displacement,
            confidence=found.confidence,
            size_hw=self._size_hw,
            n_steps=found.n_steps,
        )

    def forget(self) -> None:
        """Forget every image."""
        self._keys.clear()
        self._grey = self._thumbnail = None

    def _step(self, last: NDArray[np.uint8], newest: NDArray[np.uint8]) -> None:
        self.n_flows += 1
        back = self._dis.calc(newest, last, None)
        forth = self._dis.calc(last, newest, None)
        columns, rows = _grid(*newest.shape)
        source = back.copy()
        source[..., 0] += columns
        source[..., 1] += rows
        missed = back + cv2.remap(forth, source, None, cv2.INTER_LINEAR)
        off = newest.astype(np.float32) - cv2.remap(
            last, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        off = cv2.blur(off - np.median(off[::8, ::8]), (3, 3))
        squares = cv2.transform(missed * missed, np.ones((1, 2), np.float32)) / (2 * _DRIFT_PX**2)
        step_confidence = cv2.exp(-(squares + off * off / (2 * _OFF_LEVELS**2)))
        for key in self._keys.values():
            key.displacement = back + cv2.remap(
                key.displacement, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            # What came in over the image's border is unknown: 0.
            key.confidence = step_confidence * cv2.remap(
                key.confidence, source, None, cv2.INTER_LINEAR
            )
            key.n_steps += 1
        scale = self._size_hw[1] / newest.shape[1]
        self.shift_uv = (
            -scale * float(np.median(back[::8, ::8, 0])),
            -scale * float(np.median(back[::8, ::8, 1])),
        )


def _small_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    shrink = min(1.0, (_SMALL_PX / (height * width)) ** 0.5)
    size_wh = (max(16, round(width * shrink)), max(16, round(height * shrink)))
    small = cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


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
