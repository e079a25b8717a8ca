# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from mllmseg_ros.language.result_sentences import ExpressionResult, describe_results
from mllmseg_ros.segmentation import Status

FOUND, GONE, UNSURE = Status.FOUND, Status.NO_TARGET, Status.LOW_CONFIDENCE


@pytest.mark.parametrize(
    ("seen", "answer"),
    [
        ([("the red mug", FOUND, 1)], "I see the red mug."),
        ([("the red mugs", FOUND, 2)], "I see two red mugs."),
        ([("two red mugs", FOUND, 2)], "I see two red mugs."),
        ([("two red mugs", FOUND, 3)], "I see three red mugs."),
        ([("the red mugs", FOUND, 1)], "I see one red mug."),
        ([("the red mug", FOUND, 2)], "I see two red mugs."),
        ([("all the mugs on the left", FOUND, 12)], "I see 12 mugs on the left."),
        ([("red mug", FOUND, 1)], "I see a red mug."),
        ([("my keys", FOUND, 1)], "I see your keys."),
        ([("something to drink from", FOUND, 1)], "I see something to drink from."),
        ([("the gizmo", FOUND, 1)], "I see the gizmo."),
        ([("the banana", GONE, 0)], "There is no banana here."),
        ([("a banana", GONE, 0)], "There is no banana here."),
        ([("two bananas", GONE, 0)], "There are no bananas here."),
        ([("the mug on the left", GONE, 0)], "There is no mug on the left."),
        ([("my keys", GONE, 0)], "I do not see your keys."),
        ([("anything blue", GONE, 0)], "There is nothing blue here."),
        ([("the gizmo", GONE, 0)], "I do not see the gizmo."),
        ([("the cup", UNSURE, 0)], "I am not sure about the cup."),
        ([("the mug", FOUND, 1), ("the bowl", FOUND, 1)], "I see the mug and the bowl."),
        (
            [("the mug", FOUND, 1), ("the banana", GONE, 0)],
            "I see the mug. There is no banana here.",
        ),
        ([], ""),
    ],
)
def test_an_answer_in_words(seen: list[tuple[str, Status, int]], answer: str) -> None:
    things = [
        ExpressionResult(expression=text, status=status, count=count)
        for text, status, count in seen
    ]
    assert describe_results(things) == answer


@pytest.mark.parametrize("status", [Status.LOW_CONFIDENCE, Status.NO_TARGET])
def test_why_something_is_not_found_is_said(status: Status) -> None:
    reason = "the model was not trained on 'zyzzyva'"
    answer = describe_results([ExpressionResult(expression="zyzzyva", status=status, doubt=reason)])
    assert answer.endswith(f" The reason: {reason}.")
    found = ExpressionResult(expression="the mug", status=Status.FOUND, doubt=reason)
    assert reason not in describe_results([found])
