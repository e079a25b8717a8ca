# SPDX-License-Identifier: Apache-2.0
"""Record from a local microphone with PortAudio."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mllmseg_ros.error_text import one_line
from mllmseg_ros.speech.audio import SAMPLE_RATE, Samples

__all__ = ["Microphone"]

_BLOCK = 1024  # samples, 64 ms
_SILENT_S = 2.0  # without a block, the device is gone
_MAX_SHOWN = 80  # characters of a device's name


class Microphone:
    """Records blocks of samples in PortAudio's thread."""

    def __init__(
        self,
        device: str,
        on_samples: Callable[[Samples], None],
        on_problem: Callable[[str], None],
    ) -> None:
        """Open a microphone.

        Args:
            device: number, or part of the name, as ``python -m sounddevice`` lists them; "" for
                the system's default.
            on_samples: called with blocks (n,) int16 at 16 kHz; must not block.
            on_problem: called with one line about a block that is lost.

        Raises:
            RuntimeError: A library or the device is missing; says which.
        """
        try:
            import sounddevice
        except ImportError:
            raise RuntimeError(
                "sounddevice is missing: install requirements/speech.txt (pip install sounddevice)"
            ) from None
        except OSError:
            raise RuntimeError("PortAudio is missing: apt install libportaudio2") from None

        def on_block(data: Any, *_: Any) -> None:
            self._last_block_s = time.monotonic()
            try:
                on_samples(np.frombuffer(data, np.int16).copy())
            except Exception as error:  # which would end the stream
                on_problem(f"audio of the microphone is lost: {one_line(error)}")

        self._last_block_s = time.monotonic()

        try:
            self._stream = sounddevice.RawInputStream(
                samplerate=SAMPLE_RATE,
                blocksize=_BLOCK,
                channels=1,
                dtype="int16",
                device=int(device) if device.isdecimal() else device or None,
                callback=on_block,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise RuntimeError(
                f"microphone {device[:_MAX_SHOWN]!r} cannot be opened "
                f"({one_line(error, with_type=False)}); `python -m sounddevice` lists "
                "the devices"
            ) from None

    @property
    def is_recording(self) -> bool:
        """Whether blocks arrive; false after the device was unplugged."""
        return self._stream.active and time.monotonic() < self._last_block_s + _SILENT_S

    def close(self) -> None:
        """Stop recording."""
        with contextlib.suppress(Exception):  # PortAudio's, of a device that is gone
            self._stream.close()
