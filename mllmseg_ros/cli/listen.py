# SPDX-License-Identifier: Apache-2.0
"""``mllmseg listen``: what a recording asks for, as the speech node hears it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    listen = verbs.add_parser("listen", help="say which commands are in a recording")
    listen.add_argument("recording", type=Path, help="WAV file: 16 kHz, mono, 16 bits")
    listen.add_argument("--recogniser", default="pocketsphinx", help="or whisper, faster_whisper")
    listen.add_argument("--model", default="", help="Whisper's: local folder or name")
    listen.add_argument("--language", default="en", help="what is spoken: en, or de with whisper")
    listen.add_argument(
        "--min-confidence", type=float, default=0.5, help="below it what was heard is no command"
    )
    listen.add_argument("--wake-word", default="", help="what every command begins with")
    listen.set_defaults(run=_listen)


def _listen(asked: argparse.Namespace) -> None:
    from mllmseg_ros.language.conversation import LANGUAGES
    from mllmseg_ros.speech import recogniser
    from mllmseg_ros.speech.activity import Endpointer, SileroVad
    from mllmseg_ros.speech.audio import read_wave
    from mllmseg_ros.speech.decision import Rules, decide

    samples = read_wave(asked.recording)
    if asked.language not in LANGUAGES:
        raise ValueError(f"language is {asked.language!r}, accepted: {', '.join(LANGUAGES)}")
    hear = recogniser.load(
        asked.recogniser, model=asked.model, language=asked.language, wake_word=asked.wake_word
    )
    endpointer = Endpointer(SileroVad())
    rules = Rules(
        language=asked.language,
        wake_word=asked.wake_word,
        min_confidence=asked.min_confidence,
    )
    utterances = (*endpointer.feed(samples), *endpointer.flush())
    if not utterances:
        print("nobody speaks in it")
    for utterance in utterances:
        words = hear(utterance)
        decision = decide(words, rules, clipped=utterance.is_clipped)
        became = decision.command or f"no command: {decision.reason}"
        print(
            f"{utterance.start_s:7.2f} s to {utterance.end_s:.2f} s  {words.text!r} "
            f"({words.confidence:.2f})  {became}"
        )
