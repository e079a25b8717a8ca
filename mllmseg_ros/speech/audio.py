# SPDX-License-Identifier: Apache-2.0
"""Audio in the common format: 16 kHz, mono, int16."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.files import open_file

__all__ = ["Utterance", "parse_pcm", "read_wave"]

SAMPLE_RATE = 16000  # Hz
MAX_CHUNK_S = 30.0  # maximum length of one message
MAX_FILE_S = 3600.0
_CLIPPING_LEVEL = 32000  # of 32767
_MAX_CLIPPED_SHARE = 0.1  # of the samples; more makes words unrecognisable

Samples = NDArray[np.int16]  # (n,)


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Audio from the beginning to the end of speech."""

    samples: Samples  # (n,) int16, 16 kHz
    start_s: float  # of the speech, on the clock of the caller of feed()
    end_s: float

    @property
    def is_clipped(self) -> bool:
        """Whether too many samples are clipped for recognition."""
        return bool(
            np.mean(np.abs(self.samples.astype(np.int32)) >= _CLIPPING_LEVEL) > _MAX_CLIPPED_SHARE
        )


def parse_pcm(data: bytes, rate: int = SAMPLE_RATE, channels: int = 1) -> Samples:
    """Parse 16-bit little-endian PCM.

    Raises:
        ValueError: Wrong rate, several channels, half a sample, or more than MAX_CHUNK_S.
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
        ValueError: The file cannot be read, has another format, or is longer than MAX_FILE_S.
    """
    try:
        with open_file(path) as opened, wave.open(opened, "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            if (rate, channels, width) != (SAMPLE_RATE, 1, 2):
                raise ValueError(
                    f"{path} has {rate} Hz, {channels} channel(s), {8 * width} bits; accepted: "
                    f"{SAMPLE_RATE} Hz, 1 channel, 16 bits (sox FILE -r 16000 -c 1 -b 16 NEW.wav)"
                )
            if file.getnframes() > MAX_FILE_S * SAMPLE_RATE:
                raise ValueError(
                    f"{path} has {file.getnframes() / SAMPLE_RATE:.0f} s, accepted are up to "
                    f"{MAX_FILE_S:.0f} s"
                )
            chunk = int(MAX_CHUNK_S * SAMPLE_RATE)
            parts = [
                parse_pcm(file.readframes(chunk), rate, channels)
                for _ in range(0, file.getnframes(), chunk)
            ]
    except (wave.Error, EOFError, RuntimeError, OSError) as error:  # RuntimeError: a wrong length
        raise ValueError(f"{path} is not a WAV file: {str(error) or 'it is truncated'}") from None
    return np.concatenate([np.zeros(0, np.int16), *parts])
