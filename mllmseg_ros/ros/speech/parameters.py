# SPDX-License-Identifier: Apache-2.0
"""The speech node's parameters.

``make parameters`` writes ``config/speech.yaml`` from this file.
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
        "Source of the audio; topic: `audio`; microphone: a microphone of this machine.",
        choices=("topic", "microphone"),
        read_only=True,
    )
    audio_type: str = parameter(
        "pcm",
        "Message type of `audio`, which is 16 kHz, mono, 16 bit. pcm: std_msgs/UInt8MultiArray; "
        "audio_data, audio_data_stamped, audio_stamped: audio_common_msgs, where that package "
        "is installed.",
        choices=("pcm", "audio_data", "audio_data_stamped", "audio_stamped"),
        read_only=True,
    )
    microphone: str = parameter(
        "",
        "Number of the microphone or part of its name, as listed by python -m sounddevice; "
        "empty: the default one.",
        read_only=True,
    )
    recogniser: str = parameter(
        "pocketsphinx",
        "Speech recogniser. pocketsphinx: offline, with a grammar of commands; whisper: with "
        "transformers; faster_whisper; none: another recogniser publishes the text on `text`.",
        choices=(*NAMES, NO_RECOGNISER),
        read_only=True,
    )
    recogniser_model: str = parameter(
        "",
        "Model of whisper: a local folder or the name of a model on this machine.",
        read_only=True,
    )
    names: tuple[str, ...] = parameter(
        (),
        "Your own names of things, in lower case and singular, which the recognisers "
        "pocketsphinx and faster_whisper are to expect.",
        read_only=True,
    )
    beam_size: int = parameter(
        5,
        "Texts that faster_whisper follows at a time. Less is faster and less accurate.",
        range_=(1, 10),
        read_only=True,
    )
    threads: int = parameter(
        0,
        "Threads of faster_whisper; 0: as many as OMP_NUM_THREADS says, or 4.",
        range_=(0, 64),
        read_only=True,
    )
    text_type: str = parameter(
        "string",
        "Message type of `text`, for recogniser none. string: std_msgs/String; transcription: "
        "whisper_msgs/Transcription, where that package is installed.",
        choices=("string", "transcription"),
        read_only=True,
    )
    language: str = parameter(
        "en",
        "Spoken language. The segmenter must use the same language.",
        choices=tuple(LANGUAGES),
        read_only=True,
    )
    push_to_talk: bool = parameter(
        False, "Listen only while `push_to_talk` is true.", read_only=True
    )
    wake_word: str = parameter(
        "",
        "Words that every command must start with, in lower case; empty: none.",
        read_only=True,
    )
    pause: float = parameter(
        0.5,
        "Length of the silence that ends a command, in seconds. Not used with push_to_talk.",
        range_=(0.1, 5.0),
        read_only=True,
    )
    min_confidence: float = parameter(
        0.5,
        "Minimum confidence of a command; results below it are discarded. "
        "Recognisers without a confidence always pass.",
        range_=(0.0, 1.0),
        live=True,
    )
    speak: bool = parameter(
        False,
        "Speak the results of spoken commands, and all other text on `say`. Audio is ignored "
        "meanwhile.",
        read_only=True,
    )
    voice: str = parameter(
        "",
        "Voice of Piper with which to speak: its .onnx file, beside which is its .onnx.json; "
        "empty: espeak-ng.",
        read_only=True,
    )

    def __post_init__(self) -> None:
        check_choices(self)
        for name in self.names:
            if not name or not _WAKE_WORD.fullmatch(name) or name != name.lower():
                raise ValueError(f"parameter names has {name!r}; accepted: words in lower case")
        if not _WAKE_WORD.fullmatch(self.wake_word) or self.wake_word != self.wake_word.lower():
            raise ValueError(
                f"parameter wake_word is {self.wake_word!r}; accepted: words in lower case"
            )
