# SPDX-License-Identifier: Apache-2.0
"""What this machine is, for a report that somebody else reads."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

__all__ = ["describe_machine", "machine_name", "peak_memory_mib"]

_PACKAGES = ("mllmseg_ros", "torch", "transformers", "torchao", "onnxruntime", "tensorrt")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Describe processor, memory, GPU and software; fields that cannot be read are left out."""
    fields: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }
    board = _read("/proc/device-tree/model").strip("\0")
    if board:
        fields["board"] = board
    jetson = _read("/etc/nv_tegra_release").partition(", GCID")[0]
    if jetson:
        fields["jetson_linux"] = jetson.removeprefix("# ")
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        fields["gpu"] = {
            "name": properties.name,
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
        }
    return fields


def machine_name(machine: dict[str, Any]) -> str:
    """The machine in a few words: its board or GPU, else its processor."""
    gpu = machine.get("gpu", {}).get("name")
    if "board" in machine or gpu:
        return str(machine.get("board") or gpu)
    return f"{machine['processor']}, {machine['torch_threads']} thread(s)"


def peak_memory_mib(device: torch.device) -> dict[str, float]:
    """Largest memory so far in MiB: of the process, and what torch took of the GPU."""
    found = re.search(r"VmHWM:\s+(\d+) kB", _read("/proc/self/status"))
    peak = {"process": int(found[1]) / 1024} if found else {}
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device) / 2**20
    return peak


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _read(path: str) -> str:
    """Read a file of the system; "" where there is none."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
