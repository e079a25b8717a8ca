# SPDX-License-Identifier: Apache-2.0
"""``mllmseg listen``: recognise the commands in a WAV file, as the speech node does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_verb


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    listen = add_verb(
        verbs,
        "listen",
        "recognise the spoken commands in a WAV file",
        "mllmseg listen commands.wav",
        "mllmseg listen commands.wav --recogniser whisper --model base.en --wake-word robot",
    )
    listen.add_argument("recording", type=Path, help="WAV file: 16 kHz, mono, 16 bits")
    listen.add_argument(
        "--recogniser",
        default="pocketsphinx",
        help="pocketsphinx, whisper or faster_whisper",
    )
    listen.add_argument(
        "--model",
        default="",
        help="Whisper model: folder or name (needed for whisper)",
    )
    listen.add_argument("--language", default="en", help="spoken language: en, or de with whisper")
    listen.add_argument(
        "--min-confidence",
        type=float,
        default=0.5,
        help="reject speech below this confidence",
    )
    listen.add_argument(
        "--wake-word", default="", help="first word of every command (default: none)"
    )
    listen.add_argument(
        "--names", nargs="*", default=[], metavar="NAME", help="your own names of things"
    )
    listen.set_defaults(run=_listen)


def _listen(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.language.conversation import LANGUAGES
    from mllmseg_ros.speech import recogniser
    from mllmseg_ros.speech.activity import Endpointer, SileroVad
    from mllmseg_ros.speech.audio import read_wave
    from mllmseg_ros.speech.decision import Dialogue, Rules
    from mllmseg_ros.speech.known_words import load_known_words

    samples = read_wave(arguments.recording)
    if arguments.language not in LANGUAGES:
        raise ValueError(f"language is {arguments.language!r}, accepted: {', '.join(LANGUAGES)}")
    recognise = recogniser.load(
        arguments.recogniser,
        model=arguments.model,
        language=arguments.language,
        wake_word=arguments.wake_word,
        names=arguments.names,
    )
    endpointer = Endpointer(SileroVad())
    dialogue = Dialogue(
        Rules(
            language=arguments.language,
            wake_word=arguments.wake_word,
            min_confidence=arguments.min_confidence,
            known_words=load_known_words(arguments.language, arguments.names),
        )
    )
    utterances = (*endpointer.feed(samples), *endpointer.flush())
    if not utterances:
        print("no speech found")
    for utterance in utterances:
        transcription = recognise(utterance)
        decision = dialogue.decide(transcription, clipped=utterance.is_clipped)
        outcome = decision.command or f"no command: {decision.reason}"
        if decision.command and decision.reason:
            outcome += f" ({decision.reason})"
        print(
            f"{utterance.start_s:7.2f} s to {utterance.end_s:.2f} s  {transcription.text!r} "
            f"({transcription.confidence:.2f})  {outcome}"
        )
