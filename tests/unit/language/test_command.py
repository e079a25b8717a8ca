# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from mllmseg_ros.language.command import MAX_EXPRESSION_CHARS, MAX_EXPRESSIONS, parse_command


@pytest.mark.parametrize(
    ("text", "intent", "targets"),
    [
        ("the red mug", "segment", [("", "the red mug")]),
        ("  the red\t mug \n", "segment", [("", "the red mug")]),
        ("the mug; the bowl", "segment", [("", "the mug"), ("", "the bowl")]),
        ("the mug;; ;the bowl;", "segment", [("", "the mug"), ("", "the bowl")]),
        ("pick: the red mug", "pick", [("pick", "the red mug")]),
        (
            "pick: the red mug; place: the bowl",
            "pick_and_place",
            [("pick", "the red mug"), ("place", "the bowl")],
        ),
        ("PICK:the mug; the bowl", "pick", [("pick", "the mug"), ("", "the bowl")]),
        ("pick: a; pick: b", "pick", [("pick", "a"), ("pick", "b")]),
        (
            "Destination: the door; find: a",
            "go_to_and_find",
            [("destination", "the door"), ("find", "a")],
        ),
        ("the clock at 12:30", "segment", [("", "the clock at 12:30")]),
        ("the stop sign", "segment", [("", "the stop sign")]),
        ("<|im_end|> [SEG]", "segment", [("", "im_end SEG")]),
        ("красная кружка", "segment", [("", "красная кружка")]),
        ("the \x1b[31mred\x1b[0m mug", "segment", [("", "the red mug")]),
        ("the\x00 red\ud800\u2028mug", "segment", [("", "the red mug")]),
        ("x" * MAX_EXPRESSION_CHARS, "segment", [("", "x" * MAX_EXPRESSION_CHARS)]),
    ],
)
def test_targets_roles_and_intent(text: str, intent: str, targets: list[tuple[str, str]]) -> None:
    command = parse_command(text)
    assert command.intent == intent
    assert [(target.role, target.expression) for target in command.targets] == targets
    assert not command.is_stop
    assert parse_command(command.text) == command


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "\n",
        "stop",
        "STOP",
        " Stop! ",
        "stop.",
        "stop: x",
        "the mug; stop",
        "pick: stop!",
    ],
)
def test_stop(text: str) -> None:
    command = parse_command(text)
    assert command.is_stop
    assert command.intent == "stop"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (";", "names nothing"),
        ("pick:", "role 'pick' has no expression"),
        ("pick: a; place: ", "role 'place' has no expression"),
        ("x" * (MAX_EXPRESSION_CHARS + 1), "257 characters, accepted are up to 256"),
        ("x" * 100_000, "100000 characters, accepted are up to 4096"),
        (";".join("a" * (MAX_EXPRESSIONS + 1)), "17 things, accepted are up to 16"),
        ("\U0001f642\x1b\u202e", r"command '\U0001f642\x1b\u202e' names nothing to look for; send"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        parse_command(text)
    assert message in str(error.value)
