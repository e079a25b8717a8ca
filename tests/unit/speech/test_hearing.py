# SPDX-License-Identifier: Apache-2.0
"""Spoken commands become commands; what is none does not. Real audio, real recogniser."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from speaking import MISSING, music, noisy, speak, synthesised

from mllmseg_ros.speech import listener as listener_module
from mllmseg_ros.speech.activity import Endpointer
from mllmseg_ros.speech.audio import SAMPLE_RATE, Samples, Utterance
from mllmseg_ros.speech.decision import Dialogue, Rules, decide
from mllmseg_ros.speech.listener import QUEUE_S, Listener, RecognisedUtterance
from mllmseg_ros.speech.transcription import Transcription

if TYPE_CHECKING:
    from mllmseg_ros.speech.activity import SileroVad
    from mllmseg_ros.speech.sphinx import Sphinx

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

COMMANDS = (
    ("put the red cube on the plate", "en-us", 160),
    ("can you see the orange ball", "en-us+f2", 150),
    ("the mug on the left", "en-us", 160),
    ("stop", "en-us", 160),
)


def recognise_commands(vad: SileroVad, sphinx: Sphinx, audio: Samples) -> list[str]:
    """Commands that come of a sound."""
    utterances = Endpointer(vad).feed(audio)
    decisions = [decide(sphinx(each), Rules(), clipped=each.is_clipped) for each in utterances]
    return [each.command for each in decisions if each.command]


@pytest.mark.parametrize(("text", "voice", "speed"), COMMANDS)
def test_a_spoken_command_is_heard(
    vad: SileroVad, sphinx: Sphinx, text: str, voice: str, speed: int
) -> None:
    spoken = speak(text, voice, speed)
    assert recognise_commands(vad, sphinx, spoken) == [text]


def test_neither_noise_nor_a_soft_voice_is_a_hindrance(vad: SileroVad, sphinx: Sphinx) -> None:
    softly = (speak("stop") * 0.1).astype(np.int16)
    assert recognise_commands(vad, sphinx, softly) == ["stop"]
    assert recognise_commands(vad, sphinx, noisy(speak("put the red cube on the plate"), 20)) == [
        "put the red cube on the plate"
    ]


@pytest.mark.parametrize(
    "sound",
    [
        lambda: np.zeros(3 * SAMPLE_RATE, np.int16),
        lambda: synthesised(3, "whitenoise"),
        lambda: synthesised(3, "brownnoise"),
        lambda: music(4),
        lambda: np.clip(speak("stop").astype(np.int32) * 40, -32768, 32767).astype(np.int16),
        lambda: speak("how was your weekend at the lake"),
        lambda: speak("my sister called me this morning about the wedding"),
    ],
    ids=["silence", "white noise", "brown noise", "music", "clipped", "talk", "more talk"],
)
def test_other_speech_does_not_become_a_command(vad: SileroVad, sphinx: Sphinx, sound) -> None:
    assert recognise_commands(vad, sphinx, sound()) == []


def test_an_utterance_is_where_it_was_spoken(vad: SileroVad) -> None:
    silence = np.zeros(SAMPLE_RATE, np.int16)
    one, two = speak("the blue cup"), speak("pick up the red mug")
    stream = np.concatenate([silence, one, silence, two, silence])
    endpointer = Endpointer(vad)
    found = [u for at in range(0, len(stream), 1000) for u in endpointer.feed(stream[at:][:1000])]
    begins_s = [1.4, 1 + len(one) / SAMPLE_RATE + 1.4]  # 0.4 s are before each
    assert [each.start_s for each in found] == pytest.approx(begins_s, abs=0.15)
    assert all(0.4 < each.end_s - each.start_s < 2 for each in found)


class Ear:
    """Collects what a listener hears."""

    def __init__(self) -> None:
        self.utterances: list[RecognisedUtterance] = []
        self.problems: list[str] = []
        self._came = threading.Event()

    def __call__(self, utterance: RecognisedUtterance) -> None:
        self.utterances.append(utterance)
        self._came.set()

    def wait(self, seconds: float = 20) -> None:
        assert self._came.wait(seconds), "nothing was heard"
        self._came.clear()


def listen_while_held(vad: SileroVad, sphinx: Sphinx, ear: Ear) -> Listener:
    endpointer = Endpointer(vad, float("inf"))
    return Listener(
        endpointer, sphinx, Dialogue(Rules()), ear, ear.problems.append, push_to_talk=True
    )


def feed_chunks(listener: Listener, audio: Samples, begin_s: float = 100.0) -> None:
    """As a microphone hands it over, only faster."""
    for at in range(0, len(audio), 1024):
        chunk = audio[at : at + 1024]
        listener.feed(chunk, begin_s + (at + len(chunk)) / SAMPLE_RATE)


def test_a_listener_hears_in_a_thread_on_the_feeder_s_clock(vad: SileroVad, sphinx: Sphinx) -> None:
    ear = Ear()
    listener = Listener(Endpointer(vad), sphinx, Dialogue(Rules()), ear, ear.problems.append)
    try:
        feed_chunks(listener, speak("stop"))
        ear.wait()
    finally:
        listener.close()
    (only,) = ear.utterances
    assert only.decision.command == "stop"
    assert 100.3 < only.start_s < only.end_s < 101.3


def test_only_what_is_said_while_the_button_is_held_is_heard(
    vad: SileroVad, sphinx: Sphinx
) -> None:
    ear = Ear()
    listener = listen_while_held(vad, sphinx, ear)
    pause = np.zeros(2 * SAMPLE_RATE, np.int16)
    try:
        feed_chunks(listener, speak("stop"))
        listener.set_talk_button(True)
        feed_chunks(
            listener, np.concatenate([pause, speak("put the red cube on the plate"), pause])
        )
        listener.set_talk_button(False)
        feed_chunks(listener, speak("stop"))
        ear.wait()
        listener.set_talk_button(True)
        listener.set_talk_button(False)
        time.sleep(0.3)
    finally:
        listener.close()
    assert [each.decision.command for each in ear.utterances] == ["put the red cube on the plate"]


def test_a_slow_recogniser_does_not_block_and_a_failing_one_continues(vad: SileroVad) -> None:
    """What waits is bounded; an utterance with a gap in it is not put together."""
    go_on, ear = threading.Event(), Ear()

    def recognise(utterance: Utterance) -> Transcription:
        go_on.wait(20)
        if len(ear.utterances) == 0:
            raise RuntimeError("out of memory")
        return Transcription(text="stop", confidence=1.0)

    listener = Listener(Endpointer(vad), recognise, Dialogue(Rules()), ear, ear.problems.append)
    spoken, began_s = speak("stop"), time.monotonic()
    try:
        for _ in range(40):
            feed_chunks(listener, spoken)
        assert time.monotonic() - began_s < 2
        total_s = 40 * len(spoken) / SAMPLE_RATE
        assert listener.dropped_s == pytest.approx(total_s - QUEUE_S, abs=4)
        go_on.set()
        ear.wait()
        feed_chunks(listener, spoken)
        ear.wait()
    finally:
        go_on.set()
        listener.close()
    assert "out of memory" in ear.utterances[0].decision.reason
    assert ear.utterances[1].decision.command == "stop"
    assert len(ear.utterances) < 20


@pytest.mark.threat("S2")
def test_a_button_that_is_no_longer_held_is_released(
    vad: SileroVad, sphinx: Sphinx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever held it may be gone: what was said until then may be half a command."""
    monkeypatch.setattr(listener_module, "HELD_S", 0.5)
    ear = Ear()
    listener = listen_while_held(vad, sphinx, ear)
    try:
        listener.set_talk_button(True)
        feed_chunks(listener, speak("stop"))
        deadline_s = time.monotonic() + 20
        while not ear.problems:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        assert "push_to_talk was not repeated for 0.5 s" in ear.problems[0]
        feed_chunks(listener, speak("stop"))  # nobody holds it
        spoken = speak("put the red cube on the plate")
        listener.set_talk_button(True)
        for at in range(0, len(spoken), 8000):
            feed_chunks(listener, spoken[at : at + 8000])
            listener.set_talk_button(True)  # repeated
            time.sleep(0.2)
        listener.set_talk_button(False)
        ear.wait()
    finally:
        listener.close()
    assert [each.decision.command for each in ear.utterances] == ["put the red cube on the plate"]
    assert len(ear.problems) == 1


