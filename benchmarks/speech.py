# SPDX-License-Identifier: Apache-2.0
"""Accuracy of spoken commands, and how often other sounds are recognised as one.

    python benchmarks/speech.py            commands, voices and talk that were not used for tuning
    python benchmarks/speech.py --tune     those used for tuning
    python benchmarks/speech.py --latency  end of speech to mask, in a sourced workspace
    python benchmarks/speech.py --piper --recogniser faster_whisper --recogniser-model FOLDER

espeak-ng or Piper speaks, sox adds pink noise, and the recogniser recognises. A command is right if
the parser gives the same structured command. "Asked" are utterances after which the node asks which
of two commands was meant.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ROOT / "benchmarks" / "speech_texts"
if __name__ == "__main__" and "--latency" not in sys.argv:
    sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "unit" / "speech"))

from speaking import (  # noqa: E402
    music,
    noisy,
    speak,
    speak_like_a_person,
    synthesised,
)

from mllmseg_ros.language.command import parse_command  # noqa: E402
from mllmseg_ros.language.conversation import LANGUAGES, understand  # noqa: E402
from mllmseg_ros.speech import recogniser  # noqa: E402
from mllmseg_ros.speech.activity import Endpointer, SileroVad  # noqa: E402
from mllmseg_ros.speech.audio import SAMPLE_RATE, Samples  # noqa: E402
from mllmseg_ros.speech.decision import Decision, Rules, decide  # noqa: E402
from mllmseg_ros.speech.known_words import load_known_words  # noqa: E402
from mllmseg_ros.speech.transcription import Transcription  # noqa: E402

LAST = parse_command("pick: the red mug")
TUNE_VOICES: tuple[tuple[str, int], ...] = (
    ("en-us", 160),
    ("en-us+f2", 150),
    ("en-us+f3", 150),
    ("en-us+m4", 165),
    ("en-gb+m3", 170),
)
VOICES: tuple[tuple[str, int], ...] = (
    ("en-us+m2", 170),
    ("en-us+f1", 155),
    ("en-us+f5", 150),
    ("en-us+klatt4", 165),
    ("en-gb-x-rp+m6", 160),
    # Used to evaluate an earlier version, but not for tuning.
    ("en-us+f4", 145),
    ("en-us+m7", 165),
    ("en-us+m1", 185),
    ("en-gb-x-rp+f3", 160),
)
PIPER = "piper"  # a voice, for all commands
IN_NOISE = 5  # of the voices
Recognised = tuple[Decision, Transcription]


class Pipeline:
    """All steps from audio to commands, without ROS."""

    def __init__(self, name: str, model: str) -> None:
        self._vad, self._recogniser = SileroVad(), recogniser.load(name, model=model)
        self._rules = Rules(known_words=load_known_words("en", ()))
        self.durations_s: list[float] = []

    def recognise(self, audio: Samples) -> list[Recognised]:
        """Recognise each utterance."""
        found = []
        for utterance in Endpointer(self._vad).feed(audio):
            began = time.perf_counter()
            transcription = self._recogniser(utterance)
            self.durations_s.append(time.perf_counter() - began)
            decision = decide(transcription, self._rules, clipped=utterance.is_clipped)
            found.append((decision, transcription))
        return found


def lines(name: str) -> list[str]:
    """Read the sentences of a file."""
    return (TEXTS / f"{name}.txt").read_text().splitlines()


def say(text: str, voice: str, speed: int) -> Samples:
    """Say a text."""
    return speak_like_a_person(text) if voice == PIPER else speak(text, voice, speed)


def word_errors(commands_said: str, recognised: str) -> int:
    """Compute the edit distance in words, without the capitals and stops of Whisper."""
    a, b = (re.sub(r"[.,!?]", " ", text.lower()).split() for text in (commands_said, recognised))
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return row[-1]


def structured_form(text: str) -> str:
    """Get the structured form of a command; Whisper writes sentences with capitals and stops."""
    return understand(text.lower().strip(" .,!?"), LANGUAGES["en"], LAST).command.text.lower()


def measure_commands(
    pipeline: Pipeline,
    commands_said: list[tuple[str, str, int]],
    snr_db: float | None,
    verbose: bool,
) -> Counter[tuple[str, str]]:
    """Print one row; returns the confusions."""
    n_right = n_asked = n_rejected = errors = n_words = 0
    confusions: Counter[tuple[str, str]] = Counter()
    for text, voice, speed in commands_said:
        audio = say(text, voice, speed)
        recognised = pipeline.recognise(audio if snr_db is None else noisy(audio, snr_db))
        errors += word_errors(text, " ".join(heard.text for _, heard in recognised))
        n_words += len(text.split())
        commands = [decision.command for decision, _ in recognised if decision.command]
        if not commands and any(decision.question for decision, _ in recognised):
            n_asked += 1
        elif not commands:
            n_rejected += 1
        elif len(commands) == 1 and structured_form(commands[0]) == structured_form(text):
            n_right += 1
        else:
            confusions[text, "; ".join(commands)] += 1
        if verbose:
            print(f"    {voice} | {text} | {recognised}")
    n, voice_names = len(commands_said), {voice for _, voice, _ in commands_said}
    voice_name = voice_names.pop() if len(voice_names) == 1 else "all voices"
    name = "clean" if snr_db is None else f"{snr_db:.0f} dB"
    print(
        f"{name:8}{voice_name:16}"
        f"{n:5}{n_right / n:9.1%}{n_asked / n:9.1%}{n_rejected / n:9.1%}"
        f"{sum(confusions.values()) / n:9.1%}{errors / n_words:9.1%}",
        flush=True,
    )
    return confusions


def measure_rejection(pipeline: Pipeline, name: str, sounds: list[Samples], verbose: bool) -> None:
    """Print how many sounds that are no command were recognised as one."""
    recognised = [pipeline.recognise(sound) for sound in sounds]
    false = [decision.command for each in recognised for decision, _ in each if decision.command]
    wrong = sum(any(decision.command for decision, _ in each) for each in recognised)
    print(f"{name:32}{len(sounds):5}{wrong:5}   {'; '.join(false)}", flush=True)
    if verbose:
        for each in recognised:
            print(f"    {each}")


def clipped(audio: Samples) -> Samples:
    """Clip audio like a microphone with too much gain."""
    return np.clip(audio.astype(np.int32) * 40, -32768, 32767).astype(np.int16)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--piper", action="store_true", help="one voice of Piper, all commands")
    parser.add_argument("--recogniser", default="pocketsphinx", choices=recogniser.NAMES)
    parser.add_argument("--recogniser-model", default="", metavar="FOLDER")
    parser.add_argument("--commands", type=int, metavar="N", help="the first N, for a quick look")
    parser.add_argument("--verbose", action="store_true", help="every utterance")
    arguments = parser.parse_args()
    if arguments.latency:
        from speech_latency import measure_latency

        return measure_latency()
    voices = TUNE_VOICES if arguments.tune else VOICES
    if arguments.piper:
        voices = ((PIPER, 0),)
    prefix = "tune_" if arguments.tune else ""
    commands = lines(f"{prefix}commands")[: arguments.commands]
    talk = lines(f"{prefix}talk")[: arguments.commands]
    pipeline = Pipeline(arguments.recogniser, arguments.recogniser_model)
    print(f"{'':24}{'n':>5}{'right':>9}{'asked':>9}{'rejected':>9}{'other':>9}{'WER':>9}")
    confusions: Counter[tuple[str, str]] = Counter()
    fifths = 2 if voices is VOICES else 5  # share of the commands per voice, in fifths
    for at, voice in enumerate(voices):
        commands_said = [t for n, t in enumerate(commands) if (n - at) % 5 < fifths]
        confusions += measure_commands(
            pipeline, [(t, *voice) for t in commands_said], None, arguments.verbose
        )
    in_noise = voices[:IN_NOISE]
    n_mixed = len(commands) if arguments.piper else 50
    mixed = [(text, *in_noise[at % len(in_noise)]) for at, text in enumerate(commands[:n_mixed])]
    for snr_db in (20.0, 10.0):
        confusions += measure_commands(pipeline, mixed, snr_db, arguments.verbose)
    print(f"\nrecognition: median {np.median(pipeline.durations_s) * 1e3:.0f} ms, ", end="")
    print(f"95 % {np.quantile(pipeline.durations_s, 0.95) * 1e3:.0f} ms\n")
    print(f"{'recognised as command':32}{'n':>5}")
    spoken = [say(text, *in_noise[at % len(in_noise)]) for at, text in enumerate(talk)]
    measure_rejection(pipeline, "talk, clean", spoken, arguments.verbose)
    for snr_db in (20.0, 10.0):
        sounds = [noisy(each, snr_db) for each in spoken]
        measure_rejection(pipeline, f"talk, {snr_db:.0f} dB", sounds, arguments.verbose)
    silence = np.zeros(10 * SAMPLE_RATE, np.int16)
    measure_rejection(pipeline, "silence, 10 s", [silence], arguments.verbose)
    noises = [synthesised(10, kind) for kind in ("whitenoise", "pinknoise", "brownnoise")]
    measure_rejection(pipeline, "white, pink, brown noise, 10 s", noises, arguments.verbose)
    measure_rejection(pipeline, "music, 10 s", [music(10)], arguments.verbose)
    loud = [clipped(say(text, *voices[0])) for text in commands[:10]]
    measure_rejection(pipeline, "clipped commands", loud, arguments.verbose)
    print("\nsaid -> recognised as")
    for (text, other), n in confusions.most_common():
        print(f"{n:4}  {text} -> {other}")


if __name__ == "__main__":
    main()
