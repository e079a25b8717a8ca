# SPDX-License-Identifier: Apache-2.0
"""What recognisers have in common, and which there are. Entry points: :func:`load`, :class:`Words`.

pocketsphinx hears only what its grammar says; the Whisper ones hear anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mllmseg_ros.speech.audio import Utterance

NAMES = ("pocketsphinx", "whisper", "faster_whisper")


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a recogniser heard."""

    text: str  # lower case or as written; "" where it heard no words
    confidence: float  # [0, 1]; NaN where the recogniser has none


class Recogniser(Protocol):
    """Turns speech into words."""

    def __call__(self, utterance: Utterance) -> Words:
        """Recognise; may take seconds."""


def load(name: str, *, model: str = "", language: str = "en", wake_word: str = "") -> Recogniser:
    """Load a recogniser.

    Args:
        name: one of NAMES.
        model: Whisper's: local folder or a name that is on this machine already.
        language: key of ``language.conversation.LANGUAGES``.
        wake_word: what every command begins with, for a grammar; "" for nothing.

    Raises:
        RuntimeError: a package or model is missing; says what to do.
        ValueError: it cannot do what is asked.
    """
    if name == "pocketsphinx":
        from mllmseg_ros.speech.sphinx import Sphinx

        return Sphinx(language=language, wake_word=wake_word)
    from mllmseg_ros.speech import whisper

    if name == "whisper":
        return whisper.Whisper(model, language)
    if name == "faster_whisper":
        return whisper.FasterWhisper(model, language)
    raise ValueError(f"recogniser is {name!r}, accepted: {', '.join(NAMES)}")
