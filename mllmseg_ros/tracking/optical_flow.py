# SPDX-License-Identifier: Apache-2.0
"""Propagate soft masks from their key image into the newest image by optical flow.

Each image is downscaled, and dense optical flow (OpenCV's DIS) is computed from the previous one.
A region tracker per mask follows the flow and is aligned to the key image. The flow of each image
since a key image is kept, so that a late result can be propagated through all of them. An image
that equals the previous one costs no flow. NumPy and OpenCV only; knows neither models nor tracks.
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
    compose,
)

__all__ = ["ImageChange", "MaskPropagator"]

_SMALL_PX = 320 * 240  # size of the downscaled image, about
_BLUR_PX = 1.0  # small px, standard deviation
_THUMBNAIL_WH = (40, 30)
# Grey levels: largest difference of two thumbnails of the same scene, after their mean brightness
# was removed.
_UNCHANGED = 2.0
_SAME_SCENE = 0.5  # correlation of two thumbnails; less is a cut or a blank image
_FLOW_STEP = 4  # small px between stored flow vectors
_MAX_STEPS = 150  # stored; a result that is later than that is discarded
_STRIDE = 2  # steps between alignments while a late result catches up
_CONFIDENT = 0.9  # from this confidence on a motion is accepted without replaying every step
_MAX_SHORTCUT_STEPS = 45  # beyond, motions are too inexact for that
_MAX_POINTS, _MIN_POINTS = 4000, 150  # aligned: in all regions together, in each region at least
_MAX_POINTS_PER_REGION = 1000


class ImageChange(Enum):
    """How an image differs from the previous one."""

    NONE = "none"  # the same scene
    MOTION = "motion"
    CUT = "cut"  # the first image, another scene, a blank image or another size


@dataclass(frozen=True, kw_only=True)
class _KeyImage:
    image: SmallImage
    n_flows: int  # flows computed before it
    regions: Sequence[tuple[RegionTracker, Affine]]  # tracked at that time, with their motion


class MaskPropagator:
    """Optical flow between the images of one camera, and the masks tracked by it.

    Not thread-safe.

    Attributes:
        n_flows: number of images that flow was computed for.
        shift_uv: px of the full-size image, median motion since the previous image.
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
        self._key_images: dict[int, _KeyImage] = {}
        self._next_key = 0
        self._steps: deque[Step] = deque(maxlen=_MAX_STEPS)
        self._regions: list[RegionTracker] = []
        self._regions_key = 0  # the key image of these regions

    def update(
        self, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32] | None = None
    ) -> ImageChange:
        """Process the camera's next image.

        Args:
            rgb: (H, W, 3) RGB.
            depth_m: (H, W) metres, NaN where invalid; None without.
        """
        self.shift_uv = (0.0, 0.0)
        size_hw = (rgb.shape[0], rgb.shape[1])
        small = _downscale(rgb)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        blocks = cv2.resize(grey.astype(np.float32), _THUMBNAIL_WH, interpolation=cv2.INTER_AREA)
        thumbnail = np.asarray(blocks, np.float32)
        previous = self._newest
        same_size = previous is not None and previous.size_hw == size_hw
        if same_size:
            # The thumbnail of the last changed image is kept, so that slow changes add up.
            difference = thumbnail - self._thumbnail
            if np.abs(difference - difference.mean()).max() <= _UNCHANGED:
                return ImageChange.NONE
        if depth_m is not None:
            size_wh = (grey.shape[1], grey.shape[0])
            resized = cv2.resize(depth_m, size_wh, interpolation=cv2.INTER_NEAREST)
            depth_m = np.asarray(resized, np.float32)
        self._newest = SmallImage(
            rgb=cv2.GaussianBlur(small, (0, 0), _BLUR_PX).astype(np.float32),
            depth_m=depth_m,
            size_hw=size_hw,
        )
        previous_grey, self._grey = self._grey, grey
        previous_thumbnail, self._thumbnail = self._thumbnail, thumbnail
        if not same_size or _correlate(previous_thumbnail, thumbnail) < _SAME_SCENE:
            self._drop_all()
            return ImageChange.CUT
        if self._key_images:
            assert previous is not None
            self._compute_flow(previous_grey, previous, self._newest)
        return ImageChange.MOTION

    def set_key_image(self) -> int:
        """Make the newest image a key image.

        Returns:
            The number of the key image.

        Raises:
            ValueError: if there is no image.
        """
        if self._newest is None:
            raise ValueError("no image yet, expected update() before set_key_image()")
        self._next_key += 1
        self._key_images[self._next_key] = _KeyImage(
            image=self._newest,
            n_flows=self.n_flows,
            regions=[(region, region.motion) for region in self._regions],
        )
        return self._next_key

    def keep_key_images(self, *keys: int) -> None:
        """Drop all key images but these."""
        self._key_images = {key: each for key, each in self._key_images.items() if key in keys}
        if self._regions_key not in keys:
            self._regions = []
        oldest = min((each.n_flows for each in self._key_images.values()), default=self.n_flows)
        while len(self._steps) > self.n_flows - oldest:
            self._steps.popleft()

    def n_steps(self, key: int) -> int | None:
        """Number of flows since a key image, 0 for the same scene; None if it was dropped."""
        key_image = self._key_images.get(key)
        return None if key_image is None else self.n_flows - key_image.n_flows

    def track(self, key: int, masks: Sequence[SoftMask]) -> bool:
        """Track these masks of a key image from now on, instead of any others.

        Returns:
            False if the key image was dropped or is too old.
        """
        n_late = self.n_steps(key)
        if n_late is None or n_late > len(self._steps):
            return False
        share = _MAX_POINTS // max(1, len(masks))
        n_points = min(_MAX_POINTS_PER_REGION, max(_MIN_POINTS, share))
        key_image = self._key_images[key]
        steps = list(self._steps)[len(self._steps) - n_late :]
        motions = self._motions_since(key_image)
        regions = []
        for mask in masks:
            region = RegionTracker(key_image.image, mask, n_points)
            if n_late and motions:
                gain = math.prod(step.gain for step in steps)
                region.initialize(motions, gain, steps[-1].image)
            if n_late and not (motions and region.confidence >= _CONFIDENT):
                region = RegionTracker(key_image.image, mask, n_points)
                _replay(region, steps)
            regions.append(region)
        self._regions, self._regions_key = regions, key
        return True

    def _motions_since(self, key_image: _KeyImage) -> list[Affine]:
        """Motions of the tracked regions since a key image: candidates for any other region."""
        n_steps = self.n_steps(self._regions_key)
        if n_steps is None or n_steps > _MAX_SHORTCUT_STEPS:
            return []
        return [
            compose(np.asarray(cv2.invertAffineTransform(before), np.float64), region.motion)
            for region, before in key_image.regions
            if region in self._regions and region.confidence >= _CONFIDENT
        ]

    def propagate(self) -> list[PropagatedMask]:
        """Return every tracked mask in the newest image; confidence 0 where it is lost."""
        assert self._newest is not None
        return [region.propagate(self._newest) for region in self._regions]

    def reset(self) -> None:
        """Drop all images."""
        self._drop_all()
        self._newest = None

    def _drop_all(self) -> None:
        self._key_images.clear()
        self._steps.clear()
        self._regions = []

    def _compute_flow(
        self, previous_grey: NDArray[np.uint8], previous: SmallImage, newest: SmallImage
    ) -> None:
        self.n_flows += 1
        sampled = np.s_[_FLOW_STEP // 2 :: _FLOW_STEP, _FLOW_STEP // 2 :: _FLOW_STEP]
        flow = np.ascontiguousarray(self._dis.calc(previous_grey, self._grey, None)[sampled])
        step = Step(
            flow=flow,
            median=np.median(flow.reshape(-1, 2), axis=0),
            gain=_estimate_gain(previous.rgb[sampled], flow, newest.rgb),
            image=newest,
        )
        self._steps.append(step)
        for region in self._regions:
            region.predict(step)
            region.align(newest)
        u, v = (step.median * newest.scale).tolist()
        self.shift_uv = (u, v)


def _replay(region: RegionTracker, steps: Sequence[Step]) -> None:
    """Move a region through all steps to the newest image."""
    for number, step in enumerate(steps, start=1):
        region.predict(step)
        if number % _STRIDE == 0 or number == len(steps):
            region.align(step.image)


def _estimate_gain(
    previous: NDArray[np.float32], flow: NDArray[np.float32], newest: NDArray[np.float32]
) -> float:
    """Brightness of the newest image relative to sampled pixels (h', w', 3) of the previous one."""
    height, width = flow.shape[:2]
    start = _FLOW_STEP // 2
    u = flow[..., 0] + (np.arange(width, dtype=np.float32) * _FLOW_STEP + start)
    v = flow[..., 1] + (np.arange(height, dtype=np.float32) * _FLOW_STEP + start)[:, None]
    warped = cv2.remap(newest, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    before, after = previous.sum(axis=2), warped.sum(axis=2)
    bright = before > max(1.0, float(np.median(before)))  # ratios of dark pixels are noise
    return float(np.median(after[bright] / before[bright])) if bright.any() else 1.0


def _downscale(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    factor = min(1.0, (_SMALL_PX / (height * width)) ** 0.5)
    size_wh = (max(16, round(width * factor)), max(16, round(height * factor)))
    return np.asarray(cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _correlate(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Correlation coefficient of two thumbnails; 0 if one is blank."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1.0 else 0.0
