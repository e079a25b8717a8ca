# SPDX-License-Identifier: Apache-2.0
"""The interface of speech recognisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mllmseg_ros.speech.audio import Utterance

__all__ = ["Hypothesis", "Recogniser", "Transcription"]


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """What an utterance may be."""

    text: str
    log_likelihood: float  # natural logarithm; only differences within an utterance count


@dataclass(frozen=True, kw_only=True)
class Transcription:
    """Recognised text."""

    text: str  # "" if no words were recognised
    confidence: float  # [0, 1]; NaN if the recogniser has none
    hypotheses: tuple[Hypothesis, ...] = ()  # best first; () if the recogniser has one text only


class Recogniser(Protocol):
    """Converts speech to text."""

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise an utterance; may take seconds."""
