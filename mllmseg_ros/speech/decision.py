# SPDX-License-Identifier: Apache-2.0
"""Whether what was heard is a command."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mllmseg_ros.language.answers import head_at
from mllmseg_ros.language.asides import led_up_to
from mllmseg_ros.language.command import parse_command
from mllmseg_ros.language.conversation import LANGUAGES, REPEAT_ACT, understand
from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.language import fold
from mllmseg_ros.language.sentence import begins_with_verb
from mllmseg_ros.language.words import words_of
from mllmseg_ros.speech.transcription import Transcription

__all__ = ["Rules", "decide"]

# "Again" and "the other one" are commands where the listener of `command` remembers one before.
_BEFORE = parse_command("pick: the red mug")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What makes a command of words."""

    language: str = "en"  # key of LANGUAGES
    wake_word: str = ""  # what every command begins with; "" for nothing
    min_confidence: float = 0.5  # [0, 1]; recognisers without one pass


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A command, or why there is none."""

    command: str  # "" where there is none
    reason: str  # one line; "" where it is a command


def decide(words: Transcription, rules: Rules, *, clipped: bool = False) -> Decision:
    """Judge what a recogniser heard."""

    def no(reason: str) -> Decision:
        return Decision(command="", reason=reason)

    if clipped:
        return no("the audio is clipped; turn the microphone's gain down")
    text = " ".join(words.text.split())
    if not text:
        return no("no command was heard in it")
    if words.confidence < rules.min_confidence:  # NaN is not
        return no(
            f"confidence {words.confidence:.2f} is under min_confidence {rules.min_confidence:.2f}"
        )
    if rules.wake_word:
        woken = re.match(rf"{re.escape(rules.wake_word)}\b[\s,.!:]*", text, re.IGNORECASE)
        if woken is None:
            return no(f"it does not begin with the wake word {rules.wake_word!r}")
        text = text[woken.end() :]
        if not text:
            return no("nothing follows the wake word")
    language = LANGUAGES[rules.language]
    said = words_of(text, language)
    try:
        heard = understand(text, language, _BEFORE)
    except ValueError as error:
        return no(str(error))
    # Whoever types wants something; whoever talks may talk to others: what is no sentence of the
    # parser's is looked for in text, and not here, nor is "my brother bought a new house".
    if "not understood" in heard.note or not (
        heard.command.is_stop
        or heard.act == REPEAT_ACT
        or begins_with_verb(said, language)
        or any(led_up_to(said, language))
        or all(map(_names_a_known_thing, heard.command.expressions))
    ):
        return no("it is not understood as a command")
    return Decision(command=text, reason="")


def _names_a_known_thing(expression: str) -> bool:
    words = expression.split()
    return head_at(words) is not None or fold(words[0]) in ENGLISH.things
