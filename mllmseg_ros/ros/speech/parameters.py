# SPDX-License-Identifier: Apache-2.0
"""The speech node's parameters.

``config/speech.yaml`` mirrors this file and a test compares the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mllmseg_ros.language.conversation import LANGUAGES
from mllmseg_ros.ros.support.parameter_fields import check_choices, parameter
from mllmseg_ros.speech.recogniser import NAMES

__all__ = ["SpeechParameters"]

NO_RECOGNISER = "none"
_WAKE_WORD = re.compile(r"[^\W\d_]+( [^\W\d_]+)*|")


@dataclass(frozen=True, kw_only=True)
class SpeechParameters:
    """A checked snapshot of all parameters. Those not marked live are read at start."""

    source: str = parameter(
        "topic",
        "where audio comes from; topic: `audio`; microphone: one of this machine",
        choices=("topic", "microphone"),
        read_only=True,
    )
    audio_type: str = parameter(
        "pcm",
        "type of `audio`, 16 kHz, mono, 16 bits; pcm: std_msgs/UInt8MultiArray; audio_data, "
        "audio_data_stamped, audio_stamped: audio_common_msgs, where that package is installed",
        choices=("pcm", "audio_data", "audio_data_stamped", "audio_stamped"),
        read_only=True,
    )
    microphone: str = parameter(
        "",
        "number, or part of the name, as python -m sounddevice lists them; empty: the default",
        read_only=True,
    )
    recogniser: str = parameter(
        "pocketsphinx",
        "pocketsphinx: offline, a grammar of commands; whisper: transformers; faster_whisper; "
        "none: text of another recogniser comes on `text`",
        choices=(*NAMES, NO_RECOGNISER),
        read_only=True,
    )
    recogniser_model: str = parameter(
        "", "whisper: local folder, or name of a model that is on this machine", read_only=True
    )
    text_type: str = parameter(
        "string",
        "recogniser none; type of `text`; string: std_msgs/String; transcription: "
        "whisper_msgs/Transcription, where that package is installed",
        choices=("string", "transcription"),
        read_only=True,
    )
    language: str = parameter(
        "en",
        "what is spoken; the node that commands go to needs the same",
        choices=tuple(LANGUAGES),
        read_only=True,
    )
    push_to_talk: bool = parameter(
        False, "hear only what is said while `push_to_talk` is true", read_only=True
    )
    wake_word: str = parameter(
        "",
        "what every command has to begin with, small letters; empty: nothing",
        read_only=True,
    )
    pause: float = parameter(
        0.5,
        "s, how long nobody has to speak for a command to be over; not with push to talk",
        range_=(0.1, 5.0),
        read_only=True,
    )
    min_confidence: float = parameter(
        0.5,
        "below it what was heard is no command; recognisers without a confidence pass",
        range_=(0.0, 1.0),
        live=True,
    )
    speak: bool = parameter(
        False,
        "say the answers to spoken commands, and all else on `say`, aloud by espeak-ng; audio is "
        "ignored meanwhile",
        read_only=True,
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if not _WAKE_WORD.fullmatch(self.wake_word) or self.wake_word != self.wake_word.lower():
            raise ValueError(
                f"parameter wake_word is {self.wake_word!r}; accepted: words in small letters"
            )
