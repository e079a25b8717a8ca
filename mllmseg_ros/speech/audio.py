# SPDX-License-Identifier: Apache-2.0
"""Audio as everything here has it: 16 kHz, mono, int16."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Utterance", "pcm", "read_wave"]

SAMPLE_RATE = 16000  # Hz
MAX_CHUNK_S = 30.0  # in one message or file part; more is no stream
_CLIPPED = 32000  # of 32767
_CLIPPED_SHARE = 0.1  # of the samples: spoken words at the limit lose what tells them apart

Samples = NDArray[np.int16]  # (n,)


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Audio from the beginning of speech to its end."""

    samples: Samples  # (n,) int16, 16 kHz
    start_s: float  # of the speech, in the time of who fed the audio
    end_s: float

    @property
    def is_clipped(self) -> bool:
        """Whether so much of it is at the limit of the numbers that words are unlike themselves."""
        return bool(np.mean(np.abs(self.samples.astype(np.int32)) >= _CLIPPED) > _CLIPPED_SHARE)


def pcm(data: bytes, rate: int = SAMPLE_RATE, channels: int = 1) -> Samples:
    """Read 16-bit little-endian PCM.

    Raises:
        ValueError: another rate, several channels, half a sample, or more than MAX_CHUNK_S.
    """
    if rate != SAMPLE_RATE or channels != 1:
        raise ValueError(
            f"audio has {rate} Hz and {channels} channels; accepted: {SAMPLE_RATE} Hz, one channel"
        )
    size = len(data)
    if size % 2:
        raise ValueError(f"audio has {size} bytes; accepted: an even number, two a sample")
    if size > 2 * SAMPLE_RATE * MAX_CHUNK_S:
        raise ValueError(
            f"audio has {size / 2 / SAMPLE_RATE:.0f} s in one piece; accepted: up to "
            f"{MAX_CHUNK_S:.0f} s"
        )
    return np.frombuffer(data, "<i2").astype(np.int16)


def read_wave(path: Path) -> Samples:
    """Read a WAV file of 16 kHz, mono, 16 bits.

    Raises:
        ValueError: if it is another kind of file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            if (rate, channels, width) != (SAMPLE_RATE, 1, 2):
                raise ValueError(
                    f"{path} has {rate} Hz, {channels} channel(s), {8 * width} bits; accepted: "
                    f"{SAMPLE_RATE} Hz, 1 channel, 16 bits (sox FILE -r 16000 -c 1 -b 16 NEW.wav)"
                )
            longest = int(MAX_CHUNK_S * SAMPLE_RATE)
            parts = [
                pcm(file.readframes(longest), rate, channels)
                for _ in range(0, file.getnframes(), longest)
            ]
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is no WAV file: {str(error) or 'it ends too soon'}") from None
    return np.concatenate([np.zeros(0, np.int16), *parts])
