# SPDX-License-Identifier: Apache-2.0
"""Install the lock files into a virtual environment, with ROS 2: only files whose hash they hold.

What they hold was resolved together, so dependencies are not looked for. Nothing is built but
``lock_sources.txt``, and that by the locked setuptools: pip would fetch another one unchecked.
torch is the small build for CPUs if PIP_FIND_LINKS names a place that has it, or it is there
already, else PyPI's.

Entry point: ``python tools/install_lock.py FOLDER ROS_DISTRO``, run by that environment's Python.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path


def install(lock: Path, *options: str) -> int:
    """Install one lock file; returns pip's exit status."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    return subprocess.call([*pip, "--require-hashes", "--no-deps", *options, "-r", str(lock)])


def has_torch_for_cpus() -> bool:
    """Return whether an earlier installation took that build."""
    try:
        return importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def main() -> int:
    """Install the lock files of the folder named on the command line; returns pip's status."""
    folder, distro, wheels = Path(sys.argv[1]), sys.argv[2], "--only-binary=:all:"
    status = install(folder / "lock.txt", wheels)
    status = status or install(folder / f"lock_{distro}.txt", wheels)
    status = status or install(folder / "lock_sources.txt", "--no-build-isolation")
    if not status and ("PIP_FIND_LINKS" in os.environ or has_torch_for_cpus()):
        if not install(folder / "lock_cpu.txt", wheels, "--no-index"):
            return 0
        print("no build of torch for CPUs in PIP_FIND_LINKS: taking PyPI's, which includes CUDA")
    return status or install(folder / "lock_cuda.txt", wheels)


if __name__ == "__main__":
    sys.exit(main())
