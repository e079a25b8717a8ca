# SPDX-License-Identifier: Apache-2.0
"""The recorded numbers of the original implementation, and its tiny models as checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
MODELS = ("tiny-qwen2", "tiny-internlm2")


@pytest.fixture(scope="session")
def golden() -> Path:
    if not GOLDEN.is_dir():
        pytest.skip("recorded numbers of the original (../shared/golden) are not here")
    return GOLDEN


def build_checkpoint(golden: Path, model: str, folder: Path, *, lora: bool) -> Path:
    """Assemble a checkpoint folder in the published layout from the golden parts."""
    folder.mkdir(parents=True)
    for file in (golden / model).iterdir():
        if "token" in file.name or file.name in ("vocab.json", "merges.txt"):
            shutil.copy(file, folder)
    config = json.loads((golden / model / "config.json").read_text(encoding="utf-8"))
    if lora:
        config["use_llm_lora"] = 8
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(golden / "shared_vision_decoder.safetensors")
    name = "llm_lora.safetensors" if lora else "llm.safetensors"
    tensors.update(load_file(golden / model / name))
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session", params=MODELS)
def model_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def checkpoint(golden: Path, model_name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged") / model_name
    return build_checkpoint(golden, model_name, folder, lora=False)


@pytest.fixture(scope="session")
def lora_checkpoint(
    golden: Path, model_name: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("lora") / model_name
    return build_checkpoint(golden, model_name, folder, lora=True)
