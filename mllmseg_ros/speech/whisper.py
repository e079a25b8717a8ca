# SPDX-License-Identifier: Apache-2.0
"""Recognise any speech with Whisper, by transformers or faster-whisper.

Models have 75 MB or more, and are never downloaded here.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import check_regular_file, read_json
from mllmseg_ros.speech.audio import SAMPLE_RATE, Utterance
from mllmseg_ros.speech.transcription import Transcription

__all__ = ["FasterWhisper", "Whisper"]

_MAX_SHOWN = 200  # characters of a name or an error
_ACCEPTED = "a folder, or the name of a model downloaded with huggingface_hub"
_NO_MODEL = f"Whisper needs parameter recogniser_model: {_ACCEPTED}"


class Whisper:
    """Whisper in the speech recognition pipeline of transformers."""

    def __init__(self, model: str, language: str = "en") -> None:
        """Load a model.

        Raises:
            ValueError: No model is given.
            RuntimeError: The model cannot be loaded.
        """
        if not model:
            raise ValueError(_NO_MODEL)
        from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

        local_only: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            _check_files(model)
            processor = AutoProcessor.from_pretrained(model, **local_only)
            network = AutoModelForSpeechSeq2Seq.from_pretrained(
                model, use_safetensors=True, **local_only
            )
        except Exception as error:
            raise RuntimeError(_describe_missing(model, error)) from None
        self._pipeline = pipeline(
            "automatic-speech-recognition",
            model=network,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
        )
        # Models of one language do not accept these arguments.
        is_multilingual = getattr(network.generation_config, "is_multilingual", False)
        self._generate_kwargs = (
            {"language": language, "task": "transcribe"} if is_multilingual else {}
        )

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise an utterance; the pipeline has no confidence."""
        spoken = self._pipeline(
            {"raw": _to_floats(utterance), "sampling_rate": SAMPLE_RATE},
            generate_kwargs=self._generate_kwargs,
        )
        return Transcription(text=spoken["text"].strip(), confidence=math.nan)


class FasterWhisper:
    """Whisper on CTranslate2, faster on a CPU."""

    _NO_SPEECH = 0.6  # probability above which Whisper itself reports no speech

    def __init__(self, model: str, language: str = "en") -> None:
        """Load a model.

        Raises:
            ValueError: No model is given.
            RuntimeError: The package or the model is missing.
        """
        if not model:
            raise ValueError(_NO_MODEL)
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise RuntimeError("faster_whisper is missing: pip install faster-whisper") from None
        try:
            _check_files(model)
            self._model = WhisperModel(model, local_files_only=True)
        except Exception as error:
            raise RuntimeError(_describe_missing(model, error)) from None
        self._language = language

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise an utterance; the confidence is the words' mean probability."""
        parts, _ = self._model.transcribe(
            _to_floats(utterance), language=self._language, beam_size=5
        )
        spoken = [part for part in parts if part.no_speech_prob < self._NO_SPEECH]
        if not spoken:
            return Transcription(text="", confidence=0.0)
        text = " ".join(part.text.strip() for part in spoken)
        return Transcription(
            text=text, confidence=math.exp(min(part.avg_logprob for part in spoken))
        )


def _to_floats(utterance: Utterance) -> np.ndarray:
    return utterance.samples.astype(np.float32) / 32768


def _check_files(model: str) -> None:
    """Check what libraries read without a limit.

    Raises:
        ValueError: A file of a local folder is not a regular file, or its configuration is broken.
        OSError: The folder cannot be read.
    """
    if not os.path.isdir(model):
        return
    folder = Path(model)
    for each in folder.iterdir():
        if not each.is_dir():
            check_regular_file(each)
    read_json(folder / "config.json")


def _describe_missing(model: str, error: Exception) -> str:
    reason = one_line(error, with_type=False, max_chars=_MAX_SHOWN)
    return f"no Whisper model {model[:_MAX_SHOWN]!r} here ({reason}); give {_ACCEPTED}"
