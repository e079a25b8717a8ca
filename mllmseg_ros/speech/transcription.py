# SPDX-License-Identifier: Apache-2.0
"""What a recogniser is: speech in, a transcription out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mllmseg_ros.speech.audio import Utterance


@dataclass(frozen=True, kw_only=True)
class Transcription:
    """What a recogniser heard."""

    text: str  # lower case or as written; "" where it heard no words
    confidence: float  # [0, 1]; NaN where the recogniser has none


class Recogniser(Protocol):
    """Turns speech into words."""

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise; may take seconds."""
