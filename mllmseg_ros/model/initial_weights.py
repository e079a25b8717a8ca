# SPDX-License-Identifier: Apache-2.0
"""Initial weights of a tower's layers, for training from scratch."""

from __future__ import annotations

from torch import nn

__all__ = ["draw_initial_weights"]


def draw_initial_weights(module: nn.Module, std: float) -> None:
    """Set normal weights and zero biases in the linear, convolution and embedding layers, in place.

    Args:
        module: whose layers, in their order; norms keep their ones and zeros.
        std: standard deviation, ``initializer_range`` of ``config.json``.
    """
    for each in module.modules():
        if isinstance(each, nn.Linear | nn.Conv2d):
            nn.init.normal_(each.weight, std=std)
            if each.bias is not None:
                nn.init.zeros_(each.bias)
        elif isinstance(each, nn.Embedding):
            nn.init.normal_(each.weight, std=std)
