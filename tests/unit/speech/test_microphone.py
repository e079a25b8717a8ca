# SPDX-License-Identifier: Apache-2.0
"""The microphone, with a library in place of PortAudio, which needs a sound device."""

from __future__ import annotations

import sys
import time
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mllmseg_ros.speech import microphone
from mllmseg_ros.speech.microphone import Microphone


class Stream:
    """Calls back like PortAudio: whatever is raised ends the stream."""

    def __init__(self, **options: Any) -> None:
        self._callback = options["callback"]
        self.active = False

    def start(self) -> None:
        self.active = True

    def close(self) -> None:
        raise RuntimeError("the device is gone")

    def record(self) -> None:
        try:
            self._callback(np.ones(1024, np.int16).tobytes(), 1024, None, None)
        except Exception:
            self.active = False


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    library = ModuleType("sounddevice")
    library.RawInputStream = Stream  # type: ignore[attr-defined]
    library.PortAudioError = RuntimeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    return library


def test_a_block_that_fails_is_reported_and_the_next_one_arrives(library: ModuleType) -> None:
    blocks: list[np.ndarray] = []
    problems: list[str] = []

    def take(samples: np.ndarray) -> None:
        if not problems:
            raise OSError("queue")
        blocks.append(samples)

    recording = Microphone("", take, problems.append)
    for _ in range(2):
        recording._stream.record()
    assert recording.is_recording
    assert problems == ["audio of the microphone is lost: OSError: queue"]
    assert [len(each) for each in blocks] == [1024]


def test_a_device_that_is_gone_is_noticed_and_can_be_closed(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "_SILENT_S", 0.05)
    recording = Microphone("", lambda samples: None, lambda problem: None)
    recording._stream.record()
    time.sleep(0.1)
    assert not recording.is_recording
    recording.close()


def test_a_name_of_any_length_is_refused_in_one_line(library: ModuleType) -> None:
    for name in ("9" * 5000, "x" * 5000, "a\nb"):
        library.RawInputStream = lambda **options: int("none")  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="cannot be opened") as refusal:
            Microphone(name, lambda samples: None, lambda problem: None)
        assert len(str(refusal.value)) < 1500
        assert "\n" not in str(refusal.value)
