# SPDX-License-Identifier: Apache-2.0
"""Record from a local microphone with PortAudio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mllmseg_ros.speech.audio import SAMPLE_RATE, Samples

__all__ = ["Microphone"]

_BLOCK = 1024  # samples, 64 ms


class Microphone:
    """Records blocks of samples in PortAudio's thread."""

    def __init__(self, device: str, on_samples: Callable[[Samples], None]) -> None:
        """Open a microphone.

        Args:
            device: number, or part of the name, as ``python -m sounddevice`` lists them; "" for
                the system's default.
            on_samples: called with blocks (n,) int16 at 16 kHz; must not block.

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
            on_samples(np.frombuffer(data, np.int16).copy())

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
                f"microphone {device!r} cannot be opened ({error}); `python -m sounddevice` lists "
                "the devices"
            ) from None

    def close(self) -> None:
        """Stop recording."""
        self._stream.close()
