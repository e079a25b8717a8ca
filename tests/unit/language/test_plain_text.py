# SPDX-License-Identifier: Apache-2.0
"""Whatever keyboards, chats and recognisers put around a command, the same is understood."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator

import pytest
from command_file import examples

from mllmseg_ros.language.conversation import LANGUAGES, understand
from mllmseg_ros.language.language import Language
from mllmseg_ros.language.plain_text import normalize_text

pytestmark = pytest.mark.threat("N4")

ENGLISH = LANGUAGES["en"]
AROUND = [
    each
    for each in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(each)[0] in "PSZ" or unicodedata.category(each) in ("Cf", "Cc")
]


def placed(character: str, text: str) -> Iterator[str]:
    yield character + text
    yield text + character
    yield f"{character}{text}{character * 3}"
    yield f"{character} {text}"
    yield f"{text} {character}"


def acts(texts: Iterator[str], language: Language) -> dict[str, str]:
    """What each text is understood as, where that is not a stop."""
    found = {}
    for text in texts:
        try:
            act = understand(text, language).act
        except ValueError as error:
            act = f"refused: {error}"
        if act != "stop":
            found[text] = act
    return found


def test_each_character_of_unicode_around_a_stop() -> None:
    assert len(AROUND) > 8000
    assert acts((text for each in AROUND for text in placed(each, "stop")), ENGLISH) == {}


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_each_kind_of_character_around_each_stop_phrase(language: Language) -> None:
    # Characters that are normalised alike need one test for all of them.
    kinds = {tuple(map(normalize_text, placed(each, "x"))): each for each in AROUND}
    assert len(kinds) >= 8
    phrases = [" ".join(phrase) for phrase in language.phrases("stop").all]
    alone = (text for each in kinds.values() for phrase in phrases for text in placed(each, phrase))
    assert acts(alone, language) == {}
    pairs = (
        f"{before}{after}{phrase}{after}{before}"
        for before in kinds.values()
        for after in kinds.values()
        for phrase in phrases
    )
    assert acts(pairs, language) == {}


@pytest.mark.parametrize(
    "text",
    [
        "ｓｔｏｐ", "𝐬𝐭𝐨𝐩", "s\u200bt\u200bo\u200bp",
        "st\u00adop", "\ufeffstop\r\n", "¡Stop!", "*stop*",
        "**STOP**", "[stop]", "(stop)", "{stop}",
        "<stop>", "«stop»", "„Stop“", "「stop」", "`stop`",
        "``stop''", "stop 🛑", "🛑🛑🛑", "✋ stop ✋🏽",
        "stop❗️", "stop;", "stop:", ";stop", ": stop",
        "stop - now", "stop — the robot!", "stop / stop", "stop,now", "stop.now",
        "Stop!Stop!", "#stop", "@robot stop", "/stop", "\\stop",
        "stop; ;", "the mug; stop", "stop; the mug", "stop: the mug", "go: stop", "halt: halt",
        "e-stop", "E‑Stop!", "stop\x00", "\x1b[31mstop\x1b[0m",
        "stop &", "~stop~", "stop_", "stop\n.",
        "'stop'", "'stop", "stop'", "’stop’",
        '"stop."', "…stop…", "• stop", "1F6D1 🛑", "don’t move",
        "don´t!", "\u200b", "\ufeff", "\u2028", "\x00",
    ],
)  # fmt: skip
def test_stop_as_it_is_written(text: str) -> None:
    assert understand(text, ENGLISH).act == "stop"


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("\ufeffpick up the red mug", "pick: the red mug"),
        ("pick up\u2060 the red mug", "pick: the red mug"),
        ("pick\u200b up the red mug", "pick: the red mug"),
        ("pick\u00a0up\u202fthe\u3000red mug", "pick: the red mug"),
        ("\u202bpick up the red mug\u202c", "pick: the red mug"),
        ("ｐｉｃｋ ｕｐ ｔｈｅ ｒｅｄ ｍｕｇ", "pick: the red mug"),
        ("pick up—the red mug", "pick: the red mug"),
        ("pick up – the red mug", "pick: the red mug"),
        ("'pick up the red mug'", "pick: the red mug"),
        ("‘pick up the red mug’", "pick: the red mug"),
        ("`pick up the red mug`", "pick: the red mug"),
        ("«pick up the red mug»", "pick: the red mug"),
        ("“pick up the red mug.”", "pick: the red mug"),
        ("pick up the red mug。", "pick: the red mug"),
        ("pick up the red mug！", "pick: the red mug"),
        ("can you see the red mug？", "find: the red mug"),
        ("🤖 pick up the red mug 🙏🏽", "pick: the red mug"),
        ("pick up the red mug ❤️", "pick: the red mug"),
        ("- pick up the red mug", "pick: the red mug"),
        ("* the red mug", "the red mug"),
        ("'the red mug'", "the red mug"),
        ("(the red mug)", "the red mug"),
        ("the red mug；the green bowl", "the red mug; the green bowl"),
        ("pick： the red mug", "pick: the red mug"),
        ("pick up the cafe\u0301 mug", "pick: the café mug"),
        ("find the ﬂower", "find: the flower"),
        ("pick up the person's mug", "pick: the person's mug"),
        ("pick up the person’s mug", "pick: the person's mug"),
        ("the dogs' bowl", "the dogs' bowl"),
        ("the t‑shirt", "the t-shirt"),
        ("the 1/2 inch wrench", "the 1/2 inch wrench"),
        ("the salt & pepper shaker", "the salt & pepper shaker"),
        ("the 50% off sign", "the 50% off sign"),
        ("the clock at 12:30", "the clock at 12:30"),
        ("the box 10–20", "the box 10-20"),
        ('the box labelled "tea"', "the box labelled tea"),
        ("die große Tasse", "die große Tasse"),
        ("拿起红色的杯子。", "拿起红色的杯子。".rstrip("。") + "."),
        ("кружка ☕", "кружка"),
        ("ह\u093fन\u094dद\u0940", "ह\u093fन\u094dद\u0940"),
    ],
)
def test_what_is_meant(text: str, command: str) -> None:
    assert understand(text, ENGLISH).command.text == command


@pytest.mark.parametrize(
    "text",
    [
        "[BLANK_AUDIO]", "♪", "♪♪ ♪", "(music)",
        "[Music]", "(door closes)", "[ Silence ]", "*", "🙂",
        "...", "?", "- -", "''", "(sighs)",
        "♪ (music) ♪", "（音楽）", "you", " You. ", "Thank you.",
    ],
)  # fmt: skip
def test_noise_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"send") as caught:
        understand(text, ENGLISH, understand("the red mug", ENGLISH).command)
    assert str(caught.value).isprintable()


def test_normalised_text_stays_as_it_is() -> None:
    texts = [each.text for name in ("commands_en", "commands_de") for each in examples(name)]
    for text in [*texts, *("".join(AROUND[k::97]) + " a " + AROUND[k] for k in range(97))]:
        once = normalize_text(text)
        assert normalize_text(once) == once
        assert once.isprintable()


def test_one_character_never_becomes_a_long_text() -> None:
    # U+FDFA stands for eighteen letters.
    with pytest.raises(ValueError, match="characters, accepted are up to 4096"):
        understand("\ufdfa" * 4000, ENGLISH)
