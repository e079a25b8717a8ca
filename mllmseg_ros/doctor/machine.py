# SPDX-License-Identifier: Apache-2.0
"""Check whether the model can run on this machine, with one line per finding.

Each line has OK, or WARN or FAIL and what to do. Packages are imported in a child process first,
because one built against another NumPy can crash instead of raising. Knows nothing of ROS;
:mod:`mllmseg_ros.ros.tools.doctor` adds those checks.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.checkpoints.hub import find_checkpoint, find_smaller_model
from mllmseg_ros.doctor.child_process import run_child

__all__ = ["check_machine", "print_findings"]

_CHILD_TIMEOUT_S = 120.0  # torch on a small machine
_OLDEST_PYTHON = (3, 10)
_OLDEST_TORCH = (2, 6)  # CVE-2025-32434
_OLDEST_AIOHTTP = (3, 14, 5)  # as in requirements/console.txt
_TRANSFORMERS = 5  # major version
_MEMORY_FACTOR = 1.25  # of the weights, for weights and activations
_GPU_FILES = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu")


class Verdict(Enum):
    """Severity of a finding."""

    OK = "OK"
    WARN = "WARN"  # it works, but not as well as it could
    FAIL = "FAIL"  # it does not work


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report."""

    verdict: Verdict
    subject: str
    text: str  # what was found and, unless OK, what to do


def ok(subject: str, text: str) -> Finding:
    """Create a finding without a problem."""
    return Finding(verdict=Verdict.OK, subject=subject, text=text)


def warn(subject: str, text: str) -> Finding:
    """Create a finding about something that works, but not well."""
    return Finding(verdict=Verdict.WARN, subject=subject, text=text)


def fail(subject: str, text: str) -> Finding:
    """Create a finding about something that does not work."""
    return Finding(verdict=Verdict.FAIL, subject=subject, text=text)


def print_findings(findings: Iterable[Finding]) -> int:
    """Print findings as they are made; returns the exit status, 1 if one is FAIL."""
    verdicts = []
    for each in findings:
        verdicts.append(each.verdict)
        print(f"{each.verdict.value:5}{each.subject:16}{' '.join(each.text.split())}", flush=True)
    return int(Verdict.FAIL in verdicts)


def check_machine(model: str | None, device: str | None, dtype: str | None) -> Iterator[Finding]:
    """Check everything that the model needs.

    Args:
        model: folder or name, None for the embedded model.
        device: as the node's parameter, None for the best available.
        dtype: likewise.
    """
    yield _check_python()
    failed = False
    for module, package in (
        ("numpy", "numpy"),
        ("scipy", "scipy"),
        ("cv2", "opencv"),
        ("safetensors", "safetensors"),
        ("torch", "torch"),
        ("transformers", "transformers"),
    ):
        finding = _check_package(module, package)
        failed |= finding.verdict is Verdict.FAIL
        yield finding
    yield from _check_aiohttp()
    yield from _check_weights(model)
    if not failed:
        yield from _check_device(model, device, dtype)


def _check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    text = f"{version} ({sys.executable})"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return fail("python", f"{text}; required is 3.10 or newer")
    return ok("python", text)


def _check_package(module: str, package: str) -> Finding:
    code = f"import {module}; print({module}.__version__)"
    problem, version = run_child(code, _CHILD_TIMEOUT_S)
    if problem:
        return fail(
            package,
            f"{problem}; install it for {sys.executable}: "
            "python tools/install_ranges.py requirements/core.txt",
        )
    numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())
    if module == "torch" and numbers < _OLDEST_TORCH:
        return fail(package, f"{version}; required is 2.6 or newer")
    if module == "transformers" and numbers[:1] != (_TRANSFORMERS,):
        return fail(package, f"{version}; required is {_TRANSFORMERS}.x")
    return ok(package, version)


def _check_aiohttp() -> Iterator[Finding]:
    """Check the web pages' server, where there is one: it may be older than its known holes."""
    try:
        version = importlib.metadata.version("aiohttp")
    except importlib.metadata.PackageNotFoundError:
        return
    if tuple(map(int, re.findall(r"\d+", version)[:3])) >= _OLDEST_AIOHTTP:
        yield ok("aiohttp", version)
        return
    required = ".".join(map(str, _OLDEST_AIOHTTP))
    yield warn(
        "aiohttp",
        f"{version} has published vulnerabilities, which the web console and the review page are "
        f"open to; install {required} or newer for {sys.executable}: "
        "python tools/install_ranges.py requirements/console.txt",
    )


