# SPDX-License-Identifier: Apache-2.0
"""Loading is strict and names what does not fit; pickles are refused and converted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mllmseg_ros.checkpoints.conversion import convert_checkpoint
from mllmseg_ros.checkpoints.hub import checkpoint_name, find_checkpoint
from mllmseg_ros.checkpoints.loading import load_model, save_model
from mllmseg_ros.model.config import parse_config, read_config
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.segmenter import Segmenter

CPU = torch.device("cpu")
_HEAD = "language_model.lm_head.weight"


@pytest.fixture
def folder(random_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_checkpoint, tmp_path / "model"))


def rewrite(folder: Path, **changes: torch.Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({_HEAD: None}, f"1 tensors .*missing {_HEAD}"),
        ({"lm.extra": torch.zeros(2)}, "unexpected lm.extra"),
        (
            {"mlp1.1.bias": torch.zeros(7)},
            r"mlp1.1.bias has shape \(7,\), expected \(192,\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    folder: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    rewrite(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load_model(folder, CPU, torch.float32)


def test_shards_load_as_one_file_does(folder: Path) -> None:
    whole = load_model(folder, CPU, torch.float32).state_dict()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    sharded = load_model(folder, CPU, torch.float32).state_dict()
    assert all(torch.equal(sharded[name], tensor) for name, tensor in whole.items())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        ValueError, match=r"model-00002-of.*index\.json names 2 files, 1 of them miss"
    ):
        load_model(folder, CPU, torch.float32)
    index.unlink()
    with pytest.raises(
        ValueError, match=r"index\.json: not found; it is the index of model-00001-of"
    ):
        load_model(folder, CPU, torch.float32)


def test_an_index_cannot_point_out_of_its_folder(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    weight_map = {"a": "../model.safetensors"}
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    with pytest.raises(ValueError, match="not the name of a safetensors file"):
        load_model(folder, CPU, torch.float32)


def test_truncated_file_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load_model(folder, CPU, torch.float32)


@pytest.mark.threat("F1")
def test_pickled_weights_are_refused_and_converted(folder: Path) -> None:
    reference = load_model(folder, CPU, torch.float32).state_dict()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"mllmseg convert {folder}"):
        load_model(folder, CPU, torch.float32)
    assert convert_checkpoint(folder) == [folder / "model.safetensors"]
    converted = load_model(folder, CPU, torch.float32).state_dict()
    assert all(torch.equal(converted[name], tensor) for name, tensor in reference.items())


def test_sharded_pickles_are_converted_with_their_index(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    for number, part in enumerate((names[:50], names[50:]), start=1):
        file = folder / f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, file)
    assert len(convert_checkpoint(folder)) == 3
    load_model(folder, CPU, torch.float32)


@pytest.mark.threat("F1")
def test_a_pickle_that_is_more_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="refused or unreadable"):
        convert_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="no pytorch_model"):
        convert_checkpoint(tmp_path / "elsewhere")


def internlm2_fields(random_checkpoint: Path) -> dict[str, Any]:
    fields = json.loads((random_checkpoint / "config.json").read_text(encoding="utf-8"))
    llm = fields["llm_config"] | {
        "architectures": ["InternLM2ForCausalLM"],
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
    }
    return {**fields, "llm_config": llm}


def test_internlm2_layout_survives_a_round_trip(random_checkpoint: Path, tmp_path: Path) -> None:
    fields = internlm2_fields(random_checkpoint)
    model = MLLMSeg(parse_config(fields, name="x", origin="test")).eval()
    save_model(model, tmp_path, torch.float32)
    (tmp_path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    published = load_file(tmp_path / "model.safetensors")
    # 2 key/value heads x (3 queries + key + value) x 32
    assert published["language_model.model.layers.0.attention.wqkv.weight"].shape == (320, 192)
    again = load_model(tmp_path, CPU, torch.float32).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_unmerged_lora_is_merged_with_alpha_twice_the_rank(folder: Path) -> None:
    merged = load_file(folder / "model.safetensors")
    target = "language_model.model.layers.1.mlp.up_proj"
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(4, 192, generator=generator)
    up = torch.randn(576, 4, generator=generator)
    tensors = {}
    for name, tensor in merged.items():
        wrapped = name.replace("language_model.", "language_model.base_model.model.", 1)
        if name == f"{target}.weight":
            stem = wrapped.removesuffix(".weight")
            tensors[f"{stem}.base_layer.weight"] = tensor
            tensors[f"{stem}.lora_A.default.weight"] = down
            tensors[f"{stem}.lora_B.default.weight"] = up
        else:
            tensors[wrapped if name.startswith("language_model.") else name] = tensor
    save_file(tensors, folder / "model.safetensors")
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    fields["use_llm_lora"] = 4
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    model = load_model(folder, CPU, torch.float32)
    ours = model.state_dict()["language_model.layers.1.mlp.up_proj.weight"]
    assert torch.allclose(ours, merged[f"{target}.weight"] + 2 * up @ down, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llava"}, "model_type is 'llava', expected 'internvl_chat'"),
        ({"vision_config": None}, "section 'vision_config' is missing"),
        ({"select_layer": -4}, "select_layer is -4"),
        ({"force_image_size": 100}, "not a multiple of two patches"),
        ({"llm_config": {"architectures": ["GPT2"]}}, "architectures\\[0\\] is 'GPT2'"),
        ({"downsample_ratio": 0.25}, "downsample_ratio is 0.25, only 0.5"),
        (
            {"llm_config": {"architectures": ["Qwen2ForCausalLM"], "rope_scaling": {"factor": 2}}},
            "rope_scaling is {'factor': 2}",
        ),
        ({"vision_config": {"hidden_act": "relu6"}}, "hidden_act is 'relu6', accepted: gelu, silu"),
        ({"vision_config": {"layer_norm_eps": "small"}}, "layer_norm_eps is small, accepted are 0"),
        (
            {"llm_config": {"architectures": ["Qwen2ForCausalLM"], "rope_theta": float("nan")}},
            "rope_theta is nan, accepted are 1 to 1e\\+12",
        ),
    ],
)
def test_foreign_configurations_are_reported(
    random_checkpoint: Path, changes: dict[str, Any], message: str
) -> None:
    fields = json.loads((random_checkpoint / "config.json").read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match=message):
        parse_config({**fields, **changes}, name="x", origin="config.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "[1]", "expected an object, found list"),
        ("config.json", '{"use_llm_lora": null}', r"config\.json: .*cannot be used \(TypeError"),
        (
            "config.json",
            '{"vision_config": {"hidden_size": "wide"}}',
            "hidden_size is wide, accept",
        ),
        ("model.safetensors.index.json", "{}", r"index\.json: expected an object with a 'weight_m"),
        ("model.safetensors.index.json", "[", r"index\.json: not valid JSON"),
        ("tokenizer.json", '{"model": {"type": "BPE"}}', "its tokenizer cannot be used"),
        ("tokenizer.json", "[3]", "tokenizer"),
    ],
)
def test_a_broken_file_is_named(folder: Path, name: str, content: str, message: str) -> None:
    if content.startswith("{") and name == "config.json":
        fields = json.loads((folder / name).read_text(encoding="utf-8"))
        for key, value in json.loads(content).items():
            fields[key] = {**fields[key], **value} if isinstance(value, dict) else value
        content = json.dumps(fields)
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Segmenter.from_pretrained(folder, device="cpu")


def test_a_checkpoint_goes_by_the_name_that_the_user_gave_it(folder: Path, tmp_path: Path) -> None:
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del fields["mllmseg"]["name"], fields["mllmseg"]["can_reject"]
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    # As a cache keeps it: the folder is named by a hash.
    link = tmp_path / "MLLMSeg_InternVL2_5_8B_GRES"
    link.symlink_to(folder)
    segmenter = Segmenter.from_pretrained(link, device="cpu")
    assert segmenter.name == "MLLMSeg_InternVL2_5_8B_GRES"
    assert segmenter.can_reject
    assert not Segmenter.from_pretrained(folder, device="cpu").can_reject
    assert checkpoint_name("owner/MLLMSeg_InternVL2_5_8B_GRES") == "MLLMSeg_InternVL2_5_8B_GRES"
    assert checkpoint_name(None) == checkpoint_name(".") == ""


def test_published_values_where_a_checkpoint_is_silent() -> None:
    fields = {
        "model_type": "internvl_chat",
        "vision_config": {},
        "llm_config": {"architectures": ["Qwen2ForCausalLM"], "vocab_size": 10},
    }
    config = parse_config(fields, name="MLLMSeg_InternVL2_5_8B_GRES", origin="test")
    assert (config.image_size_px, config.grid, config.n_image_tokens) == (448, 32, 256)
    assert config.vision.hidden_size == 1024
    assert config.can_reject  # the one published model that was trained to
    assert not parse_config(fields, name="MLLMSeg_InternVL2_5_1B_RES", origin="test").can_reject


def test_missing_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json: not found"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_config(tmp_path)
    with pytest.raises(ValueError, match="no checkpoint folder"):
        find_checkpoint(tmp_path / "nowhere")
