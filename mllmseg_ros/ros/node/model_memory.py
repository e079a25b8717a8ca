# SPDX-License-Identifier: Apache-2.0
"""Whether a model fits into memory, advice where it ran out, and freeing memory."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mllmseg_ros import export
from mllmseg_ros.checkpoints.hub import find_checkpoint
from mllmseg_ros.doctor.memory import MemoryNeed, measure_free_memory, measure_need
from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.node.parameters import SegmenterParameters

__all__ = ["check_free_memory", "free_memory", "out_of_memory_advice"]

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
        if _is_exported(parameters):
            raise RuntimeError(f"memory ran out for {parameters.model} ({error})") from error
        reason = one_line(error, with_type=False) or type(error).__name__
        advice = _advice(parameters, _measure_need(parameters))
        raise RuntimeError(f"memory ran out for {advice} ({reason})") from error


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


def check_free_memory(parameters: SegmenterParameters) -> None:
    """Refuse a model whose weights alone are larger than the free memory of the system.

    Where the CPU or an integrated GPU takes that memory, the system would end the node.

    Raises:
        ValueError: if they are; says what would fit.
    """
    if _is_exported(parameters):
        return  # how much its backend needs is not known
    need = _measure_need(parameters)
    free = measure_free_memory(need) if need.is_unified else float("inf")
    if need.weight_bytes > free:
        raise ValueError(f"{free / 1e9:.1f} GB are free for {_advice(parameters, need)}")


def _is_exported(parameters: SegmenterParameters) -> bool:
    return (find_checkpoint(parameters.model or None) / export.MANIFEST).exists()


def _measure_need(parameters: SegmenterParameters) -> MemoryNeed:
    from mllmseg_ros.model.precision import choose_device_and_dtype

    device, dtype = choose_device_and_dtype(parameters.device, parameters.dtype)
    folder = find_checkpoint(parameters.model or None)
    return measure_need(folder, device, dtype, parameters.quantize)


def _advice(parameters: SegmenterParameters, need: MemoryNeed) -> str:
    formats = [str(need.dtype).removeprefix("torch."), need.quantization]
    remedies = [
        f"{name} to {value} ({n_bytes / 1e9:.1f} GB)" for name, value, n_bytes in need.remedies()
    ]
    if need.device.type != "cpu" and not need.is_unified:
        remedies.append("device to cpu")
    remedy = f"set parameter {', or '.join(remedies)}" if remedies else "free some memory"
    return (
        f"{parameters.model or 'the embedded model'} in {', '.join(filter(None, formats))} on "
        f"{need.device} ({need.weight_bytes / 1e9:.1f} GB of weights); {remedy}"
    )


def free_memory() -> None:
    """Return the memory of an unused model to the system."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