class Panic(BaseException):
    """As that of a tokenizer written in Rust, which is no Exception."""


@pytest.mark.parametrize("error", [OSError("disk"), MemoryError("samples"), Panic("regex")])
@pytest.mark.threat("S1")
def test_a_voice_detector_that_fails_costs_audio_and_the_next_is_heard(
    vad: SileroVad, sphinx: Sphinx, error: BaseException
) -> None:
    class FailingVad:
        n_failures = 3

        def reset(self) -> None:
            vad.reset()

        def __call__(self, window: Samples) -> float:
            if self.n_failures:
                self.n_failures -= 1
                raise error
            return vad(window)

    ear = Ear()
    endpointer = Endpointer(FailingVad())  # type: ignore[arg-type]
    listener = Listener(endpointer, sphinx, Dialogue(Rules()), ear, ear.problems.append)
    try:
        feed_chunks(listener, np.zeros(4 * 1024, np.int16))
        feed_chunks(listener, speak("stop"))
        ear.wait()
        assert listener.is_alive
    finally:
        listener.close()
    assert ear.problems == [f"audio is lost: {type(error).__name__}: {error}"] * 3
    assert ear.utterances[0].decision.command == "stop"


@pytest.mark.threat("S1")
def test_a_recogniser_that_panics_is_a_reason_in_the_transcript(vad: SileroVad) -> None:
    def recognise(utterance: Utterance) -> Transcription:
        raise Panic("called unwrap on\na None")

    ear = Ear()
    listener = Listener(Endpointer(vad), recognise, Dialogue(Rules()), ear, ear.problems.append)
    try:
        feed_chunks(listener, speak("stop"))
        ear.wait()
        assert listener.is_alive
    finally:
        listener.close()
    reason = "recognition failed: Panic: called unwrap on a None"
    assert ear.utterances[0].decision.reason == reason
    assert not ear.utterances[0].decision.command
