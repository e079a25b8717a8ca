# SPDX-License-Identifier: Apache-2.0
"""What is said in reply to a spoken command, and when."""

from __future__ import annotations

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from mllmseg_ros.msg import Segmentation, SegmentationArray

from mllmseg_ros.ros.speech import spoken_replies
from mllmseg_ros.ros.speech.spoken_replies import SpokenReplies

COMMAND = "the vase"


def result(status: int, doubt: str = "", *, unconfirmed: bool = False) -> SegmentationArray:
    entry = Segmentation(expression=COMMAND, status=status, doubt=doubt, unconfirmed=unconfirmed)
    return SegmentationArray(
        command=COMMAND, status=SegmentationArray.STATUS_OK, segmentations=[entry]
    )


def test_a_reply_waits_for_the_decision_and_comes_once() -> None:
    replies = SpokenReplies()
    replies.add_command(COMMAND)
    unsure = result(Segmentation.STATUS_LOW_CONFIDENCE, "not confirmed yet", unconfirmed=True)
    assert replies.reply_to(unsure) == ""
    assert replies.reply_to(result(Segmentation.STATUS_FOUND)) == "I see the vase."
    assert replies.reply_to(result(Segmentation.STATUS_FOUND)) == ""


def test_a_reply_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken_replies, "_MAX_UNCONFIRMED_S", 0.0)
    replies = SpokenReplies()
    replies.add_command(COMMAND)
    unsure = result(Segmentation.STATUS_LOW_CONFIDENCE, "not confirmed yet", unconfirmed=True)
    said = "I am not sure about the vase. The reason: not confirmed yet."
    assert replies.reply_to(unsure) == said


def test_a_reply_names_the_word_that_the_model_does_not_know() -> None:
    replies = SpokenReplies()
    replies.add_command(COMMAND)
    doubt = "m was not trained on 'vase'"
    said = replies.reply_to(result(Segmentation.STATUS_NO_TARGET, doubt))
    assert said == f"There is no vase here. The reason: {doubt}."
