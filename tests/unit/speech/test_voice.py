# SPDX-License-Identifier: Apache-2.0
"""The robot speaks, knows when, and stops immediately when asked to."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from speaking import MISSING

from mllmseg_ros.speech.voice import Voice

pytestmark = pytest.mark.skipif("espeak-ng" in MISSING, reason="espeak-ng is not installed")


def test_what_is_said_is_said_one_after_the_other() -> None:
    silent = threading.Event()
    voice = Voice(lambda wrong: silent.set())
    try:
        assert not voice.is_speaking
        voice.say("--help")
        voice.say("yes")
        assert voice.is_speaking
        assert silent.wait(20)
        time.sleep(0.1)
        assert not voice.is_speaking
    finally:
        voice.close()


def test_it_ends_in_the_middle_of_a_word() -> None:
    voice = Voice(lambda wrong: None)
    for _ in range(20):  # more than wait
        voice.say("supercalifragilistic " * 20)
    began_s = time.monotonic()
    voice.close()
    assert time.monotonic() - began_s < 5


def test_a_program_that_is_gone_is_reported_and_does_not_end_the_voice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, link = shutil.which("espeak-ng"), tmp_path / "espeak-ng"
    assert real
    link.symlink_to(real)
    monkeypatch.setenv("PATH", str(tmp_path))
    problems: list[str] = []
    silent = threading.Event()
    voice = Voice(lambda wrong: (problems.append(wrong), silent.set()))
    try:
        link.unlink()
        voice.say("yes")
        assert silent.wait(20)
        silent.clear()
        link.symlink_to(real)
        voice.say("half a pair \ud800, reversed \u202e")  # no text that can be encoded
        assert silent.wait(20)
        time.sleep(0.1)
        assert voice.is_alive
        assert not voice.is_speaking
    finally:
        voice.close()
    assert "FileNotFoundError" in problems[0]
    assert "Unicode" not in problems[1]
