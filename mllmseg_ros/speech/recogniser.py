# SPDX-License-Identifier: Apache-2.0
"""Which recognisers there are.

pocketsphinx hears only what its grammar says; the Whisper ones hear anything.
"""

from __future__ import annotations

from mllmseg_ros.speech import whisper
from mllmseg_ros.speech.sphinx import Sphinx
from mllmseg_ros.speech.transcription import Recogniser

__all__ = ["load"]

NAMES = ("pocketsphinx", "whisper", "faster_whisper")


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
        return Sphinx(language=language, wake_word=wake_word)
    if name == "whisper":
        return whisper.Whisper(model, language)
    if name == "faster_whisper":
        return whisper.FasterWhisper(model, language)
    raise ValueError(f"recogniser is {name!r}, accepted: {', '.join(NAMES)}")
