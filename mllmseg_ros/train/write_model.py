# SPDX-License-Identifier: Apache-2.0
"""Write a trained model as a checkpoint folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from mllmseg_ros.checkpoints.loading import save_model
from mllmseg_ros.files import make_folder, read_bytes, read_json, write_file
from mllmseg_ros.model.known_words import split_words
from mllmseg_ros.model.mllmseg import MLLMSeg

__all__ = ["ModelMetadata", "write_model"]

_TOKENIZER_ENDINGS = (".json", ".txt", ".model")
_MAX_BYTES = 64 << 20  # of a file of the tokenizer
# The recipe of the training of the start checkpoint; the configuration is changed.
_NOT_COPIED = ("recipe.json", "config.json")


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """The ``mllmseg`` section of a model's config.json."""

    name: str
    can_reject: bool  # trained to answer [REJ]
    synthetic_only: bool  # trained on simulated scenes only


def write_model(
    folder: Path,
    start: Path,
    model: MLLMSeg,
    state: dict[str, Tensor],
    metadata: ModelMetadata,
    taught: Iterable[str] = (),
) -> None:
    """Write weights in the published, merged layout, with the start's tokenizer and configuration.

    Args:
        folder: where to; created if it is missing.
        start: checkpoint folder with its configuration and tokenizer.
        model: the network.
        state: its state dict, adapters merged.
        metadata: of the model.
        taught: expressions that it was trained on: where the start lists the words that it knows,
            theirs are added.
    """
    make_folder(folder)
    for file in start.iterdir():
        is_text = file.suffix in _TOKENIZER_ENDINGS and not file.name.endswith(".index.json")
        if file.is_file() and is_text and file.name not in _NOT_COPIED:
            write_file(folder / file.name, read_bytes(file, max_bytes=_MAX_BYTES))
    fields = read_json(start / "config.json")
    fields["use_llm_lora"] = 0
    fields["mllmseg"] = {**fields.get("mllmseg", {}), **asdict(metadata)}
    fields["mllmseg"].pop("quantize", None)  # of the start; these weights are not quantised
    known_words = fields["mllmseg"].get("known_words")
    if known_words:
        words = {*known_words, *(word for text in taught for word in split_words(text))}
        fields["mllmseg"]["known_words"] = sorted(words)
    text = json.dumps(fields, indent=2, ensure_ascii=False)
    write_file(folder / "config.json", text + "\n")
    save_model(model, folder, torch.bfloat16, state)
