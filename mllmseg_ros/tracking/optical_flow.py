# SPDX-License-Identifier: Apache-2.0
"""Carry soft masks from the image that they were drawn on to the newest one, by optical flow.

Each image is made small, and dense flow (OpenCV's DIS) leads from the last to it; things are
followed along that flow, each as a piece held to its key image. Steps since a key image are kept,
so that an answer that comes late takes the same way to the newest image. An image like the last
costs no flow. NumPy and OpenCV only; knows neither models nor identities.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.tracking.region_tracker import (
    Affine,
    PropagatedMask,
    RegionTracker,
    SmallImage,
    SoftMask,
    Step,
    then,
)

__all__ = ["Change", "ImageFlow"]

_SMALL_PX = 320 * 240  # about so many pixels has the image that is followed
_BLUR_PX = 1.0  # small px, standard deviation
_THUMBNAIL_WH = (40, 30)
_UNCHANGED = 2.0  # grey levels: no part of a thumbnail differs more, but for its brightness
_SAME_SCENE = 0.5  # correlation of two thumbnails; less is a cut, or a blank image
_FLOW_STEP = 4  # small px from one kept flow vector to the next
_MAX_STEPS = 150  # that are kept; an answer that comes later than that comes to nothing
_STRIDE = 2  # steps from one alignment to the next on the way of a late answer
_SURE = 0.9  # confidence from which a motion is believed without taking the whole way
_YOUNG_STEPS = 45  # up to which a motion is exact enough for that
_POINTS, _LEAST_POINTS = 4000, 150  # that are aligned in all things together; in each at least
_MOST_POINTS = 1000


class Change(Enum):
    """What an image is to the one before."""

    NONE = "none"  # the same picture
    MOVED = "moved"
    JUMPED = "jumped"  # the first, a cut, a blank image, another size: nothing can be followed


@dataclass(frozen=True, kw_only=True)
class _Key:
    """A key image."""

    image: SmallImage
    number: int  # how many steps had been taken before it
    pieces: Sequence[
        tuple[RegionTracker, Affine]
    ]  # that were followed then, and how they had moved


class ImageFlow:
    """Flow between the images of one camera. Not thread-safe.

    Attributes:
        n_flows: how many images flow was computed for.
        shift_uv: px of the whole image, by how much most of it moved at the last step.
    """

    def __init__(self) -> None:
        self.n_flows = 0
        self.shift_uv = (0.0, 0.0)
        self._dis = cv2.DISOpticalFlow_create(  # type: ignore[attr-defined]
            cv2.DISOPTICAL_FLOW_PRESET_FAST
        )
        self._newest: SmallImage | None = None
        self._grey = np.zeros((0, 0), np.uint8)
        self._thumbnail = np.zeros((0, 0), np.float32)
        self._keys: dict[int, _Key] = {}
        self._next_key = 0
        self._steps: deque[Step] = deque(maxlen=_MAX_STEPS)
        self._pieces: list[RegionTracker] = []
        self._followed = 0  # the key that they are of

    def update(self, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32] | None = None) -> Change:
        """Take the camera's next image.

        Args:
            rgb: (H, W, 3) RGB.
            depth_m: (H, W) metres, NaN where invalid; None without.
        """
        self.shift_uv = (0.0, 0.0)
        size_hw = (rgb.shape[0], rgb.shape[1])
        small = _shrunk(rgb)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        blocks = cv2.resize(grey.astype(np.float32), _THUMBNAIL_WH, interpolation=cv2.INTER_AREA)
        thumbnail = np.asarray(blocks, np.float32)
        last = self._newest
        known = last is not None and last.size_hw == size_hw
        if known:
            difference = thumbnail - self._thumbnail
            if np.abs(difference - difference.mean()).max() <= _UNCHANGED:
                return Change.NONE  # compared with the last one that was not, so that slow adds up
        if depth_m is not None:
            size_wh = (grey.shape[1], grey.shape[0])
            shrunk = cv2.resize(depth_m, size_wh, interpolation=cv2.INTER_NEAREST)
            depth_m = np.asarray(shrunk, np.float32)
        self._newest = SmallImage(
            rgb=cv2.GaussianBlur(small, (0, 0), _BLUR_PX).astype(np.float32),
            depth_m=depth_m,
            size_hw=size_hw,
        )
        last_grey, self._grey = self._grey, grey
        last_thumbnail, self._thumbnail = self._thumbnail, thumbnail
        if not known or _correlation(last_thumbnail, thumbnail) < _SAME_SCENE:
            self._lose()
            return Change.JUMPED
        if self._keys:
            assert last is not None
            self._step(last_grey, last, self._newest)
        return Change.MOVED

    def mark(self) -> int:
        """Make the newest image a key image; returns its number.

        Raises:
            ValueError: if there is no image.
        """
        if self._newest is None:
            raise ValueError("no image was seen yet")
        self._next_key += 1
        self._keys[self._next_key] = _Key(
            image=self._newest,
            number=self.n_flows,
            pieces=[(piece, piece.motion) for piece in self._pieces],
        )
        return self._next_key

    def keep(self, *keys: int) -> None:
        """Let go of every other key image."""
        self._keys = {key: value for key, value in self._keys.items() if key in keys}
        if self._followed not in keys:
            self._pieces = []
        needed = self.n_flows - min((k.number for k in self._keys.values()), default=self.n_flows)
        while len(self._steps) > needed:
            self._steps.popleft()

    def n_steps(self, key: int) -> int | None:
        """Flow computations since a key image, 0: it is the same picture; None: it is lost."""
        found = self._keys.get(key)
        return None if found is None else self.n_flows - found.number

    def follow(self, key: int, masks: Sequence[SoftMask]) -> bool:
        """From now on follow these masks of a key image, in place of any others.

        Returns:
            False where the key image was let go, or is too long ago.
        """
        late = self.n_steps(key)
        if late is None or late > len(self._steps):
            return False
        share = _POINTS // max(1, len(masks))
        n_points = min(_MOST_POINTS, max(_LEAST_POINTS, share))
        found = self._keys[key]
        steps = list(self._steps)[len(self._steps) - late :]
        motions = self._meanwhile(found)
        pieces = []
        for mask in masks:
            piece = RegionTracker(found.image, mask, n_points)
            if late and motions:
                piece.jump(motions, math.prod(step.gain for step in steps), steps[-1].image)
            if late and not (motions and piece.confidence >= _SURE):
                piece = RegionTracker(found.image, mask, n_points)
                _catch_up(piece, steps)
            pieces.append(piece)
        self._pieces, self._followed = pieces, key
        return True

    def _meanwhile(self, key: _Key) -> list[Affine]:
        """How what is followed has moved since a key image; most things move like one of these."""
        steps = self.n_steps(self._followed)
        if steps is None or steps > _YOUNG_STEPS:
            return []
        return [
            then(np.asarray(cv2.invertAffineTransform(before), np.float64), piece.motion)
            for piece, before in key.pieces
            if piece in self._pieces and piece.confidence >= _SURE
        ]

    def carried(self) -> list[PropagatedMask]:
        """Every followed mask in the newest image; without confidence where it is lost."""
        assert self._newest is not None
        return [piece.drawn(self._newest) for piece in self._pieces]

    def reset(self) -> None:
        """Forget every image."""
        self._lose()
        self._newest = None

    def _lose(self) -> None:
        self._keys.clear()
        self._steps.clear()
        self._pieces = []

    def _step(self, last_grey: NDArray[np.uint8], last: SmallImage, newest: SmallImage) -> None:
        self.n_flows += 1
        some = np.s_[_FLOW_STEP // 2 :: _FLOW_STEP, _FLOW_STEP // 2 :: _FLOW_STEP]
        flow = np.ascontiguousarray(self._dis.calc(last_grey, self._grey, None)[some])
        step = Step(
            flow=flow,
            most=np.median(flow.reshape(-1, 2), axis=0),
            gain=_gain(last.rgb[some], flow, newest.rgb),
            image=newest,
        )
        self._steps.append(step)
        for piece in self._pieces:
            piece.predict(step)
            piece.align(newest)
        across, down = (step.most * newest.scale).tolist()
        self.shift_uv = (across, down)


def _catch_up(piece: RegionTracker, steps: Sequence[Step]) -> None:
    """Take the way to the newest image."""
    for number, step in enumerate(steps, start=1):
        piece.predict(step)
        if number % _STRIDE == 0 or number == len(steps):
            piece.align(step.image)


def _gain(
    last: NDArray[np.float32], flow: NDArray[np.float32], newest: NDArray[np.float32]
) -> float:
    """Light in the newest image over that in some pixels of the last (h', w', 3) that flowed."""
    height, width = flow.shape[:2]
    start = _FLOW_STEP // 2
    u = flow[..., 0] + (np.arange(width, dtype=np.float32) * _FLOW_STEP + start)
    v = flow[..., 1] + (np.arange(height, dtype=np.float32) * _FLOW_STEP + start)[:, None]
    now = cv2.remap(newest, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    before, after = last.sum(axis=2), now.sum(axis=2)
    light = before > max(1.0, float(np.median(before)))  # in the dark a ratio is chance
    return float(np.median(after[light] / before[light])) if light.any() else 1.0


def _shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    shrink = min(1.0, (_SMALL_PX / (height * width)) ** 0.5)
    size_wh = (max(16, round(width * shrink)), max(16, round(height * shrink)))
    return np.asarray(cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA))


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread > 1.0 else 0.0
