# SPDX-License-Identifier: Apache-2.0
"""Write a trained model as a folder that all else loads."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from mllmseg_ros.checkpoints.loading import save_model
from mllmseg_ros.model.mllmseg import MLLMSeg

__all__ = ["Written", "write_model"]

_TOKENIZER_ENDINGS = (".json", ".txt", ".model")
_NOT_COPIED = ("recipe.json",)  # of the training that the start came from


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a model says of itself: section ``mllmseg`` of its config.json."""

    name: str
    can_reject: bool  # trained to answer [REJ]
    synthetic_only: bool  # trained on simulated scenes only


def write_model(
    folder: Path, start: Path, model: MLLMSeg, state: dict[str, Tensor], written: Written
) -> None:
    """Write weights in the published, merged layout, beside the files that the model began with.

    Args:
        folder: where to; created.
        start: checkpoint folder with its configuration and tokenizer.
        model: the network.
        state: its state dict, adapters worked in.
        written: what the model says of itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in start.iterdir():
        named = file.suffix in _TOKENIZER_ENDINGS and not file.name.endswith(".index.json")
        if file.is_file() and named and file.name not in _NOT_COPIED:
            shutil.copy(file, folder)
    path = folder / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields["use_llm_lora"] = 0
    fields["mllmseg"] = {**fields.get("mllmseg", {}), **asdict(written)}
    if not written.synthetic_only:  # it has learnt other words than those that it began with
        fields["mllmseg"].pop("known_words", None)
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_model(model, folder, torch.bfloat16, state)
