# SPDX-License-Identifier: Apache-2.0
"""What of a transcript becomes a command, and what is wrong with audio that is none."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from mllmseg_ros.language.conversation import understand
from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.speech import recogniser
from mllmseg_ros.speech.audio import MAX_CHUNK_S, SAMPLE_RATE, parse_pcm, read_wave
from mllmseg_ros.speech.decision import Rules, decide
from mllmseg_ros.speech.transcription import Transcription

WOKEN = Rules(wake_word="hey robot")


@pytest.mark.parametrize(
    ("text", "confidence", "rules", "command", "reason"),
    [
        ("Pick up the red mug.", math.nan, Rules(), "Pick up the red mug.", ""),
        ("pick up the red mug", 0.4, Rules(), "", "confidence 0.40 is under min_confidence 0.50"),
        ("pick up the red mug", 0.4, Rules(min_confidence=0.3), "pick up the red mug", ""),
        (" ", 1.0, Rules(), "", "no command was heard"),
        ("I think it will rain tomorrow", math.nan, Rules(), "", "is a statement"),
        ("my brother bought a new house", math.nan, Rules(), "", "not understood"),
        ("can you believe that it is already november", math.nan, Rules(), "", "not known here"),
        (
            "my hands are full, put the folder in the drawer",
            math.nan,
            Rules(),
            "my hands are full, put the folder in the drawer",
            "",
        ),
        ("the can in the middle", math.nan, Rules(), "the can in the middle", ""),
        ("bring me the stapler", math.nan, Rules(), "bring me the stapler", ""),
        ("again", 1.0, Rules(), "again", ""),
        ("nimm die rote Tasse", math.nan, Rules(language="de"), "nimm die rote Tasse", ""),
        ("Hey robot, pick up the red mug", 1.0, WOKEN, "pick up the red mug", ""),
        ("pick up the red mug", 1.0, WOKEN, "", "does not start with the wake word 'hey robot'"),
        ("hey robots pick up the red mug", 1.0, WOKEN, "", "does not start with the wake word"),
        ("hey robot", 1.0, WOKEN, "", "there is no command after the wake word"),
    ],
)
def test_what_becomes_a_command(
    text: str, confidence: float, rules: Rules, command: str, reason: str
) -> None:
    decision = decide(Transcription(text=text, confidence=confidence), rules)
    assert decision.command == command
    assert reason in decision.reason
    assert bool(decision.reason) == (not command)


def test_audio_that_does_not_fit_is_named() -> None:
    assert parse_pcm(b"\x01\x00\xff\x7f").tolist() == [1, 32767]
    with pytest.raises(ValueError, match="3 bytes; accepted: an even number"):
        parse_pcm(b"abc")
    with pytest.raises(ValueError, match="44100 Hz and 2 channels; accepted: 16000 Hz, one"):
        parse_pcm(b"", 44100, 2)
    with pytest.raises(ValueError, match="31 s in one piece; accepted: up to 30 s"):
        parse_pcm(bytes(2 * SAMPLE_RATE * int(MAX_CHUNK_S + 1)))


def test_a_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "said.wav"
    samples = np.arange(35 * SAMPLE_RATE, dtype=np.int64).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    assert np.array_equal(read_wave(path), samples)
    path.write_bytes(b"no audio at all")
    with pytest.raises(ValueError, match="is not a WAV file"):
        read_wave(path)


def test_a_recogniser_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recogniser is 'ear', accepted: pocketsphinx, whisper"):
        recogniser.load("ear")
    with pytest.raises(ValueError, match="needs parameter recogniser_model"):
        recogniser.load("whisper")
    with pytest.raises(RuntimeError, match=r"no Whisper model .* here"):
        recogniser.load("whisper", model=str(tmp_path))
    if importlib.util.find_spec("pocketsphinx"):
        with pytest.raises(ValueError, match="supports en only, not 'de'"):
            recogniser.load("pocketsphinx", language="de")
        with pytest.raises(ValueError, match="no pronunciation of the wake word 'xqzt'"):
            recogniser.load("pocketsphinx", wake_word="xqzt")


def test_listening_needs_no_torch() -> None:
    code = (
        "from mllmseg_ros.speech import activity, listener, recogniser, sphinx; import sys;"
        "print(*sorted({'torch', 'transformers', 'rclpy'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


@pytest.mark.parametrize("text", ["(door closes)", "[BLANK_AUDIO]", "♪", " you", "(the mug falls)"])
def test_sounds_are_not_commands(text: str) -> None:
    assert decide(Transcription(text=text, confidence=1.0), Rules()).command == ""


@pytest.mark.parametrize("text", ["stop！", "\ufeffStop。", "*stop*", "“Stop!”"])
def test_a_stop_is_heard_however_it_is_written(text: str) -> None:
    command = decide(Transcription(text=text, confidence=1.0), Rules()).command
    assert understand(command, ENGLISH).act == "stop"
