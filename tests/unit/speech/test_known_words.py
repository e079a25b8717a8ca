# SPDX-License-Identifier: Apache-2.0
"""Words that sound like known ones are read as those, and others are left alone."""

from __future__ import annotations

import pytest

from mllmseg_ros.speech.known_words import KnownWords


@pytest.fixture(scope="module")
def known() -> KnownWords:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    from mllmseg_ros.speech.pronunciation import Pronunciations

    return KnownWords(("stapler", "hole punch"), Pronunciations())


def test_how_alike_words_sound() -> None:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    from mllmseg_ros.speech.pronunciation import Pronunciations

    pronunciations = Pronunciations()
    assert pronunciations("teapot") == (("T", "IY", "P", "AA", "T"),)
    assert len(pronunciations("read")) == 2
    assert pronunciations("nopo") == ()
    assert pronunciations.difference("know", "no") == 0
    assert pronunciations.difference("tea pot", "teapot") == 0
    mud, mule = (pronunciations.difference("mug", other) for other in ("mud", "mule"))
    assert 0 < mud < mule
    assert pronunciations.difference("mug", "nopo") == float("inf")


@pytest.mark.parametrize(
    ("heard", "read"),
    [
        ("Know the bigger one.", "no the bigger one"),
        ("find the purple base", "find the purple vase"),
        ("all the smaller brown T-mugs", "all the smaller brown tea mugs"),
        ("three read mugs by the tip ought", "three red mugs by the teapot"),
        ("take the rubber deck", "take the rubber duck"),
        ("where is the stapled", "where is the stapler"),
    ],
)
def test_what_sounds_like_a_known_word_is_read_as_it(
    known: KnownWords, heard: str, read: str
) -> None:
    assert read in [reading.text for reading in known.read(heard)[:2]]


@pytest.mark.parametrize(
    "text",
    [
        "Pick up the red mug.",
        "put this on the table",
        "grab the green nopo",
        "take the hole punch",
    ],
)
def test_what_sounds_like_none_is_as_it_was_heard(known: KnownWords, text: str) -> None:
    best = known.read(text)[0]
    assert (best.text, best.replaced) == (text, ())


def test_without_a_dictionary_nothing_is_replaced() -> None:
    readings = KnownWords((), None).read("find the purple base")
    assert [reading.text for reading in readings] == ["find the purple base"]
    assert readings[0].cost > 0
