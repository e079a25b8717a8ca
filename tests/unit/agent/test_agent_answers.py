# SPDX-License-Identifier: Apache-2.0
"""Found, not there and not sure are different, however many things a sentence names."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from mllmseg_ros.agent.answers import (
    Findings,
    Target,
    clean_text,
    combine_findings,
    format_stamp,
    no_findings,
    target_of_instance,
)
from mllmseg_ros.geometry.instances import Instance
from mllmseg_ros.language.command import parse_command
from mllmseg_ros.segmentation import Status, build_segmentation

MASK = np.zeros((20, 30), np.bool_)
MASK[5:10, 4:12] = True


def target(expression: str, index: int, status: Status, score: float = 0.75) -> Target:
    mask = MASK
    one = build_segmentation(expression, status, score, 0.9, mask.astype(np.float32), mask)
    instance = Instance(expression_index=index, instance_index=0, segmentation=one, position=None)
    return target_of_instance(instance, parse_command("pick: the mug; the can; the cup"))


def combine(*targets: Target) -> Findings:
    return combine_findings(
        "the mug", targets, note="", camera="", frame_id="", stamp=format_stamp(1_000_000_005),
        image_wh=(30, 20), model="m",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "status", "found", "not_there"),
    [
        ([Status.FOUND], "ok", True, False),
        ([Status.NO_TARGET], "no_target", False, True),
        ([Status.LOW_CONFIDENCE], "low_confidence", False, False),
        ([Status.FOUND, Status.NO_TARGET], "partial", False, True),
        ([Status.FOUND, Status.LOW_CONFIDENCE], "partial", False, False),
        ([Status.NO_TARGET, Status.LOW_CONFIDENCE], "low_confidence", False, True),
        ([Status.FOUND, Status.FOUND, Status.FOUND], "ok", True, False),
    ],
)
def test_combinations(statuses: list[Status], status: str, found: bool, not_there: bool) -> None:
    names = ("the mug", "the can", "the cup")
    answer = combine(*(target(names[i], i, each) for i, each in enumerate(statuses)))
    assert (answer.status, answer.found, answer.not_there) == (status, found, not_there)
    assert len(answer.targets) == len(statuses)


def test_instances_of_one_expression_are_counted() -> None:
    mugs = [target("the mugs", 0, Status.FOUND) for _ in range(3)]
    answer = combine(*mugs, target("the can", 1, Status.NO_TARGET))
    assert answer.status == "partial"
    assert answer.text == "I see three mugs. There is no can here."


def test_what_was_rejected_has_no_place() -> None:
    absent, found = target("the mug", 0, Status.NO_TARGET), target("the can", 1, Status.FOUND)
    assert (absent.box_xyxy, absent.inside_uv, absent.area_px) == (None, None, 0)
    assert (found.box_xyxy, found.area_px) == ((4, 5, 12, 10), 40)
    assert (absent.role, found.role) == ("pick", "")


def test_a_model_that_cannot_reject_has_no_score() -> None:
    answer = combine(target("the mug", 0, Status.FOUND, math.nan))
    assert answer.targets[0].score is None
    assert json.loads(json.dumps(dataclasses.asdict(answer), allow_nan=False))["stamp"] == (
        "1.000000005"
    )


def test_no_image_is_neither_found_nor_not_there() -> None:
    answer = no_findings("the mug", "stale_input", "the newest image is 9 s old", "left")
    assert (answer.found, answer.not_there) == (False, False)
    assert answer.text == "the newest image is 9 s old"


def test_text_from_outside_is_one_visible_line() -> None:
    assert clean_text("a\x1b[0m\u202eb\n\n c") == "a\\x1b[0m\\u202eb c"
    assert len(clean_text("x" * 5000)) == 1000
