# SPDX-License-Identifier: Apache-2.0
"""``mllmseg listen``: recognise the commands in a WAV file, as the speech node does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    listen = verbs.add_parser("listen", help="recognise the spoken commands in a WAV file")
    listen.add_argument("recording", type=Path, help="WAV file: 16 kHz, mono, 16 bits")
    listen.add_argument(
        "--recogniser",
        default="pocketsphinx",
        help="pocketsphinx (default), whisper or faster_whisper",
    )
    listen.add_argument("--model", default="", help="Whisper model: folder or name")
    listen.add_argument(
        "--language", default="en", help="spoken language: en (default), or de with whisper"
    )
    listen.add_argument(
        "--min-confidence",
        type=float,
        default=0.5,
        help="reject speech below this confidence (default: 0.5)",
    )
    listen.add_argument("--wake-word", default="", help="word that starts every command")
    listen.set_defaults(run=_listen)


def _listen(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.language.conversation import LANGUAGES
    from mllmseg_ros.speech import recogniser
    from mllmseg_ros.speech.activity import Endpointer, SileroVad
    from mllmseg_ros.speech.audio import read_wave
    from mllmseg_ros.speech.decision import Rules, decide

    samples = read_wave(arguments.recording)
    if arguments.language not in LANGUAGES:
        raise ValueError(f"language is {arguments.language!r}, accepted: {', '.join(LANGUAGES)}")
    recognise = recogniser.load(
        arguments.recogniser,
        model=arguments.model,
        language=arguments.language,
        wake_word=arguments.wake_word,
    )
    endpointer = Endpointer(SileroVad())
    rules = Rules(
        language=arguments.language,
        wake_word=arguments.wake_word,
        min_confidence=arguments.min_confidence,
    )
    utterances = (*endpointer.feed(samples), *endpointer.flush())
    if not utterances:
        print("no speech found")
    for utterance in utterances:
        transcription = recognise(utterance)
        decision = decide(transcription, rules, clipped=utterance.is_clipped)
        outcome = decision.command or f"no command: {decision.reason}"
        print(
            f"{utterance.start_s:7.2f} s to {utterance.end_s:.2f} s  {transcription.text!r} "
            f"({transcription.confidence:.2f})  {outcome}"
        )
