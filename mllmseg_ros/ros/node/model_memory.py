# SPDX-License-Identifier: Apache-2.0
"""Advice where a model ran out of memory, and freeing memory."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.checkpoints.hub import PUBLISHED, find_checkpoint, find_smaller_model
from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.node.parameters import SegmenterParameters

__all__ = ["free_memory", "out_of_memory_advice"]

# How the system, the CPU and CUDA say that memory ran out, where the exception's type does not.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


@contextmanager
def out_of_memory_advice(parameters: SegmenterParameters) -> Iterator[None]:
    """Turn running out of memory into an error that says what would fit.

    Raises:
        RuntimeError: where the with block ran out of memory, on the device or off it.
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        reason = one_line(error, with_type=False) or type(error).__name__
        raise RuntimeError(f"{_advice(parameters)} ({reason})") from error


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or what it came from, means that."""
    if error is None:
        return False
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, of CUDA
        or any(each in str(error).lower() for each in _OUT_OF_MEMORY)
        or _is_out_of_memory(error.__cause__)
    )


def _advice(parameters: SegmenterParameters) -> str:
    import torch

    from mllmseg_ros.model.precision import choose_device_and_dtype

    device, dtype = choose_device_and_dtype(parameters.device, parameters.dtype)
    n_values = integrity.count_values(find_checkpoint(parameters.model or None))
    remedies = []
    if dtype == torch.float32:
        remedies.append(f"dtype to bfloat16 ({n_values * 2e-9:.1f} GB)")
    other = find_smaller_model(n_values)
    if other:
        n_bytes = next(each.n_bytes(dtype.itemsize) for each in PUBLISHED if each.name == other)
        remedies.append(f"model to {other} ({n_bytes / 1e9:.1f} GB)")
    if device.type != "cpu":
        remedies.append("device to cpu")
    remedy = f"set parameter {', or '.join(remedies)}" if remedies else "free some memory"
    return (
        f"memory ran out for {parameters.model or 'the embedded model'} in "
        f"{str(dtype).removeprefix('torch.')} on {device} "
        f"({n_values * dtype.itemsize / 1e9:.1f} GB of weights); {remedy}"
    )


def free_memory() -> None:
    """Hand memory of a model that nobody holds any more back to the system."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
