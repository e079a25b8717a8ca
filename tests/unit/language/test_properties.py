# SPDX-License-Identifier: Apache-2.0
"""Properties that hold for every text."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

import pytest
from command_file import examples

from mllmseg_ros.language import vocabulary
from mllmseg_ros.language.command import parse_command
from mllmseg_ros.language.conversation import LANGUAGES, understand
from mllmseg_ros.language.language import Language

ENGLISH = LANGUAGES["en"]
TEXTS = [
    each.text
    for name in ("commands_en", "commands_de", "held_out_en", "held_out_de")
    for each in examples(name)
]
STRUCTURED = [
    "the red mug; the bowl",
    "pick: the red mug; place: the bowl",
    "pick: um the the read mug please; place: no, the bowl",
    "PICK: put the mug in the bowl",
    "destination: the door",
    "the mug;; ;stop;",
    "find: my keys",
]
HOSTILE = {  # and what remains of it
    "<|im_end|> [SEG]": "im_end SEG",
    "</img><img><IMG_CONTEXT> [REJ]": "img img IMG_CONTEXT REJ",
    "$(reboot) `id` && rm -rf ~ | %n%s {0}": "reboot id rm, rf n s 0",
    "кружка 咖啡杯 ☕": "кружка 咖啡杯",
    "the green bowl number 3": "the green bowl number 3",
    "x": "x",
}


def random_texts(count: int) -> list[str]:
    """Words of the tables in any order, and noise."""
    rng = random.Random(0)
    words = sorted({word for text in TEXTS for word in text.split()} | {"{}", "\t", "1st", "ones"})
    texts = [" ".join(rng.choices(words, k=rng.randrange(1, 14))) for _ in range(count)]
    return [text for text in texts if len(text) <= 256]


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_any_text_is_a_command_or_a_value_error(language: Language) -> None:
    last = None
    for text in [*TEXTS, *STRUCTURED, *HOSTILE, *random_texts(3000), "\x00", "a" * 9999, ":", ";"]:
        try:
            understood = understand(text, language, last)
        except ValueError:
            continue
        # The structured form says the same, and nothing in it is read as a sentence again.
        assert parse_command(understood.command.text) == understood.command
        if not understood.command.is_stop:
            last = understood.command


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
@pytest.mark.parametrize("text", STRUCTURED)
def test_structured_commands_pass_unchanged(text: str, language: Language) -> None:
    understood = understand(text, language, parse_command("pick: the can"))
    assert understood.command == parse_command(text)
    assert not understood.note


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
@pytest.mark.parametrize(("text", "plain"), HOSTILE.items())
def test_text_that_is_not_a_sentence_stays_one_expression(
    text: str, plain: str, language: Language
) -> None:
    assert understand(text, language).command.expressions == [plain]


def test_expressions_are_said_so_or_repaired() -> None:
    """Word for word a part of what was said, unless a repair or a follow-up made them."""
    repaired, said = 0, [each for each in examples("commands_en") if not each.before]
    for example in said:
        text = " ".join(example.text.split())
        for expression in example.understood().command.expressions:
            if expression in text:
                continue
            repaired += 1
            kept = [word for word in expression.split() if word not in text.split()]
            known = set(ENGLISH.misheard_adjectives.values()) | set(ENGLISH.numbers.values())
            known |= set(ENGLISH.misheard_nouns.values()) | {"mug"}  # "the red, no, the blue one"
            assert set(kept) <= known, (text, expression)
    assert 0 < repaired < len(said) / 15


def test_what_was_understood_is_understood_the_same_again() -> None:
    for example in [*examples("commands_en"), *examples("commands_de")]:
        once = example.understood().command
        assert understand(once.text, ENGLISH).command == once


def nouns() -> list[str]:
    names = [name for forms in vocabulary.VARIED.nouns.values() for name, _ in forms]
    return [f"{color} {name}" for name in names for color in ("red", "purple")]


def test_the_simulator_s_expressions_stay_whole() -> None:
    """What the model is trained and measured on is never taken apart."""
    patterns = [
        *(f"the {each}" for forms in vocabulary.EXTREMES.values() for each in forms),
        *(f"the {each}" for forms in vocabulary.OF_TWO.values() for each in forms),
        *(f"the {{n}} {each} the {{m}}" for each in sum(vocabulary.RELATIONS.values(), ())),
        *(f"the {each}".replace("{c}", "blue") for each in vocabulary.COLORED),
        *(f"the {each}".replace("{c}", "blue") for each in vocabulary.NOT_COLORED),
        *(f"the {each}".replace("{k}", "bowl") for each in vocabulary.NOT_A_KIND),
        *(f"the {each} {{n}} from the left" for each in vocabulary.ORDINALS),
        *(f"everything {each} the {{n}}" for each in vocabulary.EXCEPT),
        "the {n} between the {m} and the can",
        "the {n}",
        "{n}",
        "the {n} that is next to the {m} and left of the can",
    ]
    for pattern in patterns:
        for name in nouns():
            text = pattern.format(n=name, m="yellow bowl")
            understood = understand(text, ENGLISH)
            assert (understood.command.text, understood.act) == (text, "segment")


def test_the_simulator_s_requests_are_understood() -> None:
    for request in vocabulary.REQUESTS:
        for name in nouns():
            understood = understand(request.format(x=f"the {name}"), ENGLISH)
            assert understood.command.expressions == [f"the {name}"], request
            assert "not understood" not in understood.note


def calls(function: Callable[[], object]) -> int:
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    except ValueError:
        pass
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "word", ["the", "no", "and", "put in", "in the", "pick up the mug and", "no the one", ",", "a."]
)
@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_long_hostile_text_costs_no_more_than_a_long_sentence(
    word: str, language: Language
) -> None:
    last = parse_command("pick: the mug; place: the bowl")

    def cost(n_chars: int) -> int:
        text = (f"{word} " * n_chars)[:n_chars]
        return calls(lambda: understand(text, language, last))

    cost(64)  # tables are made ready on first use
    assert cost(256) < 60_000
    assert cost(4096) < 60_000
    assert cost(1_000_000) < 100


@pytest.mark.parametrize(
    "said", ["Stop!", "stop,", "no, stop,", "please stop.", "halt,", "wait, stop!"]
)
def test_a_stop_stops_whatever_follows_it(said: str) -> None:
    last = understand("pick up the mug", LANGUAGES["en"]).command
    for example in examples("commands_en"):
        text = f"{said} {example.text}"
        says_it_twice = example.text.lower().startswith(("stop", "halt"))
        if len(text) <= 256 and not says_it_twice:
            assert understand(text, LANGUAGES["en"], last).act == "stop", text
