# SPDX-License-Identifier: Apache-2.0
"""The interface of speech recognisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mllmseg_ros.speech.audio import Utterance


@dataclass(frozen=True, kw_only=True)
class Transcription:
    """Recognised text."""

    text: str  # "" if no words were recognised
    confidence: float  # [0, 1]; NaN if the recogniser has none


class Recogniser(Protocol):
    """Converts speech to text."""

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise an utterance; may take seconds."""
