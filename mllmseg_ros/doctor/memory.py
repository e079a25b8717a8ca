# SPDX-License-Identifier: Apache-2.0
"""Memory that a model needs on a device, and memory that is free there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mllmseg_ros.checkpoints.hub import PUBLISHED, find_smaller_model

if TYPE_CHECKING:
    import torch

__all__ = ["MemoryNeed", "measure_free_memory", "measure_need"]

_FACTOR = 1.25  # of the weights: with activations, beside the process
_UNIFIED_BYTES = 2e9  # beside the weights, where CPU and GPU share memory: process, CUDA context
_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """What a checkpoint needs on a device."""

    n_values: float  # weights that are loaded
    n_quantizable: float  # of them in the linear layers of the language model
    device: torch.device
    dtype: torch.dtype
    quantization: str  # "" for none
    is_unified: bool  # CPU and GPU share the memory

    @property
    def weight_bytes(self) -> float:
        """Bytes of the weights."""
        return self._weight_bytes(self.dtype.itemsize, self.quantization)

    @property
    def total_bytes(self) -> float:
        """Bytes with activations and, on unified memory, process and CUDA context."""
        if self.device.type == "cuda" and self.is_unified:
            return self.weight_bytes + _UNIFIED_BYTES
        return self.weight_bytes * _FACTOR

    def remedies(self) -> list[tuple[str, str, float]]:
        """Other settings that need less: parameter, value, bytes of the weights."""
        found: list[tuple[str, str, float]] = []
        if self.dtype.itemsize == 4:
            found.append(("dtype", "bfloat16", self._weight_bytes(2, self.quantization)))
        if (
            not self.quantization
            and self.weight_bytes - self._weight_bytes(self.dtype.itemsize, "int8") > 0.1e9
        ):
            found.append(("quantize", "int8", self._weight_bytes(self.dtype.itemsize, "int8")))
        smaller = find_smaller_model(self.n_values)
        if smaller:
            n_bytes = next(
                each.n_bytes(self.dtype.itemsize) for each in PUBLISHED if each.name == smaller
            )
            found.append(("model", smaller, n_bytes))
        return found

    def _weight_bytes(self, itemsize: int, kind: str) -> float:
        per_value = {"": float(itemsize), "int8": 1.0, "fp8": 1.0, "int4": 0.5 + 4 / 64}[kind]
        return (self.n_values - self.n_quantizable) * itemsize + self.n_quantizable * per_value


def measure_need(
    folder: Path, device: torch.device, dtype: torch.dtype, quantize: str | None
) -> MemoryNeed:
    """Count what a checkpoint needs for inference, by its configuration.

    Args:
        folder: of the checkpoint.
        device: for the weights.
        dtype: of the weights.
        quantize: as the node's parameter.

    Raises:
        ValueError: if the configuration cannot be used.
    """
    from mllmseg_ros.checkpoints.loading import count_values
    from mllmseg_ros.model.config import read_config
    from mllmseg_ros.model.precision import has_unified_memory
    from mllmseg_ros.model.quantization import resolve_quantization

    n_values, n_quantizable = count_values(folder)
    return MemoryNeed(
        n_values=n_values,
        n_quantizable=n_quantizable,
        device=device,
        dtype=dtype,
        quantization=resolve_quantization(quantize, read_config(folder).quantize),
        is_unified=has_unified_memory(device),
    )


def measure_free_memory(need: MemoryNeed) -> float:
    """Return the free bytes on the device of a need.

    On unified memory it is what the system can give to a process: CUDA's own figure leaves out
    what the system keeps of files, and can give back.
    """
    if need.is_unified:
        return measure_system_memory()
    import torch

    return float(torch.cuda.mem_get_info(need.device)[0])


def measure_system_memory(proc: Path = _PROC, cgroup: Path = _CGROUP) -> float:
    """Return the bytes that this process can still allocate, in the machine and its container.

    Args:
        proc: folder with ``meminfo``.
        cgroup: folder with the limits of the container.
    """
    free = float("inf")
    try:
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
        free = next(float(line.split()[1]) for line in lines if "MemAvailable" in line) * 1024
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = float((cgroup / "memory.current").read_text(encoding="ascii"))
        if limit != "max":
            free = min(free, float(limit) - used)
    except (OSError, ValueError, StopIteration):
        pass  # not Linux, or no cgroup
    return free
