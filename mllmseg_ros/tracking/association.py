# SPDX-License-Identifier: Apache-2.0
"""Associate the instances of an inference with tracks, on the image inferred on.

Instances and tracks are compared within one expression and assigned so that the sum of match scores
is largest. Knows neither images nor optical flow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mllmseg_ros.geometry.instances import Instance, restrict_to_part
from mllmseg_ros.segmentation import Segmentation, Status

__all__ = [
    "Observation",
    "Track",
    "assign_pairs",
    "associate",
    "find_merged",
    "is_covered",
    "split_by_tracks",
]

_COVERED_SHARE = 0.6  # of a mask's area: from here on it counts as covered by another mask
_MIN_PX = 12  # of a part
_MIN_IOU = 0.15  # of a track and an instance that may be the same
# How far from its last position a lost track may be found, in multiples of its own size.
_REACH_SIZES, _REACH_SIZES_PER_S = 1.5, 1.0

_NUMBERS = itertools.count(1)  # over all cameras of a process: an id is never reused


@dataclass(eq=False)
class Track:
    """A target over several inferences."""

    track_id: str
    expression: str
    seen_ns: int  # ns, when it was last visible
    centre_uv: NDArray[np.float64]  # px of the newest image; while lost, moved with the camera
    area_px: float
    split_from: Track | None  # the track whose mask contained it when it was first seen
    # Of the inferences up to the last one, in a row: those that
    n_seen: int = 0  # have shown it,
    n_missed: int = 0  # have not shown it,
    n_merged: int = 0  # have shown it and the track that it was split from as one.
    is_confirmed: bool = False  # it counts as an instance of its own


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A track on a key image."""

    track: Track
    mask: NDArray[np.bool_] | None  # (H, W); None while lost
    centre_uv: NDArray[np.float64]  # px; while lost, the predicted position


def split_by_tracks(
    instances: Sequence[Instance],
    observations: Sequence[Observation],
    kept: Container[Track] = (),
) -> list[Instance]:
    """Split instances that cover several tracks: things that touch in the image.

    Tracks that were split from one another because of an occluder are merged when it is gone.

    Args:
        instances: of one inference, in the order of the expressions.
        observations: of the tracks on the same image.
        kept: tracks that are not merged yet.

    Returns:
        Instances without positions, the largest of each expression first.
    """
    parts: dict[int, list[Segmentation]] = {}
    for instance in instances:
        segmentation = instance.segmentation
        covered = _find_covered(segmentation, observations)
        tracks = [each.track for each in covered]
        covered = [
            each for each in covered if each.track.split_from not in tracks or each.track in kept
        ]
        parts.setdefault(instance.expression_index, []).extend(
            _split_by_nearest(segmentation, covered) if len(covered) > 1 else [segmentation]
        )
    return [
        Instance(expression_index=index, instance_index=number, segmentation=part, position=None)
        for index, segmentations in parts.items()
        for number, part in enumerate(sorted(segmentations, key=lambda part: -part.area_px))
    ]


def find_merged(instances: Sequence[Instance], observations: Sequence[Observation]) -> list[Track]:
    """Return the tracks that an inference shows as one with the track that they were split from.

    Args:
        instances: of the inference, not split by tracks.
        observations: of the tracks on the same image.
    """
    merged = []
    for instance in instances:
        tracks = [each.track for each in _find_covered(instance.segmentation, observations)]
        merged += [track for track in tracks if track.split_from in tracks]
    return merged


def is_covered(observation: Observation, instances: Sequence[Instance]) -> bool:
    """Whether instances of its expression show most of what a track shows."""
    shared = (_intersection_px(observation, each.segmentation) for each in instances)
    return sum(shared) > _COVERED_SHARE * _area_px(observation)


