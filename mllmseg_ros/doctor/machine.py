# SPDX-License-Identifier: Apache-2.0
"""Look this machine through: can the model run here, and is it whole? One line per finding.

Every line says OK, or WARN or FAIL and what to do. What may be broken is imported in a process of
its own first: a package built against another NumPy can crash instead of raising. Knows nothing of
ROS; :mod:`mllmseg_ros.ros.tools.doctor` adds that part.
"""

from __future__ import annotations

import os
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
_OLDEST_TORCH = (2, 4)
_TRANSFORMERS = 5  # major version
_ROOM = 1.25  # activations and what else a look needs, as a multiple of the weights
_GPU_FILES = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu")


class Verdict(Enum):
    """How bad it is."""

    OK = "OK"
    WARN = "WARN"  # it runs, but worse than it could
    FAIL = "FAIL"  # it does not run


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report."""

    verdict: Verdict
    subject: str
    text: str  # what was found; where it is not OK, also what to do


def ok(subject: str, text: str) -> Finding:
    """A finding that asks for nothing."""
    return Finding(verdict=Verdict.OK, subject=subject, text=text)


def warn(subject: str, text: str) -> Finding:
    """A finding that one can live with."""
    return Finding(verdict=Verdict.WARN, subject=subject, text=text)


def fail(subject: str, text: str) -> Finding:
    """A finding that one cannot live with."""
    return Finding(verdict=Verdict.FAIL, subject=subject, text=text)


def print_findings(findings: Iterable[Finding]) -> int:
    """Print findings as they come; returns the exit status, 1 where something fails."""
    verdicts = []
    for each in findings:
        verdicts.append(each.verdict)
        print(f"{each.verdict.value:5}{each.subject:16}{' '.join(each.text.split())}", flush=True)
    return int(Verdict.FAIL in verdicts)


def check_machine(model: str | None, device: str | None, dtype: str | None) -> Iterator[Finding]:
    """Look through what has to do with the model.

    Args:
        model: folder or name, None for the embedded model.
        device: as the node's parameter has it, None for the best there is.
        dtype: likewise.
    """
    yield _python()
    broken = False
    for module, package in (
        ("numpy", "numpy"),
        ("cv2", "opencv"),
        ("safetensors", "safetensors"),
        ("torch", "torch"),
        ("transformers", "transformers"),
    ):
        finding = _package(module, package)
        broken |= finding.verdict is Verdict.FAIL
        yield finding
    yield from _weights(model)
    if not broken:
        yield from _device(model, device, dtype)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    text = f"{version} ({sys.executable})"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return fail("python", f"{text}; needed is 3.10 or newer")
    return ok("python", text)


def _package(module: str, package: str) -> Finding:
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
        return fail(package, f"{version}; needed is 2.4 or newer")
    if module == "transformers" and numbers[:1] != (_TRANSFORMERS,):
        return fail(package, f"{version}; needed is {_TRANSFORMERS}.x")
    return ok(package, version)


def _weights(model: str | None) -> Iterator[Finding]:
    try:
        folder = find_checkpoint(model)
    except ValueError as error:
        yield fail("weights", str(error))
        return
    found = integrity.check(folder)
    for problem in found.problems:
        yield fail("weights", f"{problem}; mllmseg models download brings a published one again")
    if not found.problems:
        yield ok("weights", f"{folder}: {found.checked}")


def _device(model: str | None, device: str | None, dtype: str | None) -> Iterator[Finding]:
    import torch

    from mllmseg_ros.model.precision import choose_device_and_dtype

    try:
        chosen, number_format = choose_device_and_dtype(device, dtype)
    except ValueError as error:
        yield fail("device", str(error))
        return
    if chosen.type == "cuda":
        yield _cuda(torch, chosen)
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
        free = _free_memory()
    try:
        n_values = integrity.count_values(find_checkpoint(model))
    except ValueError:
        return  # told above
    yield _memory(n_values, number_format, chosen, free)


def _cuda(torch: Any, device: Any) -> Finding:
    """Compute something there: kernels may be missing for what is otherwise seen."""
    name = torch.cuda.get_device_name(device)
    major, minor = torch.cuda.get_device_capability(device)
    what = f"{device}, {name}, compute capability {major}.{minor}, CUDA {torch.version.cuda}"
    try:
        square = torch.ones(8, 8, device=device)
        (square @ square).sum().item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return fail(
            "device",
            f"{what}: {reason}; this torch was built for {', '.join(torch.cuda.get_arch_list())}, "
            "install one that was built for this GPU",
        )
    return ok("device", what)


def _memory(n_values: int, number_format: Any, device: Any, free: float) -> Finding:
    import torch

    weights = n_values * number_format.itemsize
    needed, name = _ROOM * weights, str(number_format).removeprefix("torch.")
    text = (
        f"{needed / 1e9:.1f} GB needed in {name} on {device} (weights {weights / 1e9:.1f} GB), "
        f"{free / 1e9:.1f} GB free"
    )
    if needed <= free:
        return ok("memory", text)
    remedies = []
    if number_format == torch.float32:
        remedies.append("--dtype bfloat16")
    if find_smaller_model(n_values):
        remedies.append(f"the model {find_smaller_model(n_values)}")
    if device.type == "cuda":
        remedies.append("--device cpu")
    remedy = f"take {', or '.join(remedies)}" if remedies else "end what else runs here"
    return fail("memory", f"{text}; {remedy}")


def _free_memory() -> float:
    """Bytes that this process may still take, of the machine's and of its container's."""
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
        pass  # not Linux, or no such group
    return free


def shared_memory(path: str = "/dev/shm") -> float | None:  # noqa: S108 - where the kernel has it
    """Bytes free for images between processes; None where there is no such place."""
    try:
        return float(os.statvfs(path).f_bavail * os.statvfs(path).f_frsize)
    except OSError:
        return None
