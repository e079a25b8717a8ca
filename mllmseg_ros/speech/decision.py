# SPDX-License-Identifier: Apache-2.0
"""Decide whether recognised speech is a command."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mllmseg_ros.language.asides import split_lead_in
from mllmseg_ros.language.command import parse_command
from mllmseg_ros.language.conversation import LANGUAGES, REPEAT_ACT, understand
from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.language import fold
from mllmseg_ros.language.plain_text import is_in_brackets, normalize_text
from mllmseg_ros.language.result_sentences import find_head_noun
from mllmseg_ros.language.sentence import begins_with_verb
from mllmseg_ros.language.words import split_words
from mllmseg_ros.speech.transcription import Transcription

__all__ = ["Rules", "decide"]

# "Again" and "the other one" are commands too, because the segmenter knows the last one.
_BEFORE = parse_command("pick: the red mug")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Conditions for a command."""

    language: str = "en"  # key of LANGUAGES
    wake_word: str = ""  # first words of every command; "" for none
    min_confidence: float = 0.5  # [0, 1]; ignored for recognisers without confidence


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A command, or why it is rejected."""

    command: str  # "" if rejected
    reason: str  # one line; "" if accepted


def decide(transcription: Transcription, rules: Rules, *, clipped: bool = False) -> Decision:
    """Decide whether a transcription is a command."""

    def reject(reason: str) -> Decision:
        return Decision(command="", reason=reason)

    if clipped:
        return reject("the audio is clipped; reduce the gain of the microphone")
    if is_in_brackets(transcription.text):
        return reject("it is a sound, not speech")
    text = normalize_text(transcription.text)
    if not text:
        return reject("no command was heard in it")
    if transcription.confidence < rules.min_confidence:  # false for NaN
        return reject(
            f"confidence {transcription.confidence:.2f} is under min_confidence "
            f"{rules.min_confidence:.2f}"
        )
    if rules.wake_word:
        wake_match = re.match(rf"{re.escape(rules.wake_word)}\b[\s,.!:]*", text, re.IGNORECASE)
        if wake_match is None:
            return reject(f"it does not start with the wake word {rules.wake_word!r}")
        text = text[wake_match.end() :]
        if not text:
            return reject("there is no command after the wake word")
    language = LANGUAGES[rules.language]
    parsed_words = split_words(text, language)
    try:
        understood = understand(text, language, _BEFORE)
    except ValueError as error:
        return reject(str(error))
    # Typed text is always meant for the robot, speech may be meant for others. So sentences that
    # the parser does not understand are rejected here, and so is "my brother bought a new house".
    if "not understood" in understood.note or not (
        understood.command.is_stop
        or understood.act == REPEAT_ACT
        or begins_with_verb(parsed_words, language)
        or any(split_lead_in(parsed_words, language))
        or all(map(_names_a_known_thing, understood.command.expressions))
    ):
        return reject("it is not understood as a command")
    return Decision(command=text, reason="")


def _names_a_known_thing(expression: str) -> bool:
    words = expression.split()
    return find_head_noun(words) is not None or fold(words[0]) in ENGLISH.things
