# SPDX-License-Identifier: Apache-2.0
"""FLOP counts of the stages, and the speed of a matrix product on this machine.

The share of the machine's rate that a stage reaches says how much faster it could be: a stage far
below it waits for memory, for kernel launches or for Python.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mllmseg_ros.model.config import MLLMSegConfig
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.prompt import Prompt

__all__ = ["count_flops", "large_product", "synchronize"]

_SIDE = {"cpu": 1024, "cuda": 8192}


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has computed everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def large_product(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], float]:
    """Prepare a matrix product that is large enough for the device's full rate.

    Returns:
        A function that computes it, and its FLOP.
    """
    side = _SIDE[device.type]
    factor = torch.randn(side, side, device=device).to(dtype)
    return lambda: torch.mm(factor, factor), 2.0 * side**3


@torch.inference_mode()
def count_flops(config: MLLMSegConfig, prompt: Prompt) -> dict[str, float]:
    """Count the floating-point operations of the stages for one expression.

    Only shapes are computed, without memory for weights.

    Args:
        config: of the model.
        prompt: of the expression.

    Returns:
        FLOP of the stages ``encode``, ``read`` and ``decode``: matrix products, convolutions and
        attention, two for a multiplication with its addition.
    """
    meta = torch.device("meta")
    with meta:
        model = MLLMSeg(config).eval()
    pixels = torch.empty(1, 3, config.image_size_px, config.image_size_px, device=meta)
    prefix_ids = torch.empty(1, prompt.prefix_length, dtype=torch.long, device=meta)
    packed = pack([[prompt]], prefix_is_cached=True).to(meta)
    flops = {}
    with FlopCounterMode(display=False) as counter:
        features = model.encode_image(pixels, prefix_ids, prompt.image_start)
    flops["encode"] = float(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter:
        states = model.read_prompts(features.prefix_cache, packed)
    flops["read"] = float(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter:
        model.decode_masks(features, states)
    flops["decode"] = float(counter.get_total_flops())
    return flops
