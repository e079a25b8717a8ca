# SPDX-License-Identifier: Apache-2.0
"""The state of a training, in one file that is replaced as a whole.

A kill at any moment leaves the last complete state.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.files import replaced_file
from mllmseg_ros.train.optimisers import Optimisers

__all__ = ["RunState"]

_OPTIMISER = "optimiser."


class RunState:
    """Number of steps done, trained weights and optimiser state, in memory and on disk."""

    def __init__(
        self,
        path: Path,
        weights: dict[str, Tensor],
        optimisers: Optimisers,
        weights_prefix: str = "trained.",
    ) -> None:
        """Describe what is saved.

        Args:
            path: of the state file, safetensors.
            weights: the tensors that training changes, themselves and not copies.
            optimisers: of the training.
            weights_prefix: of the weights' names in the file.
        """
        self._path = path
        self._weights = weights
        self._optimisers = optimisers
        self._prefix = weights_prefix

    def save(self, done: int) -> None:
        """Write the state after ``done`` steps."""
        tensors = {self._prefix + name: tensor for name, tensor in self._weights.items()}
        tensors |= {_OPTIMISER + name: t for name, t in self._optimisers.tensors().items()}
        copies = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
        with replaced_file(self._path) as partial:
            save_file(copies, partial, metadata={"step": str(done)})

    def restore(self) -> int:
        """Load the saved state, in place.

        Returns:
            Number of steps done; 0 where nothing was saved yet.

        Raises:
            ValueError: if the file is not the state of a run, or of another model or recipe.
        """
        if not self._path.is_file():
            return 0
        done, tensors = _read(self._path)
        stored = _select(tensors, self._prefix)
        if stored.keys() != self._weights.keys():
            raise ValueError(f"{self._path} is of another model or recipe")
        with torch.no_grad():
            for name, tensor in self._weights.items():
                tensor.copy_(stored[name])
        self._optimisers.load(_select(tensors, _OPTIMISER))
        return done


def _read(path: Path) -> tuple[int, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            return step, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not the state of a run ({error})") from error


def _select(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
