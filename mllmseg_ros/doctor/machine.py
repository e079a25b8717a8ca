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
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mllmseg_ros import export
from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.checkpoints.hub import find_checkpoint
from mllmseg_ros.doctor.child_process import run_child
from mllmseg_ros.doctor.memory import MemoryNeed, measure_free_memory, measure_need

__all__ = ["check_machine", "print_findings"]

_CHILD_TIMEOUT_S = 120.0  # torch on a small machine
_OLDEST_PYTHON = (3, 10)
_OLDEST_TORCH = (2, 6)  # CVE-2025-32434
_OLDEST_AIOHTTP = (3, 14, 5)  # as in requirements/console.txt
_TRANSFORMERS = 5  # major version
# transformers imports what a model is built of, and what that needs, only when it is used.
_CLASSES = {"transformers": "from transformers import InternVLVisionModel, LlamaModel, Qwen2Model"}


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


def check_machine(
    model: str | None, device: str | None, dtype: str | None, quantize: str | None = None
) -> Iterator[Finding]:
    """Check everything that the model needs.

    Args:
        model: folder or name, None for the embedded model.
        device: as the node's parameter, None for the best available.
        dtype: likewise.
        quantize: likewise.
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
        yield from _check_device(model, device, dtype, quantize)


def _check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    text = f"{version} ({sys.executable})"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return fail("python", f"{text}; required is 3.10 or newer")
    return ok("python", text)


def _check_package(module: str, package: str) -> Finding:
    code = f"import {module}; {_CLASSES.get(module, 'pass')}; print({module}.__version__)"
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
    if (folder / export.MANIFEST).exists():
        yield ok("weights", f"{folder}: an exported model")
        return
    found = integrity.check(folder)
    for problem in found.problems:
        yield fail(
            "weights", f"{problem}; download a published one again with mllmseg models download"
        )
    if not found.problems:
        yield ok("weights", f"{folder}: {found.checked}")


def _check_device(
    model: str | None, device: str | None, dtype: str | None, quantize: str | None
) -> Iterator[Finding]:
    import torch

    from mllmseg_ros.model.precision import choose_device_and_dtype, find_gpu_problem
    from mllmseg_ros.model.quantization import check_quantization

    try:
        chosen, weights_dtype = choose_device_and_dtype(device, dtype)
    except ValueError as error:
        yield fail("device", str(error))
        return
    problem = find_gpu_problem()
    if chosen.type == "cuda":
        yield _check_cuda(torch, chosen)
    elif problem:
        yield warn("device", f"cpu: {problem}")
    else:
        yield ok("device", f"cpu, {torch.get_num_threads()} threads")
    try:
        need = measure_need(find_checkpoint(model), chosen, weights_dtype, quantize)
    except ValueError:
        return  # reported by _check_weights
    try:
        if need.quantization:
            check_quantization(need.quantization, chosen, weights_dtype)
    except ValueError as error:
        yield fail("quantize", str(error))
        return
    yield _check_memory(need, measure_free_memory(need))


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


def _check_memory(need: MemoryNeed, free: float) -> Finding:
    formats = [str(need.dtype).removeprefix("torch."), need.quantization]
    text = (
        f"{need.total_bytes / 1e9:.1f} GB needed in {', '.join(filter(None, formats))} on "
        f"{need.device} (weights {need.weight_bytes / 1e9:.1f} GB), {free / 1e9:.1f} GB free"
    )
    if need.total_bytes <= free:
        return ok("memory", text)
    remedies = [f"--{name} {value}" for name, value, _ in need.remedies()]
    if need.device.type == "cuda" and not need.is_unified:
        remedies.append("--device cpu")
    remedy = f"use {', or '.join(remedies)}" if remedies else "stop other programs"
    return fail("memory", f"{text}; {remedy}")


def measure_shared_memory(path: str = "/dev/shm") -> float | None:  # noqa: S108 - the kernel's path
    """Return the free bytes of shared memory for images; None if there is none."""
    try:
        return float(os.statvfs(path).f_bavail * os.statvfs(path).f_frsize)
    except OSError:
        return None
