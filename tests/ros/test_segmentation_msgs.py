# SPDX-License-Identifier: Apache-2.0
"""Results to messages and back."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from mllmseg_ros.msg import Segmentation as SegmentationMsg
from mllmseg_ros.msg import SegmentationArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Instance, InstanceSet
from mllmseg_ros.geometry.localization import Position
from mllmseg_ros.ros.messages.image_msgs import time_message
from mllmseg_ros.ros.messages.segmentation_msgs import centroid_message, segmentation_from_message
from mllmseg_ros.ros.node.camera_image import CameraImage
from mllmseg_ros.ros.node.current_command import CurrentCommand
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.request import RequestEvent, RequestFactory
from mllmseg_ros.ros.node.result import InferenceResult, Result, locate_inference
from mllmseg_ros.ros.node.result_messages import (
    array_message,
    chosen_position,
    event_message,
    label_image,
    union_image,
)
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

HEADER = Header(stamp=time_message(12_345_678_901), frame_id="camera")
FOUND, NO_TARGET, LOW = Status.FOUND, Status.NO_TARGET, Status.LOW_CONFIDENCE


def segmentation(expression: str, status: Status, box: tuple[int, int, int, int]) -> Segmentation:
    x0, y0, x1, y1 = box
    mask = np.zeros((60, 80), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return build_segmentation(expression, status, 0.75, 0.875, mask.astype(np.float32), mask)


def position(x: float) -> Position:
    return Position(
        mean=np.array([x, 0.2, 0.9]),
        covariance=np.arange(9.0).reshape(3, 3),
        surface_point=np.array([x, 0.2, 0.8]),
        box_center=np.array([x, 0.2, 0.85]),
        # Its x edge along the image's y axis, its y edge against the image's x axis.
        box_axes=np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        box_size=np.array([0.1, 0.2, 0.3]),
        valid_depth_ratio=0.5,
    )


def make_result(command: str, statuses: list[Status], with_depth: bool = True) -> Result:
    request = RequestFactory().receive(command, 5_000_000_007)
    assert request.command is not None
    return Result(
        request=request,
        header=HEADER,
        rgb=np.zeros((60, 80, 3), np.uint8),
        instance_set=InstanceSet(
            instances=[
                Instance(
                    expression_index=i,
                    instance_index=0,
                    # Each overlaps the previous one.
                    segmentation=segmentation(
                        target.expression, status, (10 + 10 * i, 5, 30 + 10 * i, 25)
                    ),
                    position=position(float(i)) if with_depth and status is FOUND else None,
                )
                for i, (target, status) in enumerate(
                    zip(request.command.targets, statuses, strict=True)
                )
            ]
        ),
        latency_ns=1_250_000_000,
        model="tiny",
    )


def test_every_field_of_a_found_target() -> None:
    message = array_message(make_result("pick: the mug", [FOUND]), "/camera/image")
    assert message.header == HEADER
    assert (message.image_height, message.image_width) == (60, 80)
    assert (message.camera, message.model) == ("/camera/image", "tiny")
    assert (message.command, message.intent) == ("pick: the mug", "pick")
    assert (message.request_stamp.sec, message.request_stamp.nanosec) == (5, 7)
    assert (message.latency.sec, message.latency.nanosec) == (1, 250_000_000)
    assert (message.status, message.text) == (SegmentationArray.STATUS_OK, "1 of 1 found")
    (entry,) = message.segmentations
    assert (entry.expression, entry.role) == ("the mug", "pick")
    assert (entry.expression_index, entry.instance_index, entry.track_id) == (0, 0, "")
    assert (entry.status, entry.label) == (SegmentationMsg.STATUS_FOUND, 1)
    assert (entry.score, entry.mask_score) == (0.75, 0.875)
    assert not entry.propagated
    assert (entry.inference_age.sec, entry.inference_age.nanosec) == (0, 0)
    box = entry.box
    assert (box.x_offset, box.y_offset, box.width, box.height) == (10, 5, 20, 20)
    assert list(entry.centroid_uv) == [19.5, 14.5]
    assert entry.area_px == 400
    assert (entry.mask.height, entry.mask.width, entry.mask.step) == (20, 20, 20)
    assert set(entry.mask.data) == {255}
    assert entry.has_position
    assert entry.frame_id == "camera"
    assert (entry.position.x, entry.position.y, entry.position.z) == (0.0, 0.2, 0.9)
    assert list(entry.position_covariance) == list(range(9))
    assert entry.surface_point.z == 0.8
    assert entry.box_pose.position.z == 0.85
    turn = entry.box_pose.orientation  # a rotation by 90 degrees about z
    half = math.sqrt(0.5)
    assert (turn.x, turn.y, turn.z, turn.w) == pytest.approx((0, 0, half, half))
    assert (entry.box_size.x, entry.box_size.y, entry.box_size.z) == (0.1, 0.2, 0.3)
    assert entry.valid_depth_ratio == 0.5


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([FOUND, FOUND], SegmentationArray.STATUS_OK),
        ([FOUND, NO_TARGET], SegmentationArray.STATUS_PARTIAL),
        ([LOW, FOUND], SegmentationArray.STATUS_PARTIAL),
        ([NO_TARGET, NO_TARGET], SegmentationArray.STATUS_NO_TARGET),
        ([NO_TARGET, LOW], SegmentationArray.STATUS_LOW_CONFIDENCE),
    ],
)
def test_array_status(statuses: list[Status], expected: int) -> None:
    message = array_message(make_result("a; b", statuses), "")
    assert message.status == expected
    assert len(message.segmentations) == 2


def test_an_absent_target_has_no_mask_and_an_uncertain_one_no_label() -> None:
    both = make_result("a; b", [NO_TARGET, LOW])
    absent, unsure = array_message(both, "").segmentations
    assert (absent.box.width, absent.area_px, len(absent.mask.data), absent.label) == (0, 0, 0, 0)
    assert math.isnan(absent.centroid_uv[0])
    assert list(absent.inside_uv) == [-1, -1]
    assert (unsure.label, unsure.area_px, unsure.box.width) == (0, 400, 20)
    assert not union_image(both).any()
    assert not label_image(both).any()


def test_overlapping_pixels_belong_to_the_first_expression() -> None:
    both = make_result("a; b; c", [FOUND, NO_TARGET, FOUND])
    labels, union = label_image(both), union_image(both)
    assert (labels[10, 12], labels[10, 29], labels[10, 31], labels[10, 50]) == (1, 1, 3, 0)
    np.testing.assert_array_equal(union > 0, labels > 0)
    assert set(np.unique(union)) == {0, 255}


@pytest.mark.parametrize(
    ("command", "statuses", "x"),
    [
        ("a; b", [FOUND, FOUND], 0.0),
        ("a; b", [NO_TARGET, FOUND], 1.0),
        ("place: a; pick: b", [FOUND, FOUND], 1.0),
        ("place: a; pick: b", [FOUND, NO_TARGET], 0.0),
        ("pick: a; pick: b", [LOW, FOUND], 1.0),
        ("a; b", [NO_TARGET, LOW], None),
    ],
)
def test_centroid_is_of_the_first_found_pick_else_the_first_found(
    command: str, statuses: list[Status], x: float | None
) -> None:
    chosen = chosen_position(make_result(command, statuses))
    assert (None if chosen is None else chosen.mean[0]) == x
    if chosen is not None:
        centroid = centroid_message(HEADER, chosen)
        assert (centroid.header, centroid.point.x) == (HEADER, x)
    assert chosen_position(make_result(command, statuses, with_depth=False)) is None


def test_each_instance_of_an_expression_is_an_entry() -> None:
    one = make_result("the mugs; b", [FOUND, FOUND])
    first, second = one.instances
    other = segmentation("the mugs", FOUND, (60, 30, 70, 40))
    twin = replace(first, instance_index=1, segmentation=other, position=position(9.0))
    several = replace(one, instance_set=InstanceSet(instances=[first, twin, second]))
    message = array_message(several, "")
    assert (message.status, message.text) == (
        SegmentationArray.STATUS_OK,
        "2 of 2 found (3 things)",
    )
    entries = [
        (entry.expression, entry.expression_index, entry.instance_index, entry.label)
        for entry in message.segmentations
    ]
    assert entries == [("the mugs", 0, 0, 1), ("the mugs", 0, 1, 2), ("b", 1, 0, 3)]
    labels = label_image(several)
    assert (labels[10, 12], labels[35, 65], labels[10, 35]) == (1, 2, 3)
    assert union_image(several)[35, 65] == 255
    chosen = chosen_position(several)
    assert chosen is not None
    assert chosen.mean[0] == 0.0


@pytest.mark.parametrize(
    ("command", "n", "text"),
    [
        ("pick up the mug", 3, "1 of 1 found (3 things); several fit 'the mug': 3; understood as"),
        ("pick up the mugs", 3, "1 of 1 found (3 things); understood as"),
        ("pick up two mugs", 2, "1 of 1 found (2 things); understood as"),
        ("pick up two mugs", 1, "1 of 1 found; only 1 of 'two mugs'; understood as"),
        ("the red mug", 1, "1 of 1 found"),
    ],
)
def test_the_text_tells_of_more_or_fewer_than_asked_for(command: str, n: int, text: str) -> None:
    one = make_result(command, [FOUND])
    instances = [replace(one.instances[0], instance_index=k) for k in range(n)]
    message = array_message(replace(one, instance_set=InstanceSet(instances=instances)), "")
    assert message.text.startswith(text)


def test_a_result_has_as_many_instances_as_asked_for() -> None:
    request = RequestFactory().receive("pick up two mugs", 0)
    mask = np.zeros((60, 80), dtype=bool)
    mask[5:25, 5:20] = mask[5:25, 30:40] = mask[40:55, 5:30] = True
    mugs = build_segmentation("two mugs", FOUND, 0.9, 0.9, mask.astype(np.float32), mask)
    frame = Frame(rgb=np.zeros((60, 80, 3), np.uint8), stamp_ns=0, frame_id="camera")
    reader: Any = SimpleNamespace(
        read_frame=lambda message: frame,
        read_depth=lambda frame, paired: None,
        find_target_frame=lambda frame: None,
    )
    paired: Any = None
    inference = InferenceResult(
        request=request,
        image=CameraImage(Image(header=HEADER), paired, reader),
        segmentations=[mugs],
        began_ns=0,
        model="tiny",
        score_threshold=0.5,
    )
    areas = [each.segmentation.area_px for each in locate_inference(inference).instances]
    assert areas == [375, 300]
    one = SegmenterParameters(max_instances=1).splitting
    assert [each.segmentation.area_px for each in locate_inference(inference, one).instances] == [
        375
    ]


def test_the_installed_package_root_is_ours() -> None:
    """Where the interface generator puts an empty file of its own."""
    code = "from mllmseg_ros import Segmentation, msg; assert Segmentation is not msg.Segmentation"
    subprocess.run([sys.executable, "-c", f"import mllmseg_ros.msg; {code}"], check=True, cwd="/")


def test_entries_after_the_last_label_are_not_drawn() -> None:
    one = make_result("things", [FOUND])
    twins = [replace(one.instances[0], instance_index=k) for k in range(300)]
    many = replace(one, instance_set=InstanceSet(instances=twins))
    labels = [entry.label for entry in array_message(many, "").segmentations]
    assert labels == [*range(1, 255), *[0] * 46]
    assert label_image(many).max() == 1  # all overlap: the first one is drawn


def test_a_failure_has_its_image_but_no_entries() -> None:
    failed = make_result("a", [FOUND])
    failed = Result(
        **{**failed.__dict__, "instance_set": InstanceSet(instances=()), "error": "broken"}
    )
    message = array_message(failed, "/image")
    assert (message.status, message.text) == (SegmentationArray.STATUS_ERROR, "broken")
    assert message.header == HEADER
    assert not message.segmentations


def test_events_have_no_image() -> None:
    command, factory = CurrentCommand(), RequestFactory()
    command.submit(factory.receive("the mug", 0))
    events: list[RequestEvent] = []
    for text in ("the bowl", "stop", "x" * 5000):
        events += command.submit(factory.receive(text, 1))
    messages = [event_message(event) for event in events]
    assert [(message.command[:8], message.status) for message in messages] == [
        ("the mug", SegmentationArray.STATUS_SUPERSEDED),
        ("the bowl", SegmentationArray.STATUS_STOPPED),
        ("stop", SegmentationArray.STATUS_STOPPED),
        ("x" * 8, SegmentationArray.STATUS_ERROR),
    ]
    assert len(messages[-1].command) == 256
    assert all(message.header == Header() for message in messages)
    assert all(message.text for message in messages)


def test_a_subscriber_gets_the_masks_back() -> None:
    both = make_result("a; b; c", [FOUND, LOW, NO_TARGET])
    message = array_message(both, "")
    originals = [each.segmentation for each in both.instances]
    for entry, original in zip(message.segmentations, originals, strict=True):
        back = segmentation_from_message(entry, (60, 80))
        assert (back.expression, back.status) == (original.expression, original.status)
        expected = (
            original.mask if original.status is not NO_TARGET else np.zeros_like(original.mask)
        )
        np.testing.assert_array_equal(back.mask, expected)
    message.segmentations[0].box.x_offset = 70
    with pytest.raises(ValueError, match="does not fit an image"):
        segmentation_from_message(message.segmentations[0], (60, 80))


def test_why_something_is_not_found_is_in_its_entry_and_in_the_text() -> None:
    reason = "m was not trained on 'zyzzyva'"
    result = make_result("zyzzyva", [LOW])
    (instance,) = result.instances
    doubtful = replace(instance.segmentation, doubt=reason, unconfirmed=True)
    instances = [replace(instance, segmentation=doubtful)]
    result = replace(result, instance_set=InstanceSet(instances=instances))
    message = array_message(result, "/image")
    (entry,) = message.segmentations
    assert (entry.doubt, entry.unconfirmed) == (reason, True)
    assert message.text.startswith(f"0 of 1 found; {reason}")
    back = segmentation_from_message(entry, result.size_hw)
    assert (back.doubt, back.unconfirmed) == (reason, True)


def test_of_several_expressions_the_text_names_the_doubtful_one() -> None:
    result = make_result("a; b", [FOUND, NO_TARGET])
    first, second = result.instances
    doubtful = replace(second.segmentation, doubt="unknown")
    instances = [first, replace(second, segmentation=doubtful)]
    result = replace(result, instance_set=InstanceSet(instances=instances))
    assert array_message(result, "/image").text == "1 of 2 found; b: unknown"
