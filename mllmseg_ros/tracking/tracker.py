# SPDX-License-Identifier: Apache-2.0
"""A slow model at the camera's rate: its last answer, followed into the newest image.

    tracker = Tracker()
    tracker.update(frame)                          # each camera image, in order
    if tracker.needs_key_frame(frame.stamp_ns):  # asked while the model is free
        key = tracker.begin_inference()                   # this image goes to the model
    ...                                         # the model answers, images go on being seen
    tracker.finish_inference(key, segmentations)  # late: carried to the newest image
    tracker.current()                           # of the newest image, with identities

What cannot be followed is not shown, until the model has looked again. Not thread-safe: its caller
locks. Knows neither models nor ROS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth, Instance, parts_of
from mllmseg_ros.segmentation import Segmentation, Status, segmentation_of
from mllmseg_ros.tracking.association import Observation, Track, associate, split_by_tracks
from mllmseg_ros.tracking.optical_flow import Change, ImageFlow
from mllmseg_ros.tracking.region_tracker import PropagatedMask, SoftMask

__all__ = ["TrackedInstance", "Tracker"]

FOREGROUND = 0.5  # a pixel belongs to the mask from this probability on
_LEAST_CONFIDENCE = 0.5  # below, a target is not shown
_LOW_CONFIDENCE = 0.8  # below, a key frame is asked for
_AREA_JUMP = 1.4  # times the area that the model saw, or one over that
_MIN_PX = 12
_MIN_LEFT = 0.1  # of the area that the model saw; less is as good as gone
_RIM_PX = 4  # how far around an instance its soft border reaches
_REGAIN_NS = 5_000_000_000  # so long a lost target can come back as the same


@dataclass(frozen=True, kw_only=True)
class TrackedInstance:
    """One instance of an answer, in the newest image."""

    expression_index: int  # place of the expression among those asked
    instance_index: int  # place among the expression's instances, as inferred
    segmentation: Segmentation  # in the newest image; of this instance alone
    track_id: str  # "" where the model found nothing
    confidence: float  # [0, 1] that it was followed rightly; 1 unless propagated
    propagated: bool  # False: inferred on the newest image itself
    inference_stamp_ns: int  # ns, of the image inferred on


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """One instance as the model gave it."""

    instance: Instance
    followed: bool  # False for what is not there
    track: Track | None  # None for what is not found


@dataclass
class _KeyFrame:
    """An image that went to the model."""

    key: int
    stamp_ns: int
    observations: list[Observation]  # of the tracks, on it
    shift_uv: NDArray[np.float64]  # px, by how much most of the image has moved since


class Tracker:
    """Follows the answers to one command through the images of one camera."""

    def __init__(self, key_age_s: float = 1.0) -> None:
        """Start with nothing seen.

        Args:
            key_age_s: s, a moving picture is to be looked at again when the last look is this old.
        """
        self.key_age_s = key_age_s
        self._flow = ImageFlow()
        self._newest: Frame | None = None
        self._tracks: list[Track] = []  # running and lost ones
        self._shown: _KeyFrame | None = None  # whose answers are shown
        self._asked: _KeyFrame | None = None  # at the model
        self._answers: list[_Answer] = []  # to the shown key frame
        self._current: list[TrackedInstance] | None = None  # worked out for the newest image
        self._jumped = False  # since the last key frame was taken

    @property
    def newest(self) -> Frame | None:
        """The image that was seen last; the one that :meth:`begin_inference` is about."""
        return self._newest

    @property
    def n_flows(self) -> int:
        """How many images flow was computed for."""
        return self._flow.n_flows

    def update(self, frame: Frame, depth: Depth | None = None) -> Change:
        """Take the camera's next image.

        Args:
            frame: later than the one before.
            depth: of that image, where there is any.

        Returns:
            NONE for the same picture, which costs nothing more; JUMPED where nothing of the last
            one can be followed.
        """
        change = self._flow.update(frame.rgb, None if depth is None else depth.metres)
        self._newest = frame
        if change is Change.NONE:
            return change
        self._current = None
        if change is Change.JUMPED:
            self._jumped = True
        shift = np.array(self._flow.shift_uv)
        for track in self._tracks:
            track.centre_uv = track.centre_uv + shift
        for key in {id(k): k for k in (self._shown, self._asked) if k}.values():
            key.shift_uv = key.shift_uv + shift
        return change

    def begin_inference(self) -> int:
        """Note that the newest image goes to the model now; one image at a time does.

        Returns:
            The number to hand to :meth:`finish_inference`.

        Raises:
            ValueError: if no image was seen.
        """
        if self._newest is None:
            raise ValueError("no image was seen, expected update() before begin_inference()")
        shown = {
            each.track_id: each.segmentation.mask
            for each in self.current()
            if each.track_id and each.segmentation.area_px
        }
        self._tracks = [t for t in self._tracks if self._newest.stamp_ns - t.seen_ns <= _REGAIN_NS]
        key = self._flow.mark()
        self._asked = _KeyFrame(
            key=key,
            stamp_ns=self._newest.stamp_ns,
            observations=[
                Observation(track=track, mask=shown.get(track.track_id), centre_uv=track.centre_uv)
                for track in self._tracks
            ],
            shift_uv=np.zeros(2),
        )
        self._jumped = False
        self._let_go()
        return key

    def finish_inference(
        self, key: int, segmentations: Sequence[Segmentation], depth: Depth | None = None
    ) -> bool:
        """Take the model's answers, however late; from now on they are shown.

        Args:
            key: from :meth:`begin_inference`. The last key may be finished again: a new command
                may be answered on the key image of the last one.
            segmentations: one per expression, in the order asked.
            depth: of the key image, to part a mask into its instances.

        Returns:
            False where the answers came to nothing, because the picture has jumped, everything was
            forgotten, or a later image went to the model since.

        Raises:
            ValueError: if masks and depth differ in size.
        """
        asked = next((k for k in (self._asked, self._shown) if k and k.key == key), None)
        if asked is None:
            return False
        instances = split_by_tracks(parts_of(segmentations, depth), asked.observations)
        soft = [_soft(one, instances) for one in instances]
        if not self._flow.follow(key, [mask for mask in soft if mask is not None]):
            return False
        tracks = associate(instances, asked.observations, asked.stamp_ns)
        self._answers = [
            _Answer(instance=one, followed=mask is not None, track=track)
            for one, mask, track in zip(instances, soft, tracks, strict=True)
        ]
        lost = [each for each in asked.observations if each.track not in tracks]
        asked.observations = lost
        for answer in self._answers:
            track, segmentation = answer.track, answer.instance.segmentation
            if track is None:
                continue
            centre = _centre(segmentation)
            track.seen_ns = max(track.seen_ns, asked.stamp_ns)
            track.centre_uv, track.area_px = centre + asked.shift_uv, float(segmentation.area_px)
            asked.observations.append(
                Observation(track=track, mask=segmentation.mask, centre_uv=centre)
            )
        self._tracks = [each.track for each in asked.observations]
        self._shown = asked
        if self._asked is asked:
            self._asked = None
        self._current = None
        self._let_go()
        return True

    def current(self) -> Sequence[TrackedInstance]:
        """Answer for the newest image: at least one entry per expression, in the order asked.

        A found target that cannot be followed has status LOW_CONFIDENCE and an empty mask. Nothing
        before the first answer.
        """
        if self._newest is None or self._shown is None:
            return ()
        if self._current is None:
            self._current = self._followed(self._shown)
        if self._shown.stamp_ns != self._newest.stamp_ns:
            # The same picture at a later time was not inferred on either.
            self._current = [
                each if each.propagated else replace(each, propagated=True)
                for each in self._current
            ]
        return tuple(self._current)

    def needs_key_frame(self, now_ns: int) -> str:
        """Say why the newest image should go to the model, which is free; "" if it need not.

        Args:
            now_ns: ns, ROS time.
        """
        if self._newest is None:
            return ""
        if self._shown is None:
            return "nothing was answered yet"
        n_steps = self._flow.n_steps(self._shown.key)
        if self._jumped or n_steps is None:
            return "the picture jumped"
        if n_steps == 0:
            return ""
        age_s = (now_ns - self._shown.stamp_ns) / 1e9
        if age_s >= self.key_age_s:
            return f"the last look is {age_s:.2f} s old"
        for answer, each in zip(self._answers, self.current(), strict=True):
            what, was = each.segmentation.expression, answer.instance.segmentation.area_px
            now = each.segmentation.area_px
            if answer.track is None:
                continue
            if each.confidence < _LOW_CONFIDENCE:
                return f"{what}: followed with confidence {each.confidence:.2f}"
            if not was / _AREA_JUMP <= now <= was * _AREA_JUMP:
                return f"{what}: {now} px, was {was} px"
        return ""

    def clear(self) -> None:
        """Show nothing any more, for another command came; its answers may be the same targets."""
        self._answers, self._shown, self._current = [], None, None
        self._let_go()

    def reset(self) -> None:
        """Forget images, answers and identities, because time has jumped."""
        self.clear()
        self._tracks, self._asked, self._newest = [], None, None
        self._flow.reset()

    def _let_go(self) -> None:
        self._flow.keep(*(k.key for k in (self._shown, self._asked) if k))

    def _followed(self, shown: _KeyFrame) -> list[TrackedInstance]:
        """Every answer in the newest image."""
        assert self._newest is not None
        n_steps = self._flow.n_steps(shown.key)
        size_hw = (self._newest.rgb.shape[0], self._newest.rgb.shape[1])
        # Of a picture like the key image nothing is sampled, after a jump there is nothing.
        carried = iter(self._flow.carried() if n_steps else ())
        tracked = []
        for answer in self._answers:
            segmentation, confidence = answer.instance.segmentation, 1.0
            if n_steps != 0 and answer.followed:
                found = next(carried, None)
                confidence = found.confidence if found else 0.0
                segmentation = _moved(segmentation, found, size_hw)
            elif segmentation.mask.shape != size_hw:
                segmentation = _emptied(segmentation, segmentation.status, size_hw)
            track = answer.track
            if track is not None and segmentation.status is Status.FOUND:
                track.seen_ns = self._newest.stamp_ns
                track.centre_uv = _centre(segmentation)
                track.area_px = float(segmentation.area_px)
            tracked.append(
                TrackedInstance(
                    expression_index=answer.instance.expression_index,
                    instance_index=answer.instance.instance_index,
                    segmentation=segmentation,
                    track_id=track.track_id if track else "",
                    confidence=confidence,
                    propagated=n_steps != 0,
                    inference_stamp_ns=shown.stamp_ns,
                )
            )
        return tracked


def _moved(
    inferred: Segmentation, carried: PropagatedMask | None, size_hw: tuple[int, int]
) -> Segmentation:
    """An answer as it is in the newest image (H, W); empty where it could not be followed."""
    if carried is None or carried.confidence < _LEAST_CONFIDENCE:
        return _emptied(inferred, Status.LOW_CONFIDENCE, size_hw)
    probability = carried.probability
    mask = probability >= FOREGROUND
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    if np.count_nonzero(mask[box]) < max(_MIN_PX, _MIN_LEFT * inferred.area_px):
        return _emptied(inferred, Status.LOW_CONFIDENCE, size_hw)
    mask_score = float(probability[box][mask[box]].mean())
    return segmentation_of(
        inferred.expression, inferred.status, inferred.score, mask_score, probability, mask
    )


def _emptied(answer: Segmentation, status: Status, size_hw: tuple[int, int]) -> Segmentation:
    nothing = np.zeros(size_hw, np.float32)
    return segmentation_of(answer.expression, status, answer.score, 0.0, nothing, nothing > 0)


def _centre(segmentation: Segmentation) -> NDArray[np.float64]:
    return np.array(segmentation.centroid_uv or (np.inf, np.inf))


def _soft(one: Instance, instances: Sequence[Instance]) -> SoftMask | None:
    """An instance's own part of its answer's soft mask."""
    answer = one.segmentation
    if answer.status is Status.NO_TARGET or answer.box_xyxy is None:
        return None
    x0, y0, x1, y1 = answer.box_xyxy
    height, width = answer.mask.shape
    x0, y0 = max(0, x0 - _RIM_PX), max(0, y0 - _RIM_PX)
    x1, y1 = min(width, x1 + _RIM_PX), min(height, y1 + _RIM_PX)
    size = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
    own = cv2.dilate(answer.mask[y0:y1, x0:x1].astype(np.uint8), size) > 0
    for other in instances:
        if other is not one and other.expression_index == one.expression_index:
            own &= ~other.segmentation.mask[y0:y1, x0:x1]
    patch = np.where(own, answer.probability[y0:y1, x0:x1], np.float32(0))
    return SoftMask(patch=patch, origin_uv=(x0, y0))
