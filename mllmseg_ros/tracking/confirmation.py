# SPDX-License-Identifier: Apache-2.0
"""The number of instances of an expression, with the memory that decisions have.

Now and then a model shows one thing as two, two as one, or something else beside them.
A new instance counts, and one that is no longer shown is dropped, after several inferences in a
row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mllmseg_ros.geometry.instances import Instance
from mllmseg_ros.segmentation import Segmentation, Status, replace_mask
from mllmseg_ros.tracking.association import (
    Observation,
    Track,
    associate,
    find_merged,
    is_covered,
    split_by_tracks,
)

__all__ = ["TrackedPart", "confirm_instances", "forget_confirmations", "merge_parts"]


@dataclass(frozen=True, kw_only=True)
class TrackedPart:
    """An instance of an inference, or a part of one that does not count as an instance yet."""

    instance: Instance
    track: Track | None  # None for what was not found
    is_instance: bool  # False: not confirmed yet


def confirm_instances(
    instances: Sequence[Instance],
    observations: Sequence[Observation],
    stamp_ns: int,
    n_confirm: int,
) -> list[TrackedPart]:
    """Assign the instances of an inference to tracks, and decide which of them count.

    All count where no instance of their expression did before: in the first result of a command,
    after a cut, and when it is found again.

    Args:
        instances: of one inference, not split by tracks, in the order of the expressions.
        observations: of the tracks on the same image.
        stamp_ns: ns, of that image.
        n_confirm: inferences in a row that have to agree; 1: each decides by itself.

    Returns:
        For each expression its instances, the largest first, among them those that this inference
        did not show and the last one did; then the parts that do not count yet.
    """
    counted = {
        each.track for each in observations if each.track.is_confirmed and each.mask is not None
    }
    split = split_by_tracks(
        instances, observations, _keep_split(instances, observations, n_confirm)
    )
    tracks = associate(split, observations, stamp_ns)
    expressions = {track.expression for track in counted}
    for track in tracks:
        if track is not None:
            track.n_seen, track.n_missed = track.n_seen + 1, 0
            track.is_confirmed |= track.n_seen >= n_confirm or track.expression not in expressions
    held = []
    for observation in observations:
        track = observation.track
        if track in tracks:
            continue
        track.n_seen, track.n_missed = 0, track.n_missed + 1
        like = _find_like(track, split)
        is_held = like is not None and track in counted and track.n_missed < n_confirm
        if like is not None and is_held and not is_covered(observation, split):
            held.append((_hold(observation, like), track))
        else:
            track.is_confirmed = False
    return _arrange([*zip(split, tracks, strict=True), *held])


def forget_confirmations(tracks: Sequence[Track]) -> None:
    """Have the next inference decide by itself, in another scene or for another command."""
    for track in tracks:
        track.is_confirmed, track.n_seen, track.n_missed, track.n_merged = False, 0, 0, 0


def merge_parts(
    parts: Sequence[TrackedPart], segmentations: Sequence[Segmentation]
) -> list[Segmentation]:
    """Give the parts that do not count yet back to the instances that they were split from.

    Args:
        parts: of :func:`confirm_instances`.
        segmentations: of the parts, on the same or on a later image.

    Returns:
        The segmentations of those parts that are instances.
    """
    owners = {part.track: index for index, part in enumerate(parts) if part.track is not None}
    merged = list(segmentations)
    for part, segmentation in zip(parts, segmentations, strict=True):
        origin = None if part.track is None else part.track.split_from
        if part.is_instance or origin not in owners or segmentation.status is not Status.FOUND:
            continue
        whole = merged[owners[origin]]
        if whole.status is Status.FOUND:
            merged[owners[origin]] = _unite(whole, segmentation)
    return [one for part, one in zip(parts, merged, strict=True) if part.is_instance]


def _keep_split(
    instances: Sequence[Instance], observations: Sequence[Observation], n_confirm: int
) -> list[Track]:
    """Count how often tracks were shown as one; return those that stay apart for now."""
    merged = find_merged(instances, observations)
    for observation in observations:
        track = observation.track
        track.n_merged = track.n_merged + 1 if track in merged else 0
    return [track for track in merged if track.is_confirmed and track.n_merged < n_confirm]


def _find_like(track: Track, instances: Sequence[Instance]) -> Instance | None:
    """Return an instance that was found by the expression of a track."""
    return next(
        (
            each
            for each in instances
            if each.segmentation.status is Status.FOUND
            and each.segmentation.expression == track.expression
        ),
        None,
    )


def _hold(observation: Observation, like: Instance) -> Instance:
    """Return the instance of a track that the inference did not show, where it was tracked to."""
    assert observation.mask is not None
    one = like.segmentation
    probability = observation.mask.astype(np.float32)
    return replace(
        like, segmentation=replace_mask(one, observation.mask, probability, one.mask_score)
    )


def _arrange(pairs: Sequence[tuple[Instance, Track | None]]) -> list[TrackedPart]:
    """Sort and number the instances of each expression."""
    parts: list[TrackedPart] = []
    for index in sorted({instance.expression_index for instance, _ in pairs}):
        own = [pair for pair in pairs if pair[0].expression_index == index]
        own.sort(key=lambda pair: -pair[0].segmentation.area_px)
        counting = [pair for pair in own if pair[1] is None or pair[1].is_confirmed] or own
        for number, (instance, track) in enumerate(counting):
            if track is not None:
                track.is_confirmed = True
            numbered = replace(instance, instance_index=number)
            parts.append(TrackedPart(instance=numbered, track=track, is_instance=True))
        parts += [
            TrackedPart(instance=instance, track=track, is_instance=False)
            for instance, track in own
            if track is not None and not track.is_confirmed
        ]
    return parts


def _unite(whole: Segmentation, part: Segmentation) -> Segmentation:
    """Add the mask of a part."""
    probability = np.maximum(whole.probability, part.probability)
    mask = whole.mask | part.mask
    return replace_mask(whole, mask, probability, float(probability[mask].mean()))
