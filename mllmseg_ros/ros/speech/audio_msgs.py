# SPDX-License-Identifier: Apache-2.0
"""Convert audio messages to samples.

std_msgs/UInt8MultiArray holds 16-bit little-endian PCM. There are two packages audio_common_msgs:
AudioData is bytes in one, an array per number format in the other; both are read.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from std_msgs.msg import UInt8MultiArray

from mllmseg_ros.speech.audio import SAMPLE_RATE, Samples, parse_pcm

__all__ = ["get_frame_id", "message_type", "read_samples"]

_NAMES = {
    "audio_data": "AudioData",
    "audio_data_stamped": "AudioDataStamped",
    "audio_stamped": "AudioStamped",
}
_MAX_FRAME_ID = 256  # characters


def message_type(audio_type: str) -> type:
    """Return the class of the messages on ``audio``.

    Raises:
        RuntimeError: if audio_common_msgs is missing or has no such message.
    """
    if audio_type == "pcm":
        return UInt8MultiArray
    name = _NAMES[audio_type]
    try:
        return getattr(import_module("audio_common_msgs.msg"), name)
    except (ImportError, AttributeError):
        raise RuntimeError(
            f"audio_common_msgs/{name} is not installed; install audio_common_msgs, or set "
            "audio_type to pcm"
        ) from None


def read_samples(message: Any) -> Samples:
    """Read the samples of a message.

    Raises:
        ValueError: naming what is not supported.
    """
    audio = getattr(message, "audio", message)  # of a stamped message
    info = getattr(audio, "info", None)
    rate, channels = (info.rate, info.channels) if info is not None else (SAMPLE_RATE, 1)
    # Older versions call the inner field audio.
    content = getattr(audio, "audio_data", getattr(audio, "audio", audio))
    if hasattr(content, "int16_data"):
        if not content.int16_data:
            raise ValueError("audio has no int16_data; accepted: 16 bits a sample")
        content = np.asarray(content.int16_data, "<i2").tobytes()
    else:
        content = content.data
    return parse_pcm(bytes(content), rate, channels)


def get_frame_id(message: Any) -> str:
    """Return the frame of the microphone, "" if the message has none."""
    header = getattr(message, "header", None)
    return header.frame_id[:_MAX_FRAME_ID] if header is not None else ""
