# SPDX-License-Identifier: Apache-2.0
"""Choice of device and dtype for a model, and why a GPU is not used."""

from __future__ import annotations

from pathlib import Path

import torch

from mllmseg_ros.error_text import one_line

__all__ = [
    "choose_device_and_dtype",
    "find_gpu_problem",
    "has_native_bfloat16",
    "has_unified_memory",
]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What the drivers of NVIDIA's GPUs create: of discrete ones, and of Tegra, older and newer.
_GPU_FILES = ("dev/nvidia*", "dev/nvhost*", "dev/nvgpu")
_TEGRA_FILE = "etc/nv_tegra_release"  # of a Jetson's Linux
ROOT = Path("/")


def choose_device_and_dtype(
    device: torch.device | str | None, dtype: torch.dtype | str | None
) -> tuple[torch.device, torch.dtype]:
    """Resolve device and dtype; None or "auto" is the best available.

    The best device is CUDA if available. The best dtype is bfloat16 where the device computes it,
    because emulated bfloat16 is slower; else float16 on a GPU and float32 on a CPU.

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
        problem = find_gpu_problem() or (
            f"torch {torch.__version__} sees no CUDA GPU, and no driver has made a device file"
        )
        raise ValueError(f"device {device!r} cannot be used: {problem}; or use device cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} requested, there are {torch.cuda.device_count()} CUDA GPU(s)"
        )
    if dtype is None or dtype == "auto":
        return chosen, _best_dtype(chosen)
    if isinstance(dtype, str):
        name = dtype.removeprefix("torch.")
        if name not in _DTYPES:
            raise ValueError(f"unknown dtype {dtype!r}; accepted: auto, {', '.join(_DTYPES)}")
        return chosen, _DTYPES[name]
    if dtype not in _DTYPES.values():
        raise ValueError(f"dtype {dtype} is not supported; accepted: {', '.join(_DTYPES)}")
    return chosen, dtype


def _best_dtype(device: torch.device) -> torch.dtype:
    if has_native_bfloat16(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


def has_native_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes bfloat16 itself.

    Emulated on a CPU, a training step took ten times as long as in float32.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def find_gpu_problem(root: Path = ROOT) -> str:
    """Find out why torch does not use the NVIDIA GPU of this machine.

    Args:
        root: of the file system, where the driver's device files are.

    Returns:
        The reason and what to do about it; "" if torch sees a GPU, or the machine has none.
    """
    if torch.cuda.is_available():
        return ""
    files = sorted(path for pattern in _GPU_FILES for path in root.glob(pattern))
    if not files:
        return ""
    found = f"there is an NVIDIA GPU (/{files[0].relative_to(root)}), but torch {torch.__version__}"
    is_jetson = (root / _TEGRA_FILE).exists()
    if torch.version.cuda is None:
        build = "NVIDIA's build of torch for this JetPack" if is_jetson else "a CUDA build of torch"
        return f"{found} was built without CUDA; install {build}"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:  # of torch, or of a library that it loads
        reason = one_line(error, with_type=False, max_chars=300)
    else:
        reason = "it counts no devices"
    remedy = (
        "this torch may belong to another JetPack, or the process may not open the device files "
        "(group video)"
        if is_jetson
        else "check the driver with nvidia-smi, CUDA_VISIBLE_DEVICES, and the access of a container"
    )
    return f"{found} (CUDA {torch.version.cuda}) cannot use it: {reason}; {remedy}"


def has_unified_memory(device: torch.device) -> bool:
    """Return whether a device uses the memory of the CPU, as a Jetson's GPU does."""
    if device.type != "cuda":
        return True
    return bool(torch.cuda.get_device_properties(device).is_integrated)
