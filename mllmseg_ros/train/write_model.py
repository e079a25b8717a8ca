# SPDX-License-Identifier: Apache-2.0
"""Write a trained model as a folder that all else loads. Entry point: :func:`write_model`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from torch import Tensor

from mllmseg_ros.checkpoint import save_model
from mllmseg_ros.model.mllmseg import MLLMSeg


def write_model(folder: Path, start: Path, model: MLLMSeg, state: dict[str, Tensor]) -> None:
    """Write weights in the published, merged layout, beside the files that the model began with.

    Args:
        folder: where to; created.
        start: checkpoint folder with its configuration and tokenizer.
        model: the network.
        state: its state dict, adapters worked in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in start.iterdir():
        if file.is_file() and file.suffix in (".json", ".txt", ".model") and (
            not file.name.endswith(".index.json")
        ):  # fmt: skip
            shutil.copy(file, folder)
    path = folder / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields["use_llm_lora"] = 0
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_model(model, folder, torch.bfloat16, state)
