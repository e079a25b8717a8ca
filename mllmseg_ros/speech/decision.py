# SPDX-License-Identifier: Apache-2.0
"""Whether what was heard is a command. Entry points: :class:`Rules`, :func:`decide`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mllmseg_ros.command import parse_command
from mllmseg_ros.language.conversation import LANGUAGES, understand
from mllmseg_ros.speech.recogniser import Words

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


def decide(words: Words, rules: Rules, *, clipped: bool = False) -> Decision:
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
    try:
        heard = understand(text, LANGUAGES[rules.language], _BEFORE)
    except ValueError as error:
        return no(str(error))
    # What is no sentence of the parser's could still be looked for, and is: of text, not of talk.
    if "not understood" in heard.note:
        return no("it is not understood as a command")
    return Decision(command=text, reason="")
