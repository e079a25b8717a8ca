# SPDX-License-Identifier: Apache-2.0
"""The available speech recognisers.

pocketsphinx recognises only sentences of its grammar, Whisper any speech.
"""

from __future__ import annotations

from collections.abc import Sequence

from mllmseg_ros.speech import whisper
from mllmseg_ros.speech.sphinx import Sphinx
from mllmseg_ros.speech.transcription import Recogniser

__all__ = ["load"]

NAMES = ("pocketsphinx", "whisper", "faster_whisper")


def load(
    name: str,
    *,
    model: str = "",
    language: str = "en",
    wake_word: str = "",
    names: Sequence[str] = (),
    beam_size: int = 5,
    threads: int = 0,
) -> Recogniser:
    """Load a recogniser.

    Args:
        name: one of NAMES.
        model: Whisper model: folder, or name of a downloaded one.
        language: key of ``language.conversation.LANGUAGES``.
        wake_word: first words of every command, for a grammar; "" for none.
        names: more names of things, for a grammar and for faster_whisper.
        beam_size: texts that faster_whisper follows at a time.
        threads: of faster_whisper; 0 for as many as OMP_NUM_THREADS says, or 4.

    Raises:
        RuntimeError: A package or model is missing; says what to do.
        ValueError: The recogniser does not support the arguments.
    """
    if name == "pocketsphinx":
        return Sphinx(language=language, wake_word=wake_word, names=names)
    if name == "whisper":
        return whisper.Whisper(model, language)
    if name == "faster_whisper":
        return whisper.FasterWhisper(
            model,
            language,
            wake_word=wake_word,
            names=names,
            beam_size=beam_size,
            threads=threads,
        )
    raise ValueError(f"recogniser is {name!r}, accepted: {', '.join(NAMES)}")
