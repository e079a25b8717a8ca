# SPDX-License-Identifier: Apache-2.0
"""Results of a request on an image: as inferred or tracked, then in instances with positions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from mllmseg_ros.error_text import one_line
from mllmseg_ros.geometry.instances import (
    Depth,
    Instance,
    InstanceSet,
    TargetFrame,
    depth_if_found,
    limit_instances,
    locate_instances,
    locate_or_explain,
)
from mllmseg_ros.geometry.localization import (
    Position,
    locate,
    stand_box_upright,
    transform_position,
)
from mllmseg_ros.geometry.splitting import EVERY_INSTANCE, Splitting
from mllmseg_ros.language.counts import count_asked
from mllmseg_ros.ros.node.camera_image import CameraImage
from mllmseg_ros.ros.node.inference_backend import EncodedImage
from mllmseg_ros.ros.node.request import Request
from mllmseg_ros.segmentation import Segmentation, Status
from mllmseg_ros.tracking.tracker import TrackedInstance

__all__ = [
    "InferenceResult",
    "Result",
    "TrackedResult",
    "locate_inference",
    "locate_segmentations",
    "locate_tracked",
    "locate_tracks",
]


@dataclass(frozen=True, kw_only=True)
class InferenceResult:
    """One request on the image that the model was run on."""

    request: Request
    image: CameraImage
    segmentations: Sequence[Segmentation]  # one per expression; none where inference failed
    began_ns: int  # monotonic time at which the image was taken up
    model: str  # name of the model
    score_threshold: float  # score from which on a target is found
    encoded: EncodedImage | None = None  # None where inference failed
    error: str = ""  # why inference failed
    is_permanent: bool = False  # it fails on every image, because of the expressions


@dataclass(frozen=True, kw_only=True)
class TrackedResult:
    """The last inference of a request, tracked into a newer image."""

    inference: InferenceResult
    image: CameraImage  # the newer one
    tracks: Sequence[TrackedInstance]
    began_ns: int  # monotonic time at which the newer image was taken up


@dataclass(frozen=True, kw_only=True)
class Result:
    """One request on one image, ready to be published."""

    request: Request
    header: Header  # of the image
    rgb: NDArray[np.uint8]  # (H, W, 3) RGB
    instance_set: InstanceSet  # at least one instance per target; none where inference failed
    latency_ns: int  # from taking up the image
    model: str = ""  # name of the model
    score_threshold: float = 0.5  # score from which on a target is found
    error: str = ""  # why there is no result

    @property
    def instances(self) -> Sequence[Instance]:
        """The instances, in the order asked."""
        return self.instance_set.instances

    @property
    def size_hw(self) -> tuple[int, int]:
        """Size of the image, px."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def position_header(self) -> Header:
        """Stamp of the image, and the frame of its positions."""
        frame = self.instance_set.frame
        if frame is None:
            return self.header
        return Header(stamp=self.header.stamp, frame_id=frame.frame_id)


def locate_inference(inference: InferenceResult, splitting: Splitting = EVERY_INSTANCE) -> Result:
    """Split what was inferred into instances, and locate them."""
    instance_set, error = InstanceSet(instances=()), inference.error
    if not error:
        try:
            instance_set = locate_segmentations(inference.image, inference.segmentations, splitting)
        except Exception as caught:  # a library's function may raise anything
            error = one_line(caught)
            instance_set = InstanceSet(instances=(), note=f"position failed: {error}")
    return _result(inference, inference.image, instance_set, inference.began_ns, error)


def locate_tracked(tracked: TrackedResult) -> Result:
    """Locate what was tracked into a newer image."""
    instance_set = locate_tracks(tracked.image, tracked.tracks)
    return _result(tracked.inference, tracked.image, instance_set, tracked.began_ns)


def locate_segmentations(
    image: CameraImage,
    segmentations: Sequence[Segmentation],
    splitting: Splitting = EVERY_INSTANCE,
) -> InstanceSet:
    """Split segmentations into instances, and locate those found where there is depth.

    Without the depth or the transform that is needed there are no positions, and the note says why.
    """
    depth, note = depth_if_found(segmentations, image.depth)

    def locate_all(depth: Depth | None) -> Sequence[Instance]:
        return locate_instances(segmentations, depth, splitting)

    return _in_target_frame(image, locate_or_explain(locate_all, depth, note))


def locate_tracks(image: CameraImage, tracks: Sequence[TrackedInstance]) -> InstanceSet:
    """Locate tracked instances where there is depth."""
    depth, note = depth_if_found([each.segmentation for each in tracks], image.depth)

    def locate_all(depth: Depth | None) -> Sequence[Instance]:
        return [_locate_track(each, depth) for each in tracks]

    return _in_target_frame(image, locate_or_explain(locate_all, depth, note))


def _locate_track(track: TrackedInstance, depth: Depth | None) -> Instance:
    one, position = track.segmentation, None
    if depth is not None and one.status is Status.FOUND and one.inside_uv:
        position = locate(one.mask, depth.metres, depth.intrinsics, one.inside_uv, one.box_xyxy)
    return Instance(
        expression_index=track.expression_index,
        instance_index=track.instance_index,
        segmentation=one,
        position=position,
        track_id=track.track_id,
        inferred_ns=track.inference_stamp_ns if track.propagated else None,
    )


def _result(
    inference: InferenceResult,
    image: CameraImage,
    instance_set: InstanceSet,
    began_ns: int,
    error: str = "",
) -> Result:
    counts = [count_asked(each) for each in inference.request.accepted.expressions]
    return Result(
        request=inference.request,
        header=image.header,
        rgb=image.frame().rgb,
        instance_set=limit_instances(instance_set, counts),
        latency_ns=time.monotonic_ns() - began_ns,
        model=inference.model,
        score_threshold=inference.score_threshold,
        error=error,
    )


def _in_target_frame(image: CameraImage, located: InstanceSet) -> InstanceSet:
    """Transform positions into the target frame."""
    if located.depth is None:
        return located
    try:
        frame = image.target_frame()
    except ValueError as error:
        unplaced = [replace(each, position=None) for each in located.instances]
        return InstanceSet(instances=unplaced, note=f"no position: {error}")
    if frame is None:
        return located
    instances = [
        each if each.position is None else replace(each, position=_place(each.position, frame))
        for each in located.instances
    ]
    return replace(located, instances=instances, frame=frame)


def _place(position: Position, frame: TargetFrame) -> Position:
    placed = transform_position(position, frame.from_camera)
    return stand_box_upright(placed) if frame.upright_boxes else placed
