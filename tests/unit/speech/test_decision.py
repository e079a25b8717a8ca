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
from mllmseg_ros.speech.decision import Dialogue, Rules, decide
from mllmseg_ros.speech.known_words import load_known_words
from mllmseg_ros.speech.transcription import Hypothesis, Transcription

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


def hypotheses(*texts_and_odds: tuple[str, float]) -> Transcription:
    return Transcription(
        text=texts_and_odds[0][0],
        confidence=0.9,
        hypotheses=tuple(
            Hypothesis(text=text, log_likelihood=odds) for text, odds in texts_and_odds
        ),
    )


@pytest.fixture(scope="module")
def knowing() -> Rules:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    return Rules(known_words=load_known_words("en", ()))


def test_the_hypothesis_that_is_a_command_about_known_things_wins(knowing: Rules) -> None:
    heard = hypotheses(("Find the purple base.", -1.0), ("find the purple vase", -2.5))
    decision = decide(heard, knowing)
    assert decision.command.lower() == "find the purple vase"


def test_a_repaired_word_is_said(knowing: Rules) -> None:
    decision = decide(hypotheses(("No the rubber decks.", -1.0)), knowing)
    assert decision.command == "no the rubber ducks"
    assert decision.reason == "heard 'decks' as 'ducks'"


def test_one_of_two_is_asked_back_and_never_acted_on(knowing: Rules) -> None:
    heard = hypotheses(("pick up the red bowl", -1.0), ("Pick up the red ball.", -1.5))
    decision = decide(heard, knowing)
    assert decision.command == ""
    assert decision.question
    assert decision.question.text == "the red bowl or the red ball?"
    assert decision.reason == "asked back: the red bowl or the red ball?"


def test_one_of_many_is_rejected(knowing: Rules) -> None:
    colors = ("red", "green", "white", "black")
    decision = decide(hypotheses(*((f"take the {color} hat", -1.0) for color in colors)), knowing)
    assert (decision.command, decision.question) == ("", None)
    assert "not certain" in decision.reason


def test_a_stop_is_not_doubted(knowing: Rules) -> None:
    assert decide(hypotheses(("the top", -1.0), ("stop", -1.2)), knowing).command == "stop"


@pytest.mark.parametrize(
    ("answer", "command"),
    [
        ("The ball.", "pick up the red ball"),
        ("the first one", "pick up the red bowl"),
        ("no, the second one please", "pick up the red ball"),
        ("the red one", "the red one"),  # both are: a command of its own
        ("stop", "stop"),
        ("go to the blue mug", "go to the blue mug"),
    ],
)
def test_an_answer_completes_the_command(answer: str, command: str, knowing: Rules) -> None:
    dialogue = Dialogue(knowing)
    asked = dialogue.decide(
        hypotheses(("pick up the red bowl", -1.0), ("pick up the red ball", -1.5))
    )
    assert asked.question
    assert dialogue.decide(hypotheses((answer, -1.0))).command == command
    # and counts once
    assert dialogue.decide(hypotheses(("the first one", -1.0))).command == "the first one"


def test_what_is_not_heard_well_is_no_answer(knowing: Rules) -> None:
    dialogue = Dialogue(knowing)
    dialogue.decide(hypotheses(("take the red bowl", -1.0), ("take the red ball", -1.5)))
    assert dialogue.decide(Transcription(text="the ball", confidence=0.2)).command == ""


def test_unknown_words_are_talk_unless_they_are_one(knowing: Rules) -> None:
    assert decide(hypotheses(("bring me the stapler", -1.0)), knowing).command
    assert not decide(hypotheses(("grab the green nopo", -1.0)), knowing).command
    named = Rules(known_words=load_known_words("en", ("nopo",)))
    assert decide(hypotheses(("grab the green nopo", -1.0)), named).command
