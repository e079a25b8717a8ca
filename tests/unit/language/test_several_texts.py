# SPDX-License-Identifier: Apache-2.0
"""Several texts as one command: none changes another."""

from __future__ import annotations

import pytest

from mllmseg_ros.language.conversation import LANGUAGES
from mllmseg_ros.language.several_texts import understand_each

ENGLISH = LANGUAGES["en"]


@pytest.mark.parametrize(
    ("texts", "command"),
    [
        (["the red mug"], "the red mug"),
        (["the mug; the bowl"], "the mug; the bowl"),
        (["pick the mug; place it in the bowl"], "pick: the mug; place: the bowl"),
        (["the mug", "the bowl"], "the mug; the bowl"),
        (["pick up the mug", "the cube"], "pick: the mug; the cube"),
        (["the cube", "pick up the mug"], "the cube; pick: the mug"),
        (["pick: the mug", "place: the bowl"], "pick: the mug; place: the bowl"),
        (["the mug", " "], "the mug"),
        (["the mug", "stop"], "stop"),
        (["the mug", "the mug"], "the mug; the mug"),
    ],
)
def test_each_text_is_understood_on_its_own(texts: list[str], command: str) -> None:
    assert understand_each(texts, ENGLISH).command.text == command


def test_a_note_names_its_text() -> None:
    assert understand_each(["pick up the mug", "the cube"], ENGLISH).note == (
        "'pick up the mug': understood as 'pick: the mug'"
    )


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["the mug; the bowl", "the cube"], "has a ';' in it; give each expression separately"),
        (["the mug", "open the door"], "'open'"),
        (["", " "], "2 expressions, and each names nothing to look for"),
    ],
)
def test_what_is_not_one_expression_is_refused(texts: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        understand_each(texts, ENGLISH)
