# SPDX-License-Identifier: Apache-2.0
"""Recognise any speech with Whisper, by transformers or faster-whisper.

Models have 75 MB or more, and are never downloaded here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import check_regular_file, read_json
from mllmseg_ros.language.grammar import names_of_things
from mllmseg_ros.speech.audio import SAMPLE_RATE, Utterance
from mllmseg_ros.speech.transcription import Hypothesis, Transcription

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
    """Whisper on CTranslate2, faster on a CPU, which knows the words of commands.

    The text before the speech, with which Whisper begins, has names of things and commands.
    Whisper's own window is 30 s; less silence is added here, which takes a third of the time.
    """

    _NO_SPEECH = 0.6  # probability above which Whisper itself reports no speech
    _WINDOW_S, _SILENCE_S = 10.0, 2.0  # shorter ones repeat the text
    _MAX_TOKENS = 80  # of the text
    # Of each kind of sentence one, with words that are misheard otherwise: "know", "T-mug".
    _PROMPT = (
        "Pick up the red mug. No, the gray one. Try again. Fetch all the cones in the middle, "
        "please. Put the tea mug in the vase. Robot, find a bowl. Stop. Halt. Wait. Repeat."
    )

    def __init__(
        self,
        model: str,
        language: str = "en",
        *,
        wake_word: str = "",
        names: Sequence[str] = (),
        beam_size: int = 5,
        threads: int = 0,
    ) -> None:
        """Load a model and run it once, so that the first command does not take longer.

        On a CPU it computes with 8 bits.

        Args:
            model: folder, or name of a downloaded model.
            language: of the speech.
            wake_word: first words of every command; "" for none.
            names: names of things, beside those of the grammar.
            beam_size: texts that are followed at a time; all are hypotheses.
            threads: 0 for as many as OMP_NUM_THREADS says, or 4.

        Raises:
            ValueError: No model is given.
            RuntimeError: The package or the model is missing.
        """
        if not model:
            raise ValueError(_NO_MODEL)
        try:
            import ctranslate2
            from faster_whisper import WhisperModel
            from faster_whisper.tokenizer import Tokenizer
        except ImportError:
            raise RuntimeError(
                "faster_whisper is missing: install requirements/whisper.txt "
                "(pip install faster-whisper)"
            ) from None
        on_gpu = ctranslate2.get_cuda_device_count() > 0
        try:
            _check_files(model)
            self._model = WhisperModel(
                model,
                device="cuda" if on_gpu else "cpu",
                compute_type="default" if on_gpu else "int8",
                cpu_threads=threads,
                local_files_only=True,
            )
        except Exception as error:
            raise RuntimeError(_describe_missing(model, error)) from None
        self._tokenizer = Tokenizer(
            self._model.hf_tokenizer,
            self._model.model.is_multilingual,
            task="transcribe",
            language=language,
        )
        # The user's names first: what is too long is cut at the end.
        things = [wake_word, *names, *(names_of_things() if language == "en" else ())]
        prompt = self._PROMPT if language == "en" else ""
        self._prompt = self._model.get_prompt(
            self._tokenizer,
            self._tokenizer.encode(f" {prompt}") if prompt else [],
            without_timestamps=True,
            hotwords=", ".join(filter(None, things)) + "." if any(things) else None,
        )
        self._beam_size = beam_size
        silence = np.zeros(SAMPLE_RATE, np.int16)
        self(Utterance(samples=silence, start_s=0.0, end_s=1.0))

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise an utterance; the confidence is the mean probability of the tokens."""
        samples = _to_floats(utterance)
        window = round(
            max(self._WINDOW_S * SAMPLE_RATE, len(samples) + self._SILENCE_S * SAMPLE_RATE)
        )
        padded = np.pad(samples, (0, window - len(samples)))
        encoded = self._model.encode(self._model.feature_extractor(padded, padding=0))
        result = self._model.model.generate(
            encoded,
            [self._prompt],
            beam_size=self._beam_size,
            num_hypotheses=self._beam_size,
            max_length=len(self._prompt) + self._MAX_TOKENS,
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        if result.no_speech_prob >= self._NO_SPEECH:
            return Transcription(text="", confidence=0.0)
        hypotheses = tuple(
            Hypothesis(
                text=_remove_repetition(self._tokenizer.decode(tokens).strip()),
                log_likelihood=score * len(tokens),  # CTranslate2 divides by the length
            )
            for tokens, score in zip(result.sequences_ids, result.scores, strict=True)
        )
        return Transcription(
            text=hypotheses[0].text, confidence=math.exp(result.scores[0]), hypotheses=hypotheses
        )


def _remove_repetition(text: str) -> str:
    """Remove what Whisper repeats in a short window: "Take the mug. Take the m"."""
    repeated = re.fullmatch(r"(.{8,}?)[\s.,!?]+(\1.*)", text, re.IGNORECASE | re.DOTALL)
    return repeated[1] if repeated else text


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
