# SPDX-License-Identifier: Apache-2.0
"""Quantised checkpoints: quantised while they are loaded, or stored and loaded directly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

pytest.importorskip("torchao", reason="needs requirements/quantize.txt")

from mllmseg_ros.checkpoints import integrity, quantizing
from mllmseg_ros.checkpoints.loading import load_model, save_model
from mllmseg_ros.checkpoints.quantizing import quantize_checkpoint
from mllmseg_ros.cli import main
from mllmseg_ros.model.config import parse_config
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.train.write_model import ModelMetadata, write_model

CPU = torch.device("cpu")
EXPRESSIONS = ["the red mug", "the bowl"]
UP = "language_model.model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module", params=["int8", "int4"])
def stored(
    request: pytest.FixtureRequest,
    random_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("quantized") / request.param
    assert main(["quantize", str(random_checkpoint), request.param, "-o", str(out)]) == 0
    return request.param, out


def probabilities(segmenter: Segmenter, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([each.probability for each in segmenter(image, EXPRESSIONS)])


def test_a_stored_model_equals_one_that_is_quantised_while_it_is_loaded(
    stored: tuple[str, Path], random_checkpoint: Path, image: NDArray[np.uint8]
) -> None:
    kind, folder = stored
    direct = Segmenter.from_pretrained(
        random_checkpoint, device="cpu", dtype="bfloat16", quantize=kind
    )
    loaded = Segmenter.from_pretrained(folder, device="cpu", dtype="bfloat16")
    assert direct.quantization == loaded.quantization == kind
    ours, reference = probabilities(loaded, image), probabilities(direct, image)
    np.testing.assert_array_equal(ours, reference)
    plain = Segmenter.from_pretrained(random_checkpoint, device="cpu", dtype="bfloat16")
    assert plain.quantization == ""
    between = np.abs(ours - probabilities(plain, image)).max()
    assert 0 < between < 0.2


def test_a_stored_model_is_complete_small_and_without_pickles(
    stored: tuple[str, Path], random_checkpoint: Path
) -> None:
    kind, folder = stored
    report = integrity.check(folder)
    assert report.problems == ()
    assert "sha256" in report.checked
    tensors = load_file(folder / "model-00001.safetensors")
    before = load_file(random_checkpoint / "model.safetensors")
    rows, columns = before[UP].shape
    expected = {"int8": (torch.int8, columns), "int4": (torch.uint8, columns // 2)}[kind]
    assert (tensors[UP].dtype, tensors[UP].shape) == (expected[0], (rows, expected[1]))
    assert f"{UP}_scale" in tensors
    assert (f"{UP}_zero" in tensors) == (kind == "int4")
    others = [
        name for name in before if name in tensors and before[name].shape == tensors[name].shape
    ]
    assert all(
        torch.equal(before[name], tensors[name])
        for name in others
        if tensors[name].dtype != torch.int8
    )


def test_training_gets_plain_weights_of_a_stored_model(
    stored: tuple[str, Path], random_checkpoint: Path, tmp_path: Path
) -> None:
    kind, folder = stored
    plain = load_model(random_checkpoint, CPU, torch.float32).state_dict()
    restored = load_model(folder, CPU, torch.float32)
    assert restored.quantization == ""
    name = "language_model.layers.1.mlp.up_proj.weight"
    weight = restored.state_dict()[name]
    assert type(weight) is torch.Tensor
    error = float((weight - plain[name]).norm() / plain[name].norm())
    assert 0 < error < {"int8": 0.01, "int4": 0.11}[kind]
    assert torch.equal(restored.lm_head.weight, plain["lm_head.weight"])
    metadata = ModelMetadata(name="trained", can_reject=True, synthetic_only=True)
    write_model(tmp_path, folder, restored, restored.state_dict(), metadata)
    assert Segmenter.from_pretrained(tmp_path, device="cpu").quantization == ""


def test_internlm2_is_fused_and_split_in_its_quantised_form(
    random_checkpoint: Path, tmp_path: Path, image: NDArray[np.uint8]
) -> None:
    fields = json.loads((random_checkpoint / "config.json").read_text(encoding="utf-8"))
    fields["llm_config"] |= {
        "architectures": ["InternLM2ForCausalLM"],
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
    }
    folder = tmp_path / "plain"
    torch.manual_seed(0)
    model = MLLMSeg(parse_config(fields, name="x", origin="test")).eval()
    save_model(model, folder, torch.float32)
    for file in random_checkpoint.glob("tokenizer*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    quantize_checkpoint(folder, tmp_path / "int4", "int4")
    direct = Segmenter.from_pretrained(folder, device="cpu", dtype="bfloat16", quantize="int4")
    loaded = Segmenter.from_pretrained(tmp_path / "int4", device="cpu", dtype="bfloat16")
    np.testing.assert_array_equal(probabilities(loaded, image), probabilities(direct, image))


def test_large_models_are_stored_in_several_files(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizing, "MAX_FILE_BYTES", 4 << 20)
    quantize_checkpoint(random_checkpoint, tmp_path / "int8", "int8")
    assert len(integrity.weight_files(tmp_path / "int8")) > 1
    assert integrity.check(tmp_path / "int8").problems == ()
    Segmenter.from_pretrained(tmp_path / "int8", device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({UP: torch.zeros(576, 192)}, f"{UP} in int8 is F32, F32"),
        ({f"{UP}_scale": torch.zeros(576, 2)}, rf"{UP} in int8 has shapes .*\(576, 2\)"),
        ({f"{UP}_scale": None}, f"missing {UP}"),
        ({f"{UP}_zero": torch.zeros(576, 3)}, f"unexpected {UP}_zero"),
    ],
)
def test_broken_quantised_weights_are_named(
    random_checkpoint: Path,
    tmp_path: Path,
    changes: dict[str, torch.Tensor | None],
    message: str,
) -> None:
    folder = tmp_path / "int8"
    quantize_checkpoint(random_checkpoint, folder, "int8")
    tensors = {**load_file(folder / "model-00001.safetensors"), **changes}
    save_file(
        {name: each for name, each in tensors.items() if each is not None},
        folder / "model-00001.safetensors",
    )
    with pytest.raises(ValueError, match=message):
        Segmenter.from_pretrained(folder, device="cpu")


def test_what_cannot_be_written_or_saved_is_named(random_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes.txt").touch()
    with pytest.raises(ValueError, match="there already exists"):
        quantize_checkpoint(random_checkpoint, tmp_path / "there", "int8")
    with pytest.raises(ValueError, match="unknown kind 'int5'"):
        quantize_checkpoint(random_checkpoint, tmp_path / "new", "int5")
    segmenter = Segmenter.from_pretrained(random_checkpoint, device="cpu", quantize="int8")
    with pytest.raises(ValueError, match="loaded for inference is not saved"):
        save_model(segmenter.model, tmp_path / "new", torch.float32)
    assert not (tmp_path / "new").exists()


def test_a_configuration_with_an_unknown_kind_is_refused(random_checkpoint: Path) -> None:
    fields = json.loads((random_checkpoint / "config.json").read_text(encoding="utf-8"))
    fields["mllmseg"]["quantize"] = "int5"
    with pytest.raises(ValueError, match="quantize is 'int5', accepted: int8, int4, fp8"):
        parse_config(fields, name="x", origin="test")
    fields["mllmseg"]["quantize"] = "int8"
    with pytest.raises(ValueError, match="quantize int8 with an unmerged LoRA"):
        parse_config({**fields, "use_llm_lora": 4}, name="x", origin="test")
