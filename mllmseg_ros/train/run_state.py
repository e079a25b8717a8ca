# SPDX-License-Identifier: Apache-2.0
"""A run's state, in one file that is replaced whole.

A kill at any moment leaves the last good state.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.data.sample import Sample

__all__ = [
    "fingerprint_of",
    "load_optimiser",
    "optimiser_tensors",
    "read_state",
    "read_training",
    "write_state",
    "write_training",
]


def fingerprint_of(*data_sets: Sequence[Sample]) -> str:
    """A short name of what samples say: pictures' names, expressions, regions, in their order."""
    digest = hashlib.sha256()
    for samples in data_sets:
        digest.update(b"data set")
        for sample in samples:
            said = [(each.expressions, each.region) for each in sample.targets]
            digest.update(repr((sample.image.name, sample.size_hw, said)).encode())
    return digest.hexdigest()[:16]


def write_state(path: Path, step: int, tensors: dict[str, Tensor]) -> None:
    """Write tensors and the number of steps done."""
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    partial = path.with_suffix(".partial")
    save_file(copies, partial, metadata={"step": str(step)})
    with partial.open("rb") as file:  # on disk before it takes the old one's place
        os.fsync(file.fileno())
    partial.replace(path)


def read_state(path: Path) -> tuple[int, dict[str, Tensor]]:
    """Number of steps done and the tensors; 0 and none where nothing was written yet.

    Raises:
        ValueError: if the file is no state of a run.
    """
    if not path.is_file():
        return 0, {}
    try:
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            return step, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not the state of a run ({error})") from error


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start so, without it."""
    return {
        name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)
    }


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors."""
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, state in optimiser.state_dict()["state"].items()
        for key, value in state.items()
    }


def write_training(
    path: Path, step: int, trained: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> None:
    """Write what is trained, its optimiser and the number of steps done."""
    tensors = {f"trained.{name}": tensor for name, tensor in trained.items()}
    tensors |= {f"optimiser.{name}": t for name, t in optimiser_tensors(optimiser).items()}
    write_state(path, step, tensors)


def read_training(path: Path, trained: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> int:
    """Restore what :func:`write_training` wrote, in place; 0 steps where nothing was written yet.

    Raises:
        ValueError: if the file is no state of a run, or of another model or recipe.
    """
    step, tensors = read_state(path)
    if not tensors:
        return 0
    stored = under(tensors, "trained.")
    if stored.keys() != trained.keys():
        raise ValueError(f"{path} is of another model or recipe")
    with torch.no_grad():
        for name, tensor in trained.items():
            tensor.copy_(stored[name])
    load_optimiser(optimiser, under(tensors, "optimiser."))
    return step


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore what :func:`optimiser_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