def _check_weights(model: str | None) -> Iterator[Finding]:
    try:
        folder = find_checkpoint(model)
    except ValueError as error:
        yield fail("weights", str(error))
        return
    found = integrity.check(folder)
    for problem in found.problems:
        yield fail(
            "weights", f"{problem}; download a published one again with mllmseg models download"
        )
    if not found.problems:
        yield ok("weights", f"{folder}: {found.checked}")


def _check_device(model: str | None, device: str | None, dtype: str | None) -> Iterator[Finding]:
    import torch

    from mllmseg_ros.model.precision import choose_device_and_dtype

    try:
        chosen, weights_dtype = choose_device_and_dtype(device, dtype)
    except ValueError as error:
        yield fail("device", str(error))
        return
    if chosen.type == "cuda":
        yield _check_cuda(torch, chosen)
        free = float(torch.cuda.mem_get_info(chosen)[0])
    else:
        gpu = any(Path(name).exists() for name in _GPU_FILES) or shutil.which("nvidia-smi")
        if gpu and not torch.cuda.is_available():
            yield warn(
                "device",
                f"there is an NVIDIA GPU, but torch {torch.__version__} sees none; install a CUDA "
                "build of torch (on a Jetson NVIDIA's own), and check the driver with nvidia-smi",
            )
        else:
            yield ok("device", f"cpu, {torch.get_num_threads()} threads")
        free = _measure_free_memory()
    try:
        n_values = integrity.count_values(find_checkpoint(model))
    except ValueError:
        return  # reported by _check_weights
    yield _check_memory(n_values, weights_dtype, chosen, free)


def _check_cuda(torch: Any, device: Any) -> Finding:
    """Run a computation on a GPU: torch may lack kernels for a GPU that it detects."""
    name = torch.cuda.get_device_name(device)
    major, minor = torch.cuda.get_device_capability(device)
    description = f"{device}, {name}, compute capability {major}.{minor}, CUDA {torch.version.cuda}"
    try:
        square = torch.ones(8, 8, device=device)
        (square @ square).sum().item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return fail(
            "device",
            f"{description}: {reason}; this torch was built for "
            f"{', '.join(torch.cuda.get_arch_list())}, install one that was built for this GPU",
        )
    return ok("device", description)


def _check_memory(n_values: int, weights_dtype: Any, device: Any, free: float) -> Finding:
    import torch

    weights = n_values * weights_dtype.itemsize
    needed, name = _MEMORY_FACTOR * weights, str(weights_dtype).removeprefix("torch.")
    text = (
        f"{needed / 1e9:.1f} GB needed in {name} on {device} (weights {weights / 1e9:.1f} GB), "
        f"{free / 1e9:.1f} GB free"
    )
    if needed <= free:
        return ok("memory", text)
    remedies = []
    if weights_dtype == torch.float32:
        remedies.append("--dtype bfloat16")
    if find_smaller_model(n_values):
        remedies.append(f"the model {find_smaller_model(n_values)}")
    if device.type == "cuda":
        remedies.append("--device cpu")
    remedy = f"use {', or '.join(remedies)}" if remedies else "stop other programs"
    return fail("memory", f"{text}; {remedy}")


def _measure_free_memory() -> float:
    """Return the bytes that this process can still allocate, in the machine and its container."""
    free = float("inf")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(float(line.split()[1]) for line in lines if "MemAvailable" in line) * 1024
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = float((group / "memory.current").read_text(encoding="ascii"))
        if limit != "max":
            free = min(free, float(limit) - used)
    except (OSError, ValueError, StopIteration):
        pass  # not Linux, or no cgroup
    return free


def measure_shared_memory(path: str = "/dev/shm") -> float | None:  # noqa: S108 - the kernel's path
    """Return the free bytes of shared memory for images; None if there is none."""
    try:
        return float(os.statvfs(path).f_bavail * os.statvfs(path).f_frsize)
    except OSError:
        return None
