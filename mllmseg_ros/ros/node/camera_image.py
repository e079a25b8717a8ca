# SPDX-License-Identifier: Apache-2.0
"""One image of a camera with all that belongs to it, converted once by whoever looks first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth, Instance, Located, OtherFrame, instances_of
from mllmseg_ros.geometry.localization import locate as position_of
from mllmseg_ros.geometry.localization import transformed
from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.segmentation import Segmentation, Status
from mllmseg_ros.tracking.tracker import Tracked

__all__ = ["Shot", "locate", "locate_tracks"]


class Shot:
    """An image message; several threads may look at it."""

    def __init__(
        self,
        message: Image | CompressedImage,
        to_frame: Callable[[Image | CompressedImage], Frame],
        depth_of: Callable[[Frame], Depth | None],
        other_frame_of: Callable[[Frame], OtherFrame | None],
    ) -> None:
        """Wrap a message; nothing is converted yet.

        Args:
            message: as it came.
            to_frame: converts it; raises ValueError for a malformed one.
            depth_of: finds its depth; raises ValueError saying why there is none.
            other_frame_of: finds the frame that positions are to be told in, None for its own;
                raises ValueError saying why there is no way there.
        """
        self._message, self._to_frame = message, to_frame
        self._depth_of, self._other_frame_of = depth_of, other_frame_of
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

    def other_frame(self) -> OtherFrame | None:
        """Frame that positions are to be told in; None for the camera's own.

        Raises:
            ValueError: saying why there is no way there.
        """
        return self._other_frame_of(self.frame())


def locate(shot: Shot, segmentations: Sequence[Segmentation]) -> Located:
    """Part every found answer into its instances, and measure them where there is depth.

    What is needed and missing, depth or a transform, costs the positions, and the note says why.
    """
    depth, note = _depth_for(shot, segmentations)
    return _told(shot, instances_of(segmentations, depth), depth, note)


def locate_tracks(shot: Shot, tracks: Sequence[Tracked]) -> Located:
    """Measure what was followed into an image, where that has depth."""
    depth, note = _depth_for(shot, [each.segmentation for each in tracks])
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
    return _told(shot, instances, depth, note)


def _depth_for(shot: Shot, segmentations: Sequence[Segmentation]) -> tuple[Depth | None, str]:
    """Depth, where something was found; and why there is none."""
    if not any(each.status is Status.FOUND for each in segmentations):
        return None, ""
    try:
        return shot.depth(), ""
    except ValueError as error:
        return None, f"no position: {error}"


def _told(shot: Shot, instances: Sequence[Instance], depth: Depth | None, note: str) -> Located:
    """Tell positions in the frame that is asked for."""
    if depth is None:
        return Located(instances=instances, note=note)
    try:
        frame = shot.other_frame()
    except ValueError as error:
        unplaced = [replace(each, position=None) for each in instances]
        return Located(instances=unplaced, note=f"no position: {error}")
    if frame is not None:
        instances = [
            each
            if each.position is None
            else replace(each, position=transformed(each.position, frame.from_camera))
            for each in instances
        ]
    return Located(instances=instances, depth=depth, frame=frame)
