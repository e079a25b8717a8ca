# SPDX-License-Identifier: Apache-2.0
"""The parser understands everything that a recogniser can hear with the grammar."""

from __future__ import annotations

import random
import re

from mllmseg_ros.language.conversation import LANGUAGES, understand
from mllmseg_ros.language.grammar import build_jsgf, build_matcher

ENGLISH = LANGUAGES["en"]
LAST = understand("pick: the red mug", ENGLISH).command


class Speaker:
    """Says what a JSGF grammar allows, by chance."""

    def __init__(self, grammar: str) -> None:
        self.rules: dict[str, str] = dict(re.findall(r"<(\w+)> = ([^;]+);", grammar))
        self._rng = random.Random(0)

    def say(self, name: str) -> str:
        self._tokens = re.findall(r"<\w+>|[()\[\]|]|[^\s<>()\[\]|]+", self.rules[name])
        tokens, self._at = self._tokens, 0
        tree = self._alternatives()
        assert self._at == len(tokens)
        return " ".join(self._spoken(tree).split())

    def _alternatives(self) -> list:
        choices: list[list] = [[]]
        while self._at < len(self._tokens) and self._tokens[self._at] not in ")]":
            token = self._tokens[self._at]
            self._at += 1
            if token == "|":
                choices.append([])
            elif token in "([":
                inside = self._alternatives()
                self._at += 1  # the closing one
                choices[-1].append((token, inside))
            else:
                choices[-1].append(token)
        return choices

    def _spoken(self, choices: list) -> str:
        said = []
        for item in self._rng.choice(choices):
            if isinstance(item, tuple):
                if item[0] == "(" or self._rng.random() < 0.5:
                    said.append(self._spoken(item[1]))
            elif item.startswith("<"):
                said.append(Speaker.say(self._copy(), item[1:-1]))
            else:
                said.append(item)
        return " ".join(said)

    def _copy(self) -> Speaker:
        other = Speaker.__new__(Speaker)
        other.rules, other._rng = self.rules, self._rng
        return other


def test_whatever_can_be_heard_is_understood() -> None:
    grammar = build_jsgf()
    speaker, whole = Speaker(grammar), build_matcher(grammar)
    intents = set()
    for _ in range(4000):
        text = speaker.say("command")
        understood = understand(text, ENGLISH, LAST)
        assert "not understood" not in understood.note, text
        assert whole.fullmatch(f"{text} "), text
        intents |= {understood.act}
    assert {"pick", "pick_and_place", "find", "go_to", "segment", "stop", "repeat", "correct"} <= (
        intents
    )


def test_words_that_the_recogniser_does_not_know_are_left_out() -> None:
    grammar = build_jsgf(can_hear=lambda word: word not in ("skillet", "grab"))
    words = set(re.findall(r"[\w']+", grammar))
    assert not {"skillet", "grab"} & words
    assert {"pan", "never", "pick"} <= words


def test_half_a_sentence_is_not_a_sentence() -> None:
    whole = build_matcher(build_jsgf(wake_word="robot"))
    assert whole.fullmatch("robot put the red mug next to the bowl ")
    for text in ("robot put the red mug ", "put the red mug next to the bowl ", "robot the red "):
        assert whole.fullmatch(text) is None, text
