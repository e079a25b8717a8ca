# SPDX-License-Identifier: Apache-2.0
"""Propagate the results of a slow model to the newest image, at the camera's rate.

    tracker = Tracker()
    tracker.update(frame)                         # each camera image, in order
    if tracker.needs_key_image(frame.stamp_ns):   # while the model is idle
        key = tracker.begin_inference()           # the newest image becomes the key image
    ...                                           # the model runs, more images are tracked
    tracker.finish_inference(key, segmentations)  # a late result, propagated to the newest image
    tracker.current()                             # instances in the newest image, with track ids

Targets that cannot be tracked have no mask until the next inference. Not thread-safe: callers lock.
Knows neither models nor ROS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth, Instance, split_into_instances
from mllmseg_ros.geometry.splitting import EVERY_INSTANCE
from mllmseg_ros.segmentation import Segmentation, Status, replace_mask
from mllmseg_ros.tracking.association import Observation, Track
from mllmseg_ros.tracking.confirmation import (
    TrackedPart,
    confirm_instances,
    forget_confirmations,
    merge_parts,
)
from mllmseg_ros.tracking.decisions import DecisionRule, Decisions
from mllmseg_ros.tracking.optical_flow import ImageChange, MaskPropagator
from mllmseg_ros.tracking.region_tracker import PropagatedMask, SoftMask

__all__ = ["TrackedInstance", "Tracker"]

FOREGROUND = 0.5  # a pixel belongs to the mask from this probability on
_MIN_CONFIDENCE = 0.5  # below, a target counts as lost
_KEY_IMAGE_CONFIDENCE = 0.8  # below, a new key image is needed
_AREA_RATIO = 1.4  # to the area in the key image, and its inverse: beyond, a new one is needed
_MIN_PX = 12
_MIN_AREA_SHARE = 0.1  # of the area in the key image; with less a target counts as lost
_RIM_PX = 4  # width of the soft border around an instance
_MAX_LOST_NS = 5_000_000_000  # how long a lost target keeps its track id
_CONFIRM_AGE_S = 0.3  # after which an inference is to confirm a decision, also in a still image
_LOST = "lost since the last inference"
_EACH_BY_ITSELF = DecisionRule(confirm_inferences=1)


@dataclass(frozen=True, kw_only=True)
class TrackedInstance:
    """One instance of a result, in the newest image."""

    expression_index: int  # index of its expression in the command
    instance_index: int  # index among the expression's instances in the key image
    segmentation: Segmentation  # in the newest image; of this instance alone
    track_id: str  # "" where the model found nothing
    confidence: float  # [0, 1] of the tracking; 1 unless propagated
    propagated: bool  # False: the newest image is the key image itself
    inference_stamp_ns: int  # ns, of the key image


@dataclass(frozen=True, kw_only=True)
class _KeyPart:
    """One instance in the key image, or a part of one."""

    part: TrackedPart
    is_tracked: bool  # False for targets that are not there


@dataclass(frozen=True, kw_only=True)
class _PropagatedPart:
    """The same in the newest image."""

    part: TrackedPart
    segmentation: Segmentation
    confidence: float  # [0, 1] of the tracking


@dataclass
class _KeyImage:
    """An image that inference runs or ran on."""

    key: int
    stamp_ns: int
    observations: list[Observation]  # of the tracks in it
    shift_uv: NDArray[np.float64]  # px, median motion of the image since


class Tracker:
    """Tracks the results of one command through the images of one camera."""

    def __init__(self, key_age_s: float = 1.0) -> None:
        """Start without images.

        Args:
            key_age_s: s, maximum age of the key image while the scene moves.
        """
        self.key_age_s = key_age_s
        self.splitting = EVERY_INSTANCE
        self._decisions = Decisions()
        self._propagator = MaskPropagator()
        self._newest: Frame | None = None
        self._tracks: list[Track] = []  # visible and lost ones
        self._key_image: _KeyImage | None = None  # of the last result
        self._pending: _KeyImage | None = None  # inference is running on it
        self._key_parts: list[_KeyPart] = []  # of the last result
        self._propagated: list[_PropagatedPart] | None = None  # cached for the newest image
        self._current: list[TrackedInstance] | None = None  # likewise
        self._cut = False  # the scene was cut since the last key image

    @property
    def newest(self) -> Frame | None:
        """The last image, which :meth:`begin_inference` makes a key image."""
        return self._newest

    @property
    def n_flows(self) -> int:
        """Number of images that optical flow was computed for."""
        return self._propagator.n_flows

    def update(self, frame: Frame, depth: Depth | None = None) -> ImageChange:
        """Track into the camera's next image.

        Args:
            frame: later than the previous one.
            depth: of that image, if there is any.

        Returns:
            NONE for the same scene, which costs nothing more; CUT if nothing can be tracked into
            it.
        """
        change = self._propagator.update(frame.rgb, None if depth is None else depth.metres)
        self._newest = frame
        if change is ImageChange.NONE:
            return change
        self._propagated = self._current = None
        if change is ImageChange.CUT:
            self._cut = True
            self._decisions.scene_changed()
            forget_confirmations(self._tracks)
        shift = np.array(self._propagator.shift_uv)
        for track in self._tracks:
            track.centre_uv = track.centre_uv + shift
        for key_image in {id(k): k for k in (self._key_image, self._pending) if k}.values():
            key_image.shift_uv = key_image.shift_uv + shift
        return change

    def begin_inference(self) -> int:
        """Make the newest image the key image of an inference; one runs at a time.

        Returns:
            The key for :meth:`finish_inference`.

        Raises:
            ValueError: if there is no image.
        """
        if self._newest is None:
            raise ValueError("no image yet, expected update() before begin_inference()")
        masks = {
            each.part.track: each.segmentation.mask
            for each in self._propagate()
            if each.part.track is not None and each.segmentation.area_px
        }
        self._tracks = [
            t for t in self._tracks if self._newest.stamp_ns - t.seen_ns <= _MAX_LOST_NS
        ]
        key = self._propagator.set_key_image()
        self._pending = _KeyImage(
            key=key,
            stamp_ns=self._newest.stamp_ns,
            observations=[
                Observation(track=track, mask=masks.get(track), centre_uv=track.centre_uv)
                for track in self._tracks
            ],
            shift_uv=np.zeros(2),
        )
        self._cut = False
        self._drop_key_images()
        return key

    def finish_inference(
        self,
        key: int,
        segmentations: Sequence[Segmentation],
        depth: Depth | None = None,
        rule: DecisionRule = _EACH_BY_ITSELF,
    ) -> bool:
        """Track the result of an inference from now on, however late it is.

        Args:
            key: from :meth:`begin_inference`. The last key can be finished again, for a new command
                on the same key image.
            segmentations: one per expression, in the order of the command.
            depth: of the key image, to split masks into instances.
            rule: when decisions, and the number of instances, change; by default each inference
                decides by itself.

        Returns:
            False if the result was discarded: the scene was cut, the tracker was reset, or another
            inference has begun since.

        Raises:
            ValueError: if masks and depth differ in size.
        """
        key_image = next((k for k in (self._pending, self._key_image) if k and k.key == key), None)
        if key_image is None or self._propagator.n_steps(key) is None:
            return False
        parts = confirm_instances(
            split_into_instances(
                self._decisions.decide(segmentations, rule), depth, self.splitting
            ),
            key_image.observations,
            key_image.stamp_ns,
            rule.confirm_inferences,
        )
        instances, tracks = [each.instance for each in parts], [each.track for each in parts]
        soft_masks = [_make_soft_mask(each, instances) for each in instances]
        if not self._propagator.track(key, [mask for mask in soft_masks if mask is not None]):
            return False
        self._key_parts = [
            _KeyPart(part=part, is_tracked=mask is not None)
            for part, mask in zip(parts, soft_masks, strict=True)
        ]
        key_image.observations = [o for o in key_image.observations if o.track not in tracks]
        for each in parts:
            track, segmentation = each.track, each.instance.segmentation
            if track is None:
                continue
            centre = _centroid(segmentation)
            track.seen_ns = max(track.seen_ns, key_image.stamp_ns)
            track.centre_uv, track.area_px = (
                centre + key_image.shift_uv,
                float(segmentation.area_px),
            )
            key_image.observations.append(
                Observation(track=track, mask=segmentation.mask, centre_uv=centre)
            )
        self._tracks = [observation.track for observation in key_image.observations]
        self._key_image = key_image
        if self._pending is key_image:
            self._pending = None
        self._propagated = self._current = None
        self._drop_key_images()
        return True

    def current(self) -> Sequence[TrackedInstance]:
        """Return the instances in the newest image, at least one per expression, in their order.

        A target that was found but cannot be tracked has status LOW_CONFIDENCE and an empty mask.
        Empty before the first result.
        """
        if self._newest is None or self._key_image is None:
            return ()
        if self._current is None:
            self._current = self._show(self._key_image)
        if self._key_image.stamp_ns != self._newest.stamp_ns:
            # Nor did inference run on a later image of the same scene.
            self._current = [
                each if each.propagated else replace(each, propagated=True)
                for each in self._current
            ]
        return tuple(self._current)

    def needs_key_image(self, now_ns: int) -> str:
        """Decide whether the newest image needs inference; returns the reason, "" if not.

        Args:
            now_ns: ns, ROS time.
        """
        if self._newest is None:
            return ""
        if self._key_image is None:
            return "there is no result yet"
        n_steps = self._propagator.n_steps(self._key_image.key)
        if self._cut or n_steps is None:
            return "the scene was cut"
        age_s = (now_ns - self._key_image.stamp_ns) / 1e9
        is_later = self._newest.stamp_ns != self._key_image.stamp_ns
        if is_later and age_s >= _CONFIRM_AGE_S and not self._decisions.are_settled:
            return "a decision is to be confirmed"
        if n_steps == 0:
            return ""
        if age_s >= self.key_age_s:
            return f"the key image is {age_s:.2f} s old"
        for each in self._propagate():
            expression, area_px = each.segmentation.expression, each.segmentation.area_px
            key_area_px = each.part.instance.segmentation.area_px
            if each.part.track is None:
                continue
            if each.confidence < _KEY_IMAGE_CONFIDENCE:
                return f"{expression}: tracked with confidence {each.confidence:.2f}"
            if not key_area_px / _AREA_RATIO <= area_px <= key_area_px * _AREA_RATIO:
                return f"{expression}: {area_px} px, {key_area_px} px in the key image"
        return ""

    def clear(self) -> None:
        """Drop the result, for a new command; tracks are kept, as it may mean the same targets."""
        self._key_parts, self._key_image = [], None
        self._propagated = self._current = None
        self._decisions.reset()
        forget_confirmations(self._tracks)
        self._drop_key_images()

    def reset(self) -> None:
        """Drop images, results and tracks, after ROS time has jumped."""
        self.clear()
        self._tracks, self._pending, self._newest = [], None, None
        self._propagator.reset()

    def _drop_key_images(self) -> None:
        self._propagator.keep_key_images(*(k.key for k in (self._key_image, self._pending) if k))

    def _show(self, key_image: _KeyImage) -> list[TrackedInstance]:
        """Return what is published of the newest image."""
        propagated = self._propagate()
        parts = [each.part for each in propagated]
        merged = merge_parts(parts, [each.segmentation for each in propagated])
        instances = [each for each in propagated if each.part.is_instance]
        return [
            TrackedInstance(
                expression_index=each.part.instance.expression_index,
                instance_index=each.part.instance.instance_index,
                segmentation=segmentation,
                track_id=each.part.track.track_id if each.part.track else "",
                confidence=each.confidence,
                propagated=self._propagator.n_steps(key_image.key) != 0,
                inference_stamp_ns=key_image.stamp_ns,
            )
            for each, segmentation in zip(instances, merged, strict=True)
        ]

    def _propagate(self) -> list[_PropagatedPart]:
        """Propagate all parts of the key image to the newest image."""
        if self._propagated is not None:
            return self._propagated
        if self._newest is None or self._key_image is None:
            return []
        n_steps = self._propagator.n_steps(self._key_image.key)
        size_hw = (self._newest.rgb.shape[0], self._newest.rgb.shape[1])
        # In the same scene masks stay as they are; after a cut there are none.
        masks = iter(self._propagator.propagate() if n_steps else ())
        propagated = []
        for each in self._key_parts:
            segmentation, confidence = each.part.instance.segmentation, 1.0
            if n_steps != 0 and each.is_tracked:
                mask = next(masks, None)
                confidence = mask.confidence if mask else 0.0
                segmentation = _propagate_segmentation(segmentation, mask, size_hw)
            elif segmentation.mask.shape != size_hw:
                segmentation = _clear_mask(segmentation, size_hw)
            track = each.part.track
            if track is not None and segmentation.status is Status.FOUND:
                track.seen_ns = self._newest.stamp_ns
                track.centre_uv = _centroid(segmentation)
                track.area_px = float(segmentation.area_px)
            propagated.append(
                _PropagatedPart(part=each.part, segmentation=segmentation, confidence=confidence)
            )
        self._propagated = propagated
        return propagated


def _propagate_segmentation(
    segmentation: Segmentation, propagated: PropagatedMask | None, size_hw: tuple[int, int]
) -> Segmentation:
    """Replace the mask by the one in the newest image (H, W); empty if the target was lost."""
    if propagated is None or propagated.confidence < _MIN_CONFIDENCE:
        return _lose(segmentation, size_hw)
    x0, y0, x1, y1 = propagated.box
    probability = propagated.probability[y0:y1, x0:x1]
    inside = probability >= FOREGROUND
    if np.count_nonzero(inside) < max(_MIN_PX, _MIN_AREA_SHARE * segmentation.area_px):
        return _lose(segmentation, size_hw)
    mask = np.zeros(size_hw, np.bool_)
    mask[y0:y1, x0:x1] = inside
    mask_score = cv2.mean(probability, inside.view(np.uint8))[0]
    return replace_mask(
        segmentation, mask, propagated.probability, mask_score, within=propagated.box
    )


def _lose(segmentation: Segmentation, size_hw: tuple[int, int]) -> Segmentation:
    """Return a target that was found before, and is not known where in the newest image."""
    doubt = "; ".join(filter(None, (segmentation.doubt, _LOST)))
    return _clear_mask(segmentation, size_hw, Status.LOW_CONFIDENCE, doubt)


def _clear_mask(
    segmentation: Segmentation,
    size_hw: tuple[int, int],
    status: Status | None = None,
    doubt: str | None = None,
) -> Segmentation:
    return replace_mask(
        segmentation,
        np.zeros(size_hw, np.bool_),
        np.zeros(size_hw, np.float32),
        0.0,
        status=status,
        doubt=doubt,
        within=(0, 0, 0, 0),
    )


def _centroid(segmentation: Segmentation) -> NDArray[np.float64]:
    return np.array(segmentation.centroid_uv or (np.inf, np.inf))


def _make_soft_mask(instance: Instance, instances: Sequence[Instance]) -> SoftMask | None:
    """Cut an instance out of its expression's soft mask, without the expression's others."""
    segmentation = instance.segmentation
    if segmentation.status is Status.NO_TARGET or segmentation.box_xyxy is None:
        return None
    x0, y0, x1, y1 = segmentation.box_xyxy
    height, width = segmentation.mask.shape
    x0, y0 = max(0, x0 - _RIM_PX), max(0, y0 - _RIM_PX)
    x1, y1 = min(width, x1 + _RIM_PX), min(height, y1 + _RIM_PX)
    size = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
    support = cv2.dilate(segmentation.mask[y0:y1, x0:x1].view(np.uint8), size) > 0
    for other in instances:
        if other is not instance and other.expression_index == instance.expression_index:
            support &= ~other.segmentation.mask[y0:y1, x0:x1]
    probability = segmentation.probability_map.read((x0, y0, x1, y1))
    patch = np.where(support, probability, np.float32(0))
    return SoftMask(patch=patch, origin_uv=(x0, y0))
