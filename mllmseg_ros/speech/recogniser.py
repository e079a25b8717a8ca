# SPDX-License-Identifier: Apache-2.0
"""The available speech recognisers.

pocketsphinx recognises only sentences of its grammar, Whisper any speech.
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
        model: Whisper model: folder, or name of a downloaded one.
        language: key of ``language.conversation.LANGUAGES``.
        wake_word: first words of every command, for a grammar; "" for none.

    Raises:
        RuntimeError: A package or model is missing; says what to do.
        ValueError: The recogniser does not support the arguments.
    """
    if name == "pocketsphinx":
        return Sphinx(language=language, wake_word=wake_word)
    if name == "whisper":
        return whisper.Whisper(model, language)
    if name == "faster_whisper":
        return whisper.FasterWhisper(model, language)
    raise ValueError(f"recogniser is {name!r}, accepted: {', '.join(NAMES)}")
