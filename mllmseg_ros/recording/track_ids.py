# SPDX-License-Identifier: Apache-2.0
"""Assign track ids to the results of a recording, from masks alone.

The live node also tracks between two inferences (:mod:`mllmseg_ros.tracking.tracker`). Recordings
are segmented image by image, where masks suffice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mllmseg_ros.geometry.instances import Instance
from mllmseg_ros.tracking.association import Observation, Track, associate

__all__ = ["TrackIds"]

_MAX_LOST_NS = 5_000_000_000  # a target lost for longer gets a new track id


class TrackIds:
    """Assigns track ids to the instances of one camera, image by image."""

    def __init__(self, numbers: itertools.count[int]) -> None:
        """Start without tracks.

        Args:
            numbers: numbers for new tracks, shared by all cameras of a recording.
        """
        self._numbers = numbers
        self._track_ids: dict[str, str] = {}  # by Track.track_id, which is unique per process
        self._observations: list[Observation] = []
        self._shape: tuple[int, ...] = ()  # of the masks

    def assign(self, instances: Sequence[Instance], stamp_ns: int) -> list[Instance]:
        """Set the ``track_id`` of the next image's instances; "" for a target that is not found."""
        if instances and instances[0].segmentation.mask.shape != self._shape:
            # Nothing is known of where a target lies in images of another size.
            self._shape, self._observations = instances[0].segmentation.mask.shape, []
        tracks = associate(instances, self._observations, stamp_ns)
        assigned, current = [], []
        for instance, track in zip(instances, tracks, strict=True):
            if track is not None:
                current.append(_observe(track, instance, stamp_ns))
                if track.track_id not in self._track_ids:
                    self._track_ids[track.track_id] = f"t{next(self._numbers)}"
                instance = replace(instance, track_id=self._track_ids[track.track_id])
            assigned.append(instance)
        lost = [
            replace(observation, mask=None)
            for observation in self._observations
            if observation.track not in tracks
            and 0 <= stamp_ns - observation.track.seen_ns <= _MAX_LOST_NS
        ]
        self._observations = current + lost
        return assigned


def _observe(track: Track, instance: Instance, stamp_ns: int) -> Observation:
    """Update a track with its instance on the next image."""
    segmentation = instance.segmentation
    track.seen_ns = stamp_ns
    track.centre_uv = np.array(segmentation.centroid_uv or (np.inf, np.inf))
    track.area_px = float(segmentation.area_px)
    return Observation(track=track, mask=segmentation.mask, centre_uv=track.centre_uv)
