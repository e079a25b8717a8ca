# SPDX-License-Identifier: Apache-2.0
"""Who is who: the instances of an answer and the tracks that ran when its image was taken.

Both are compared on that very image, within one expression, and paired for the best sum. Knows
neither images nor flow.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.geometry.instances import Instance, part_of
from mllmseg_ros.segmentation import Segmentation, Status
from mllmseg_ros.tracking.assignment import best_pairs

__all__ = ["Observation", "Track", "associate", "split_by_tracks"]

_MOSTLY = 0.6  # share of a thing that lies in another
_MIN_PX = 12  # of a part
_SAME_IOU = 0.15  # of a track and an answer that may be one
_NEAR_SIZES, _NEAR_SIZES_PER_S = 1.5, 1.0  # how far from where it was lost, in its own size

_NUMBERS = itertools.count(1)  # over all cameras of a process: an id is never used twice


@dataclass(eq=False)
class Track:
    """A target over several answers."""

    track_id: str
    expression: str
    seen_ns: int  # ns, when it was last shown
    centre_uv: NDArray[np.float64]  # px of the newest image; while lost, moved with the camera
    area_px: float
    part_of: Track | None  # what it was parted from, when it was first seen


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A track in an image that went to the model."""

    track: Track
    mask: NDArray[np.bool_] | None  # (H, W); None where it was lost
    centre_uv: NDArray[np.float64]  # px; while lost, where it would be


def split_by_tracks(
    instances: Sequence[Instance], observations: Sequence[Observation]
) -> list[Instance]:
    """Part what covers several tracks: things that touch in the image are still several.

    What was parted from another by something in front of it is one again where nothing is.

    Args:
        instances: of one answer, in the order asked.
        observations: on the same image.

    Returns:
        Instances without positions, each expression's largest first.
    """
    parts: dict[int, list[Segmentation]] = {}
    for one in instances:
        segmentation = one.segmentation
        covered = [
            each
            for each in observations
            if _shared(each, segmentation) > _MOSTLY * _area(each)
            and segmentation.status is Status.FOUND
        ]
        tracks = [each.track for each in covered]
        covered = [each for each in covered if each.track.part_of not in tracks]
        several = len(covered) > 1
        parts.setdefault(one.expression_index, []).extend(
            _nearest_parts(segmentation, covered) if several else [segmentation]
        )
    return [
        Instance(expression_index=index, instance_index=number, segmentation=part, position=None)
        for index, own in parts.items()
        for number, part in enumerate(sorted(own, key=lambda part: -part.area_px))
    ]


def associate(
    instances: Sequence[Instance], observations: Sequence[Observation], stamp_ns: int
) -> list[Track | None]:
    """Give each found instance a track: a running one, else a lost one, else a new one.

    Args:
        instances: of one answer.
        observations: on the same image.
        stamp_ns: ns, of that image.

    Returns:
        A track for each instance, None where nothing was found; new ones have no centre yet.
    """
    tracks: list[Track | None] = [None] * len(instances)
    found = [k for k, one in enumerate(instances) if one.segmentation.status is Status.FOUND]
    gain = np.array(
        [[_likeness(instances[k].segmentation, s, stamp_ns) for s in observations] for k in found]
    ).reshape(len(found), len(observations))
    for row, column in best_pairs(gain):
        tracks[found[row]] = observations[column].track
    for k in found:
        segmentation = instances[k].segmentation
        if tracks[k] is None:
            whole = (
                s for s in observations if _shared(s, segmentation) > _MOSTLY * segmentation.area_px
            )
            tracks[k] = Track(
                track_id=f"t{next(_NUMBERS)}",
                expression=segmentation.expression,
                seen_ns=stamp_ns,
                centre_uv=np.zeros(2),
                area_px=0.0,
                part_of=next((each.track for each in whole), None),
            )
    return tracks


def _nearest_parts(
    segmentation: Segmentation, observations: Sequence[Observation]
) -> list[Segmentation]:
    """Give each pixel of an answer to the track that it is nearest to."""
    masks = [each.mask for each in observations if each.mask is not None]
    away = [cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) for mask in masks]
    nearest = np.argmin(away, axis=0)
    parts = [segmentation.mask & (nearest == k) for k in range(len(masks))]
    return [part_of(segmentation, part) for part in parts if np.count_nonzero(part) >= _MIN_PX]


def _likeness(segmentation: Segmentation, observation: Observation, stamp_ns: int) -> float:
    """How much an answer is a track: IoU with it, and half of how near it is; 0 where it is not."""
    if segmentation.expression != observation.track.expression:
        return 0.0
    nearness = 0.5 * _nearness(segmentation, observation, stamp_ns)
    if observation.mask is None:
        return nearness
    both = _shared(observation, segmentation)
    iou = both / max(1, segmentation.area_px + _area(observation) - both)
    return nearness + (iou if iou >= _SAME_IOU else 0.0)


def _nearness(segmentation: Segmentation, observation: Observation, stamp_ns: int) -> float:
    """1 where a track was last, moved with the camera; 0 where it cannot have gone since."""
    away_s = max(0.0, (stamp_ns - observation.track.seen_ns) / 1e9)
    size_px = np.sqrt(max(observation.track.area_px, segmentation.area_px))
    reach_px = (_NEAR_SIZES + _NEAR_SIZES_PER_S * away_s) * size_px
    centre = np.array(segmentation.centroid_uv or (np.inf, np.inf))
    return max(0.0, 1 - float(np.linalg.norm(centre - observation.centre_uv)) / reach_px)


def _shared(observation: Observation, segmentation: Segmentation) -> int:
    """Pixels that an answer has in common with a track of the same expression."""
    if observation.mask is None or segmentation.expression != observation.track.expression:
        return 0
    return int(np.count_nonzero(observation.mask & segmentation.mask))


def _area(observation: Observation) -> int:
    return 0 if observation.mask is None else int(np.count_nonzero(observation.mask))
