# SPDX-License-Identifier: Apache-2.0
"""Whisper, by transformers or by faster-whisper: hears anything, wants a model of 75 MB and more.

Models are never downloaded here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mllmseg_ros.speech.audio import SAMPLE_RATE, Utterance
from mllmseg_ros.speech.transcription import Transcription

__all__ = ["FasterWhisper", "Whisper"]

_WHICH = "a local folder, or a name that huggingface_hub has brought to this machine"
_NO_MODEL = f"Whisper needs parameter recogniser_model: {_WHICH}"


class Whisper:
    """transformers' speech recognition pipeline."""

    def __init__(self, model: str, language: str = "en") -> None:
        """Load a model.

        Raises:
            ValueError: no model is named.
            RuntimeError: it cannot be loaded.
        """
        if not model:
            raise ValueError(_NO_MODEL)
        from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

        only_here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = AutoProcessor.from_pretrained(model, **only_here)
            network = AutoModelForSpeechSeq2Seq.from_pretrained(
                model, use_safetensors=True, **only_here
            )
        except (OSError, ValueError) as error:
            raise RuntimeError(_not_here(model, error)) from None
        self._pipeline = pipeline(
            "automatic-speech-recognition",
            model=network,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
        )
        # A model of one language refuses to be told which.
        several = getattr(network.generation_config, "is_multilingual", False)
        self._asked = {"language": language, "task": "transcribe"} if several else {}

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise; the pipeline has no confidence."""
        heard = self._pipeline(
            {"raw": _floats(utterance), "sampling_rate": SAMPLE_RATE}, generate_kwargs=self._asked
        )
        return Transcription(text=heard["text"].strip(), confidence=math.nan)


class FasterWhisper:
    """Whisper on CTranslate2, faster on a CPU."""

    _NO_SPEECH = 0.6  # probability from which on Whisper itself says that nobody spoke

    def __init__(self, model: str, language: str = "en") -> None:
        """Load a model.

        Raises:
            ValueError: no model is named.
            RuntimeError: the package or the model is missing.
        """
        if not model:
            raise ValueError(_NO_MODEL)
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise RuntimeError("faster_whisper is missing: pip install faster-whisper") from None
        try:
            self._model = WhisperModel(model, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise RuntimeError(_not_here(model, error)) from None
        self._language = language

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise; the confidence is the words' mean probability."""
        parts, _ = self._model.transcribe(_floats(utterance), language=self._language, beam_size=5)
        heard = [part for part in parts if part.no_speech_prob < self._NO_SPEECH]
        if not heard:
            return Transcription(text="", confidence=0.0)
        text = " ".join(part.text.strip() for part in heard)
        return Transcription(
            text=text, confidence=math.exp(min(part.avg_logprob for part in heard))
        )


def _floats(utterance: Utterance) -> np.ndarray:
    return utterance.samples.astype(np.float32) / 32768


def _not_here(model: str, error: Exception) -> str:
    reason = str(error).partition("\n")[0]
    return f"no Whisper model {model!r} here ({reason}); give {_WHICH}"
