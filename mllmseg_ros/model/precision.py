# SPDX-License-Identifier: Apache-2.0
"""Choice of device and dtype for a model."""

from __future__ import annotations

import torch

__all__ = ["choose_device_and_dtype"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device_and_dtype(
    device: torch.device | str | None, dtype: torch.dtype | str | None
) -> tuple[torch.device, torch.dtype]:
    """Resolve device and dtype; None or "auto" is the best available.

    The best device is CUDA if available. The best dtype is bfloat16 on CUDA and on CPUs with native
    bfloat16 arithmetic, otherwise float32, because emulated bfloat16 is slower.

    Raises:
        ValueError: if the device is not available or the dtype is not supported.
    """
    if device is None or device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; accepted: auto, cpu, cuda, cuda:N") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {device!r} requested, but this torch ({torch.__version__}) sees no CUDA GPU; "
            "use device cpu or install a CUDA build of torch"
        )
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} requested, there are {torch.cuda.device_count()} CUDA GPU(s)"
        )
    if dtype is None or dtype == "auto":
        native = chosen.type == "cuda" or _cpu_has_bfloat16()
        return chosen, torch.bfloat16 if native else torch.float32
    if isinstance(dtype, str):
        name = dtype.removeprefix("torch.")
        if name not in _DTYPES:
            raise ValueError(f"unknown dtype {dtype!r}; accepted: auto, {', '.join(_DTYPES)}")
        return chosen, _DTYPES[name]
    if dtype not in _DTYPES.values():
        raise ValueError(f"dtype {dtype} is not supported; accepted: {', '.join(_DTYPES)}")
    return chosen, dtype


def _cpu_has_bfloat16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
