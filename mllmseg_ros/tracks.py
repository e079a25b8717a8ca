# SPDX-License-Identifier: Apache-2.0
"""A slow model at the camera's rate: its last answer, followed into the newest image.

    tracker = Tracker()
    tracker.see(frame)                          # each camera image, in order
    if tracker.wants_key_frame(frame.stamp_ns):  # asked while the model is free
        key = tracker.begin()                   # this image goes to the model
    ...                                         # the model answers, images go on being seen
    tracker.finish(key, segmentations)          # late: carried forward to the newest image
    tracker.current()                           # of the newest image, with identities

What cannot be followed is not shown, until the model has looked again. Not thread-safe: its caller
locks. Knows neither models nor ROS.

Entry points: :class:`Tracker`, :class:`Tracked`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.assignment import best_pairs
from mllmseg_ros.frame import Frame
from mllmseg_ros.instances import Depth, Instance, instances_of
from mllmseg_ros.piece import Carried, SoftMask
from mllmseg_ros.propagation import Change, ImageFlow
from mllmseg_ros.segmentation import Segmentation, Status, segmentation_of

FOREGROUND = 0.5  # a pixel belongs to the mask from this probability on
_LEAST_CONFIDENCE = 0.5  # below, a target is not shown
_LOW_CONFIDENCE = 0.8  # below, a key frame is asked for
_AREA_JUMP = 1.4  # times the area that the model saw, or one over that
_MIN_PX = 12
_MIN_LEFT = 0.1  # of the area that the model saw; less is as good as gone
_RIM_PX = 4  # how far around an instance its soft border reaches
_MOSTLY = 0.6  # share of a thing that lies in another
_SAME_IOU = 0.15  # of a track and an answer that may be one
_REGAIN_NS = 5_000_000_000  # so long a lost target can come back as the same
_NEAR_SIZES, _NEAR_SIZES_PER_S = 1.5, 1.0  # how far from where it was lost, in its own size

_IDS = itertools.count(1)  # over all cameras of a process: an id is never used twice


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """One instance of an answer, in the newest image."""

    expression_index: int  # place of the expression among those asked
    instance_index: int  # place among the expression's instances, as inferred
    segmentation: Segmentation  # in the newest image; of this instance alone
    track_id: str  # "" where the model found nothing
    confidence: float  # [0, 1] that it was followed rightly; 1 unless propagated
    propagated: bool  # False: inferred on the newest image itself
    inference_stamp_ns: int  # ns, of the image inferred on


@dataclass(eq=False)
class _Track:
    """A target over several answers."""

    track_id: str
    expression: str
    seen_ns: int  # when it was last shown
    centre_uv: NDArray[np.float64]  # px of the newest image; while lost, moved with the camera
    area_px: float
    part_of: _Track | None = None  # what it was parted from, when it was first seen


@dataclass(frozen=True, kw_only=True)
class _Then:
    """A track as it was when a key image was taken."""

    track: _Track
    mask: NDArray[np.bool_] | None  # (H, W) of the key image; None where it was lost
    centre_uv: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """One instance as the model gave it."""

    instance: Instance
    followed: bool  # False for what is not there
    track: _Track | None  # None for what is not found


@dataclass
class _KeyFrame:
    """An image that went to the model."""

    key: int
    stamp_ns: int
    then: list[_Then]
    shift_uv: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros(2)
    )  # px, camera's, since


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
        self._tracks: list[_Track] = []  # running and lost ones
        self._shown: _KeyFrame | None = None  # whose answers are shown
        self._asked: _KeyFrame | None = None  # at the model
        self._answers: list[_Answer] = []  # to the shown key frame
        self._current: list[Tracked] | None = None  # worked out for the newest image
        self._jumped = False  # since the last key frame was taken

    @property
    def newest(self) -> Frame | None:
        """The image that was seen last; the one that :meth:`begin` is about."""
        return self._newest

    @property
    def n_flows(self) -> int:
        """How many images flow was computed for."""
        return self._flow.n_flows

    def see(self, frame: Frame, depth: Depth | None = None) -> Change:
        """Take the camera's next image.

        Args:
            frame: later than the one before.
            depth: of that image, where there is any.

        Returns:
            NONE for the same picture, which costs nothing more; JUMPED where nothing of the last
            one can be followed.
        """
        change = self._flow.see(frame.rgb, None if depth is None else depth.metres)
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

    def begin(self) -> int:
        """Note that the newest image goes to the model now; one image at a time does.

        Returns:
            The number to hand to :meth:`finish`.

        Raises:
            ValueError: if no image was seen.
        """
        if self._newest is None:
            raise ValueError("no image was seen, expected see() before begin()")
        shown = {
            each.track_id: each.segmentation.mask
            for each in self.current()
            if each.track_id and each.segmentation.area_px
        }
        self._tracks = [t for t in self._tracks if self._newest.stamp_ns - t.seen_ns <= _REGAIN_NS]
        then = [
            _Then(track=track, mask=shown.get(track.track_id), centre_uv=track.centre_uv)
            for track in self._tracks
        ]
        key = self._flow.mark()
        self._asked = _KeyFrame(key=key, stamp_ns=self._newest.stamp_ns, then=then)
        self._jumped = False
        self._let_go()
        return key

    def finish(
        self, key: int, segmentations: Sequence[Segmentation], depth: Depth | None = None
    ) -> bool:
        """Take the model's answers, however late; from now on they are shown.

        Args:
            key: from :meth:`begin`. The last key may be finished again: a new command may be
                answered on the image that was looked at last.
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
        instances = _parted(instances_of(segmentations, depth), asked.then)
        soft = [_soft(one, instances) for one in instances]
        if not self._flow.follow(key, [mask for mask in soft if mask is not None]):
            return False
        tracks = self._identified(instances, asked)
        self._answers = [
            _Answer(instance=one, followed=mask is not None, track=track)
            for one, mask, track in zip(instances, soft, tracks, strict=True)
        ]
        asked.then = [
            _Then(track=track, mask=one.segmentation.mask, centre_uv=_centre(one.segmentation))
            for one, track in zip(instances, tracks, strict=True)
            if track is not None
        ] + [t for t in asked.then if t.track not in tracks and t.track in self._tracks]
        self._shown = asked
        if self._asked is asked:
            self._asked = None
        self._current = None
        self._let_go()
        return True

    def current(self) -> Sequence[Tracked]:
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

    def wants_key_frame(self, now_ns: int) -> str:
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
            if answer.track is None:
                continue
            if each.confidence < _LOW_CONFIDENCE:
                return f"{each.segmentation.expression}: followed with confidence {each.confidence:.2f}"
            was, now = answer.instance.segmentation.area_px, each.segmentation.area_px
            if not was / _AREA_JUMP <= now <= was * _AREA_JUMP:
                return f"{each.segmentation.expression}: {now} px, was {was} px"
        return ""

    def release(self) -> None:
        """Show nothing any more, for another command came; its answers may be the same targets."""
        self._answers, self._shown, self._current = [], None, None
        self._let_go()

    def forget(self) -> None:
        """Forget images, answers and identities, because time has jumped."""
        self.release()
        self._tracks, self._asked, self._newest = [], None, None
        self._flow.forget()

    def _let_go(self) -> None:
        self._flow.keep(*(k.key for k in (self._shown, self._asked) if k))

    def _followed(self, shown: _KeyFrame) -> list[Tracked]:
        """Every answer in the newest image."""
        assert self._newest is not None
        n_steps = self._flow.n_steps(shown.key)
        # A picture like the key image needs nothing sampled, one after a jump has nothing to sample.
        carried = iter(self._flow.carried() if n_steps else ())
        tracked = []
        for answer in self._answers:
            segmentation, confidence = answer.instance.segmentation, 1.0
            if n_steps != 0 and answer.followed:
                found = next(carried, None)
                confidence = found.confidence if found else 0.0
                segmentation = _moved(segmentation, found, self._newest.rgb.shape[:2])
            track = answer.track
            if track is not None and segmentation.status is Status.FOUND:
                track.seen_ns = self._newest.stamp_ns
                track.centre_uv = _centre(segmentation)
                track.area_px = float(segmentation.area_px)
            tracked.append(
                Tracked(
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

    def _identified(self, instances: Sequence[Instance], asked: _KeyFrame) -> list[_Track | None]:
        """Give each found instance a track: a running one, else a lost one, else a new one."""
        assert self._newest is not None
        tracks: list[_Track | None] = [None] * len(instances)
        found = [k for k, one in enumerate(instances) if one.segmentation.status is Status.FOUND]
        gain = np.array(
            [
                [_likeness(instances[k].segmentation, then, asked.stamp_ns) for then in asked.then]
                for k in found
            ]
        ).reshape(len(found), len(asked.then))
        for row, column in best_pairs(gain):
            tracks[found[row]] = asked.then[column].track
        found = [k for k in found if tracks[k] is None]
        for k in found:
            tracks[k] = _Track(
                track_id=f"t{next(_IDS)}",
                expression=instances[k].segmentation.expression,
                seen_ns=asked.stamp_ns,
                centre_uv=np.zeros(2),
                area_px=0.0,
                part_of=_whole_of(instances[k].segmentation, asked.then),
            )
        for one, track in zip(instances, tracks, strict=True):
            if track is not None:
                track.seen_ns = max(track.seen_ns, asked.stamp_ns)
                track.centre_uv = _centre(one.segmentation) + asked.shift_uv
                track.area_px = float(one.segmentation.area_px)
        running = [track for track in tracks if track is not None]
        lost = [then.track for then in asked.then if then.track not in running]
        self._tracks = running + lost
        return tracks


def _moved(
    inferred: Segmentation, carried: Carried | None, size_hw: tuple[int, ...]
) -> Segmentation:
    """An answer as it is in the newest image (H, W); empty where it could not be followed."""
    probability = np.zeros(size_hw, np.float32)
    if carried is not None and carried.confidence >= _LEAST_CONFIDENCE:
        probability = carried.probability
    mask = probability >= FOREGROUND
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    if np.count_nonzero(mask[box]) < max(_MIN_PX, _MIN_LEFT * inferred.area_px):
        nothing = np.zeros(size_hw, np.float32)
        return segmentation_of(
            inferred.expression,
            Status.LOW_CONFIDENCE,
            inferred.score,
            0.0,
            nothing,
            np.zeros(size_hw, np.bool_),
        )
    mask_score = float(probability[box][mask[box]].mean())
    return segmentation_of(
        inferred.expression, inferred.status, inferred.score, mask_score, probability, mask
    )


def _parted(instances: Sequence[Instance], then: Sequence[_Then]) -> list[Instance]:
    """Part what covers several tracks: things that touch in the image are still several.

    What was parted from another by something in front of it is one again where nothing is.
    """
    parted: list[list[Segmentation]] = [[] for _ in range(1 + instances[-1].expression_index)]
    for one in instances:
        segmentation = one.segmentation
        covered = [t for t in then if _mostly_inside(t, segmentation)]
        tracks = {id(t.track) for t in covered}
        covered = [
            t for t in covered if t.track.part_of is None or id(t.track.part_of) not in tracks
        ]
        parts = _nearest_parts(segmentation, covered) if len(covered) > 1 else [segmentation]
        parted[one.expression_index] += parts
    return [
        Instance(expression_index=index, instance_index=number, segmentation=part, position=None)
        for index, parts in enumerate(parted)
        for number, part in enumerate(sorted(parts, key=lambda part: -part.area_px))
    ]


def _mostly_inside(then: _Then, segmentation: Segmentation) -> bool:
    """Whether most of a running track lies in an answer to the same expression."""
    if then.mask is None or then.mask.shape != segmentation.mask.shape:
        return False
    if segmentation.status is not Status.FOUND:
        return False
    if segmentation.expression != then.track.expression:
        return False
    inside = np.count_nonzero(then.mask & segmentation.mask)
    return inside > _MOSTLY * np.count_nonzero(then.mask)


def _whole_of(segmentation: Segmentation, then: Sequence[_Then]) -> _Track | None:
    """The running track that most of a new thing was in."""
    for each in then:
        if each.mask is None or each.mask.shape != segmentation.mask.shape:
            continue
        if segmentation.expression != each.track.expression:
            continue
        if np.count_nonzero(each.mask & segmentation.mask) > _MOSTLY * segmentation.area_px:
            return each.track
    return None


def _nearest_parts(segmentation: Segmentation, tracks: Sequence[_Then]) -> list[Segmentation]:
    """Give each pixel of an answer to the track that it is nearest to."""
    away = np.stack(
        [
            cv2.distanceTransform((~then.mask).astype(np.uint8), cv2.DIST_L2, 3)
            for then in tracks
            if then.mask is not None
        ]
    )
    nearest = away.argmin(axis=0)
    parts = [segmentation.mask & (nearest == k) for k in range(len(away))]
    return [
        segmentation_of(
            segmentation.expression,
            segmentation.status,
            segmentation.score,
            float(segmentation.probability[part].mean()),
            segmentation.probability,
            part,
        )
        for part in parts
        if np.count_nonzero(part) >= _MIN_PX
    ]


def _likeness(segmentation: Segmentation, then: _Then, stamp_ns: int) -> float:
    """How much an answer is a track: IoU with it, and half of how near it is; 0 where it is not."""
    if segmentation.expression != then.track.expression:
        return 0.0
    return _overlap(segmentation, then) + 0.5 * _nearness(segmentation, then, stamp_ns)


def _overlap(segmentation: Segmentation, then: _Then) -> float:
    """IoU with a running track; 0 where it is too little to count."""
    if then.mask is None or then.mask.shape != segmentation.mask.shape:
        return 0.0
    both = int((segmentation.mask & then.mask).sum())
    iou = both / max(1, segmentation.area_px + int(then.mask.sum()) - both)
    return iou if iou >= _SAME_IOU else 0.0


def _nearness(segmentation: Segmentation, then: _Then, stamp_ns: int) -> float:
    """1 where a track was last, moved with the camera; 0 where it cannot have gone since."""
    away_s = max(0.0, (stamp_ns - then.track.seen_ns) / 1e9)
    size_px = np.sqrt(max(then.track.area_px, segmentation.area_px))
    reach_px = (_NEAR_SIZES + _NEAR_SIZES_PER_S * away_s) * size_px
    distance = float(np.linalg.norm(_centre(segmentation) - then.centre_uv))
    return max(0.0, 1 - distance / reach_px)


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
