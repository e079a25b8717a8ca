# SPDX-License-Identifier: Apache-2.0
"""Quantised linear layers on a GPU that computes nothing: shapes, devices, and no waiting."""

from __future__ import annotations

import pytest
import torch
from fake_cuda import FakeCuda
from torch.nn import functional

from mllmseg_ros.model.quantization import KINDS, dequantize_weight, quantize_weight, to_parameter

pytest.importorskip("torchao", reason="needs requirements/quantize.txt")


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_layer_stays_on_the_gpu(kind: str) -> None:
    with FakeCuda() as gpu:
        # The published 1B model's: columns that the int4 kernel pads, rows that it does not.
        weight = torch.empty(4864, 896, dtype=torch.bfloat16, device="cuda")
        inputs = torch.empty(1, 320, 896, dtype=torch.bfloat16, device="cuda")
        bias = torch.empty(4864, dtype=torch.bfloat16, device="cuda")
        quantized = quantize_weight(weight, kind)
        restored = dequantize_weight(quantized, torch.float32)
        parameter = to_parameter(quantized, torch.bfloat16)
        _ = gpu.copies  # quantising may copy constants
        outputs = functional.linear(inputs, parameter, bias)
        assert gpu.copies == (0, 0)
    assert (outputs.shape, outputs.dtype, outputs.device.type) == (
        (1, 320, 4864),
        torch.bfloat16,
        "cuda",
    )
    assert (restored.shape, restored.device.type) == ((4864, 896), "cuda")
    assert (parameter.shape, parameter.device.type) == ((4864, 896), "cuda")
