# SPDX-License-Identifier: Apache-2.0
"""Convert a segmenter's result messages to an agent's answers."""

from __future__ import annotations

from mllmseg_ros.agent.answers import (
    Findings,
    Target,
    clean_text,
    combine_findings,
    format_stamp,
    no_findings,
    rounded,
    status_fields,
)
from mllmseg_ros.msg import Segmentation as SegmentationMsg
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.ros.messages.overlay import camera_distance_m
from mllmseg_ros.segmentation import Status

__all__ = ["findings_from_message"]

_STATUSES = {
    SegmentationMsg.STATUS_FOUND: Status.FOUND,
    SegmentationMsg.STATUS_NO_TARGET: Status.NO_TARGET,
    SegmentationMsg.STATUS_LOW_CONFIDENCE: Status.LOW_CONFIDENCE,
}


def findings_from_message(sentence: str, camera: str, message: SegmentationArray) -> Findings:
    """Convert the result for a sentence.

    Raises:
        ValueError: The sentence was refused, or the inference failed.
    """
    if message.status == SegmentationArray.STATUS_ERROR:
        raise ValueError(clean_text(message.text))
    if message.status == SegmentationArray.STATUS_STOPPED:
        return no_findings(sentence, "stopped", message.text, camera)
    if not message.segmentations:
        return no_findings(sentence, "stale_input", message.text, camera)
    camera_frame = message.header.frame_id
    return combine_findings(
        sentence,
        [_target(each, camera_frame) for each in message.segmentations],
        note=message.text,
        camera=camera,
        frame_id=camera_frame,
        stamp=format_stamp(nanoseconds(message.header.stamp)),
        image_wh=(message.image_width, message.image_height),
        model=message.model,
    )


def _target(message: SegmentationMsg, camera_frame: str) -> Target:
    box, point = message.box, message.position
    distance_m = camera_distance_m(message, camera_frame)
    x0, y0 = box.x_offset, box.y_offset
    u, v = (int(each) for each in message.inside_uv)
    return Target(
        expression=clean_text(message.expression),
        expression_index=message.expression_index,
        role=clean_text(message.role),
        **status_fields(_STATUSES.get(message.status, Status.LOW_CONFIDENCE)),
        score=rounded(message.score),
        mask_score=rounded(message.mask_score),
        box_xyxy=(x0, y0, x0 + box.width, y0 + box.height) if box.width else None,
        inside_uv=(u, v) if box.width else None,
        area_px=message.area_px,
        position_m=(
            (round(point.x, 4), round(point.y, 4), round(point.z, 4))
            if message.has_position
            else None
        ),
        frame_id=clean_text(message.frame_id),
        distance_m=None if distance_m is None else rounded(distance_m),
    )