def associate(
    instances: Sequence[Instance], observations: Sequence[Observation], stamp_ns: int
) -> list[Track | None]:
    """Assign a track to each found instance: a visible one, a lost one, or a new one.

    Args:
        instances: of one inference.
        observations: of the tracks on the same image.
        stamp_ns: ns, of that image.

    Returns:
        A track per instance, None where nothing was found; new tracks have no centre yet.
    """
    tracks: list[Track | None] = [None] * len(instances)
    found = [k for k, each in enumerate(instances) if each.segmentation.status is Status.FOUND]
    scores = np.array(
        [
            [_match_score(instances[k].segmentation, o, stamp_ns) for o in observations]
            for k in found
        ]
    ).reshape(len(found), len(observations))
    for row, column in assign_pairs(scores):
        tracks[found[row]] = observations[column].track
    for k in found:
        segmentation = instances[k].segmentation
        if tracks[k] is None:
            containing = (
                each
                for each in observations
                if _intersection_px(each, segmentation) > _COVERED_SHARE * segmentation.area_px
            )
            tracks[k] = Track(
                track_id=f"t{next(_NUMBERS)}",
                expression=segmentation.expression,
                seen_ns=stamp_ns,
                centre_uv=np.zeros(2),
                area_px=0.0,
                split_from=next((each.track for each in containing), None),
            )
    return tracks


def assign_pairs(scores: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pair rows with columns, each at most once, so that the sum of scores is largest.

    Args:
        scores: (N, M), 0 or more; a pair with score 0 is left out.

    Returns:
        Pairs (row, column), sorted by row.
    """
    rows, columns = linear_sum_assignment(scores, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [pair for pair in pairs if scores[pair] > 0]


def _find_covered(
    segmentation: Segmentation, observations: Sequence[Observation]
) -> list[Observation]:
    """Return the tracks that lie, for the most part, in a segmentation that was found."""
    if segmentation.status is not Status.FOUND:
        return []
    return [
        each
        for each in observations
        if _intersection_px(each, segmentation) > _COVERED_SHARE * _area_px(each)
    ]


def _split_by_nearest(
    segmentation: Segmentation, observations: Sequence[Observation]
) -> list[Segmentation]:
    """Split a segmentation: each pixel belongs to the track whose mask is nearest."""
    masks = [each.mask for each in observations if each.mask is not None]
    distances = [cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) for mask in masks]
    nearest = np.argmin(distances, axis=0)
    parts = [segmentation.mask & (nearest == k) for k in range(len(masks))]
    return [
        restrict_to_part(segmentation, part, segmentation.box_xyxy)
        for part in parts
        if np.count_nonzero(part) >= _MIN_PX
    ]


def _match_score(segmentation: Segmentation, observation: Observation, stamp_ns: int) -> float:
    """IoU of an instance and a track plus half their proximity; 0 where they cannot be the same."""
    if segmentation.expression != observation.track.expression:
        return 0.0
    proximity = 0.5 * _proximity(segmentation, observation, stamp_ns)
    if observation.mask is None:
        return proximity
    both = _intersection_px(observation, segmentation)
    iou = both / max(1, segmentation.area_px + _area_px(observation) - both)
    return proximity + (iou if iou >= _MIN_IOU else 0.0)


def _proximity(segmentation: Segmentation, observation: Observation, stamp_ns: int) -> float:
    """1 at a track's last position, moved with the camera; 0 where it is out of reach."""
    lost_s = max(0.0, (stamp_ns - observation.track.seen_ns) / 1e9)
    size_px = math.sqrt(max(observation.track.area_px, segmentation.area_px))
    reach_px = (_REACH_SIZES + _REACH_SIZES_PER_S * lost_s) * size_px
    centre = np.array(segmentation.centroid_uv or (np.inf, np.inf))
    return max(0.0, 1 - float(np.linalg.norm(centre - observation.centre_uv)) / reach_px)


def _intersection_px(observation: Observation, segmentation: Segmentation) -> int:
    """Pixels that a segmentation shares with a track of the same expression."""
    if observation.mask is None or segmentation.expression != observation.track.expression:
        return 0
    return int(np.count_nonzero(observation.mask & segmentation.mask))


def _area_px(observation: Observation) -> int:
    return 0 if observation.mask is None else int(np.count_nonzero(observation.mask))
