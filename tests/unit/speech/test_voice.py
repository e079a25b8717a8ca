# SPDX-License-Identifier: Apache-2.0
"""The robot speaks, knows when, and ends at once where it is told to."""

from __future__ import annotations

import threading
import time

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
