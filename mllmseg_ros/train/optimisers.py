# SPDX-License-Identifier: Apache-2.0
"""The optimisers of a training, under one learning rate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["Optimisers"]


class Optimisers:
    """One or more optimisers that step together.

    The learning rate of each is the training's, times its own scale.
    """

    def __init__(self, optimisers: Mapping[str, tuple[torch.optim.Optimizer, float]]) -> None:
        """Keep the optimisers.

        Args:
            optimisers: name -> optimiser and scale of its learning rate. The names are part of the
                state file's; "" for an only one.
        """
        self._optimisers = optimisers

    def step(self, learning_rate: float) -> None:
        """Take one step, then clear the gradients."""
        for optimiser, scale in self._optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = scale * learning_rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The optimisers' state as named tensors, for a safetensors file."""
        return {
            f"{_prefix(name)}{index}.{key}": torch.as_tensor(value)
            for name, (optimiser, _) in self._optimisers.items()
            for index, state in optimiser.state_dict()["state"].items()
            for key, value in state.items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`tensors` returned."""
        for name, (optimiser, _) in self._optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for full_name, tensor in tensors.items():
                if full_name.startswith(_prefix(name)):
                    index, key = full_name.removeprefix(_prefix(name)).split(".")
                    state.setdefault(int(index), {})[key] = tensor
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _prefix(name: str) -> str:
    return f"{name}." if name else ""
