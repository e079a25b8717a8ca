# SPDX-License-Identifier: Apache-2.0
"""One image of a camera with all that belongs to it, converted once by whoever looks first.

Entry points: :class:`Shot`, :func:`locate`, :func:`locate_tracks`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mllmseg_ros.frame import Frame
from mllmseg_ros.instances import Depth, Instance, Located, instances_of
from mllmseg_ros.position import locate as position_of
from mllmseg_ros.ros.image_msgs import nanoseconds
from mllmseg_ros.segmentation import Segmentation, Status
from mllmseg_ros.tracks import Tracked


class Shot:
    """An image message; several threads may look at it."""

    def __init__(
        self,
        message: Image | CompressedImage,
        to_frame: Callable[[Image | CompressedImage], Frame],
        depth_of: Callable[[Frame], Depth | None],
    ) -> None:
        """Wrap a message; nothing is converted yet.

        Args:
            message: as it came.
            to_frame: converts it; raises ValueError for a malformed one.
            depth_of: finds its depth; raises ValueError saying why there is none.
        """
        self._message, self._to_frame, self._depth_of = message, to_frame, depth_of
        self._lock = threading.Lock()
        self._frame: Frame | None = None
        self._depth: Depth | None = None
        self._no_depth: str | None = None  # why there is none; None: not looked for yet

    @property
    def header(self) -> Header:
        """Stamp and frame_id as they came."""
        return self._message.header

    @property
    def stamp_ns(self) -> int:
        """When it was taken, ns."""
        return nanoseconds(self._message.header.stamp)

    @property
    def is_compressed(self) -> bool:
        """Whether it came compressed."""
        return isinstance(self._message, CompressedImage)

    def frame(self) -> Frame:
        """What it shows.

        Raises:
            ValueError: if the message is malformed.
        """
        with self._lock:
            if self._frame is None:
                self._frame = self._to_frame(self._message)
            return self._frame

    def depth(self) -> Depth | None:
        """Its depth; None where nobody publishes any.

        Raises:
            ValueError: saying why there is none for this image.
        """
        frame = self.frame()
        with self._lock:
            if self._no_depth is None:
                self._no_depth = ""
                try:
                    self._depth = self._depth_of(frame)
                except ValueError as error:
                    self._no_depth = str(error)
            if self._no_depth:
                raise ValueError(self._no_depth)
            return self._depth


def locate_tracks(shot: Shot, tracks: Sequence[Tracked]) -> Located:
    """Measure what was followed into an image, where that has depth."""
    depth, note = None, ""
    if any(each.segmentation.status is Status.FOUND for each in tracks):
        try:
            depth = shot.depth()
        except ValueError as error:
            note = f"no position: {error}"
    instances = []
    for each in tracks:
        one, position = each.segmentation, None
        if depth is not None and one.status is Status.FOUND and one.inside_uv:
            position = position_of(one.mask, depth.metres, depth.intrinsics, one.inside_uv)
        instances.append(
            Instance(
                expression_index=each.expression_index,
                instance_index=each.instance_index,
                segmentation=one,
                position=position,
                track_id=each.track_id,
                inferred_ns=each.inference_stamp_ns if each.propagated else None,
            )
        )
    return Located(instances=instances, depth=depth, note=note)


def locate(shot: Shot, segmentations: Sequence[Segmentation]) -> Located:
    """Part every found answer into its instances, and measure them where there is depth.

    Without depth an answer stays two-dimensional, and its note says why.
    """
    if not any(each.status is Status.FOUND for each in segmentations):
        return Located(instances=instances_of(segmentations))
    try:
        depth = shot.depth()
        return Located(instances=instances_of(segmentations, depth), depth=depth)
    except ValueError as error:
        return Located(instances=instances_of(segmentations), note=f"no position: {error}")
