# SPDX-License-Identifier: Apache-2.0
"""Which instance is which over the results of a recording, by masks alone.

The live node also tracks the images between two inferences (:mod:`mllmseg_ros.tracking.tracker`); a
recording is segmented image by image, so the masks tell enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mllmseg_ros.geometry.instances import Instance
from mllmseg_ros.tracking.association import Observation, Track, associate

__all__ = ["TrackIds"]

_REGAIN_NS = 5_000_000_000  # so long a lost target can come back as the same


class TrackIds:
    """Gives the instances of one camera their track ids, image after image."""

    def __init__(self, numbers: itertools.count[int]) -> None:
        """Begin.

        Args:
            numbers: of the tracks of a recording, over all its cameras.
        """
        self._numbers = numbers
        self._names: dict[str, str] = {}  # by the track's own id, which counts over a process
        self._sightings: list[Observation] = []

    def name(self, instances: Sequence[Instance], stamp_ns: int) -> list[Instance]:
        """The instances of the next image with their ``track_id``, "" where nothing was found."""
        tracks = associate(instances, self._sightings, stamp_ns)
        named, running = [], []
        for instance, track in zip(instances, tracks, strict=True):
            if track is not None:
                running.append(_seen(track, instance, stamp_ns))
                if track.track_id not in self._names:
                    self._names[track.track_id] = f"t{next(self._numbers)}"
                instance = replace(instance, track_id=self._names[track.track_id])
            named.append(instance)
        lost = [
            replace(each, mask=None)
            for each in self._sightings
            if each.track not in tracks and 0 <= stamp_ns - each.track.seen_ns <= _REGAIN_NS
        ]
        self._sightings = running + lost
        return named


def _seen(track: Track, instance: Instance, stamp_ns: int) -> Observation:
    segmentation = instance.segmentation
    track.seen_ns = stamp_ns
    track.centre_uv = np.array(segmentation.centroid_uv or (np.inf, np.inf))
    track.area_px = float(segmentation.area_px)
    return Observation(track=track, mask=segmentation.mask, centre_uv=track.centre_uv)
