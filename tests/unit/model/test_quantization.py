# SPDX-License-Identifier: Apache-2.0
"""Quantised weights: what they stand for, and which device computes with them."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.nn import functional

from mllmseg_ros.model.quantization import (
    KINDS,
    check_quantization,
    check_size,
    dequantize_weight,
    is_language_weight,
    is_vision_weight,
    quantize_weight,
    to_dynamic_int8,
    to_parameter,
)

CPU = torch.device("cpu")


def difference(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return float((ours.float() - reference.float()).norm() / reference.float().norm())


@pytest.fixture
def weight() -> torch.Tensor:
    return 0.05 * torch.randn(96, 192, generator=torch.Generator().manual_seed(0))


# Rounding to 1 of 255 steps of the largest value of a row, 1 of 15 of a group, 3 bits of mantissa.
@pytest.mark.parametrize(("kind", "error"), [("int8", 0.01), ("int4", 0.11), ("fp8", 0.04)])
def test_a_linear_layer_computes_what_its_weight_stands_for(
    weight: torch.Tensor, kind: str, error: float
) -> None:
    pytest.importorskip("torchao", reason="needs requirements/quantize.txt")
    quantized = quantize_weight(weight, kind)
    restored = dequantize_weight(quantized, torch.float32)
    assert 0 < difference(restored, weight) < error
    parameter = to_parameter(quantized, torch.bfloat16)
    assert (parameter.shape, parameter.dtype) == (weight.shape, torch.bfloat16)
    inputs, bias = torch.randn(2, 7, 192).bfloat16(), torch.randn(96).bfloat16()
    ours = functional.linear(inputs, parameter, bias)
    reference = functional.linear(inputs.float(), restored, bias.float())
    # fp8 rounds the inputs, too; the others compute in bfloat16.
    assert difference(ours, reference) < (0.04 if kind == "fp8" else 0.005)


def test_dynamic_int8_rounds_inputs_and_weights(weight: torch.Tensor) -> None:
    pytest.importorskip("torchao", reason="needs requirements/quantize.txt")
    inputs = torch.randn(5, 192)
    ours = functional.linear(inputs, to_dynamic_int8(weight))
    assert 0 < difference(ours, functional.linear(inputs, weight)) < 0.02


def test_rows_are_quantised_independently(weight: torch.Tensor) -> None:
    # Checkpoints fuse and split the rows of stored weights.
    pytest.importorskip("torchao", reason="needs requirements/quantize.txt")
    for kind in KINDS:
        whole, part = quantize_weight(weight, kind), quantize_weight(weight[32:64], kind)
        assert torch.equal(whole.codes[32:64].float(), part.codes.float())
        assert torch.equal(whole.scale[32:64], part.scale)


def test_only_linear_layers_of_blocks_are_quantised() -> None:
    assert is_language_weight("language_model.layers.11.mlp.down_proj.weight")
    assert is_language_weight("language_model.layers.0.self_attn.q_proj.weight")
    assert not is_language_weight("language_model.layers.0.self_attn.q_proj.bias")
    assert not is_language_weight("language_model.layers.0.input_layernorm.weight")
    assert not is_language_weight("language_model.embed_tokens.weight")
    assert not is_language_weight("lm_head.weight")
    assert is_vision_weight("vision_tower.encoder.layer.3.attention.projection_layer.weight")
    assert is_vision_weight("vision_tower.encoder.layer.3.mlp.fc1.weight")
    assert not is_vision_weight("vision_tower.encoder.layer.3.layernorm_before.weight")
    assert not is_vision_weight("projector.1.weight")


@pytest.mark.parametrize(
    ("kind", "device", "dtype", "message"),
    [
        ("int3", CPU, torch.bfloat16, "unknown quantize 'int3'; accepted: auto, none, int8, int4"),
        ("fp8", CPU, torch.bfloat16, "fp8 needs a CUDA GPU of compute capability 8.9 or more"),
        ("int4", CPU, torch.float32, "computes in bfloat16, the dtype here is float32"),
        ("int8", torch.device("mps"), torch.float32, "on device mps: accepted are cpu and cuda"),
    ],
)
def test_what_cannot_work_is_named(
    kind: str, device: torch.device, dtype: torch.dtype, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_quantization(kind, device, dtype)


@pytest.mark.parametrize(
    ("kind", "capability", "refused"),
    [
        ("fp8", (8, 7), True),  # an Orin
        ("fp8", (8, 9), False),
        ("int4", (7, 5), True),
        ("int4", (8, 7), False),
        ("int8", (7, 2), False),
    ],
)
def test_what_a_gpu_does_not_compute_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str, capability: tuple[int, int], refused: bool
) -> None:
    pytest.importorskip("torchao", reason="needs requirements/quantize.txt")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    cuda = torch.device("cuda")
    if not refused:
        check_quantization(kind, cuda, torch.bfloat16)
        return
    with pytest.raises(ValueError, match=rf"cuda has {capability[0]}\.{capability[1]}: an "):
        check_quantization(kind, cuda, torch.bfloat16)


def test_a_missing_torchao_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchao", None)  # an import of it fails
    with pytest.raises(ValueError, match=r"int8 needs torchao 0\.18 .*'\.\[quantize\]'"):
        check_quantization("int8", CPU, torch.float32)


def test_sizes_that_do_not_fit_are_named(weight: torch.Tensor) -> None:
    assert check_size("int8", 3, 5) == check_size("int4", 3, 896) == check_size("fp8", 16, 32) == ""
    assert check_size("int4", 96, 96) == "has 96 columns, int4 needs a multiple of 64"
    assert check_size("fp8", 24, 32) == "has size (24, 32), fp8 needs multiples of 16"
