# SPDX-License-Identifier: Apache-2.0
"""Write the lock files: every package that the requirement files resolve to, with its hash.

Resolves as for an empty environment, from PyPI alone, without installing anything: the settings of
this machine's pip do not count. ``lock_cuda.txt`` has PyPI's build of torch, with the libraries
that it needs; ``lock_cpu.txt`` has PyTorch's own build for CPUs, from PyTorch's page or from where
PIP_FIND_LINKS says; ``lock_sources.txt`` has what is published without wheels. Each
``ros_DISTRO.txt`` in the folder is resolved with the other requirements, and ``lock_DISTRO.txt``
has what is not common to all of them; ``lock.txt`` has the rest. ``lock_quantize.txt`` has torchao,
which is installed only beside the environment; ``lock_lerobot.txt`` has the lerobot package with
what it imports of all that it requires, for an environment of its own.

Entry point: ``python tools/lock.py FOLDER REQUIREMENTS...``, or ``make lock``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OF_CUDA = ("nvidia-", "cuda-", "triton", "torch")
WITHOUT_WHEELS = ("empy",)
LEROBOT = "lerobot>=0.4.4,<0.5"  # 0.5 needs Python 3.12
CPU_TORCH = "https://download.pytorch.org/whl/cpu/torch/"  # the builds of torch, and nothing else


@dataclass(frozen=True, order=True)
class Pin:
    """A version of a package, and the SHA-256 of the one file that it may be installed from."""

    name: str  # normalised
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def resolve(*arguments: str) -> list[Pin]:
    """Ask pip what it would install into an empty environment.

    Args:
        arguments: of ``pip install``: requirements, and where to find them.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        pip = [sys.executable, "-m", "pip", "--isolated", "install", "--quiet", "--dry-run"]
        pip += ["--ignore-installed", "--report", str(report)]
        pip += ["--only-binary=:all:", f"--no-binary={','.join(WITHOUT_WHEELS)}"]
        subprocess.run([*pip, *arguments], check=True)
        installs = json.loads(report.read_text())["install"]
    return sorted(
        Pin(
            re.sub(r"[-_.]+", "-", install["metadata"]["name"].lower()),
            install["metadata"]["version"],
            install["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for install in installs
    )


def write(lock: Path, pins: Iterable[Pin]) -> None:
    """Replace the pins of a lock file that exists, and keep the comment at its head."""
    head = [line for line in lock.read_text().splitlines() if line.startswith("#")]
    lock.write_text("\n".join([*head, *map(str, pins)]) + "\n")


def main() -> None:
    """Write the lock files into the folder named on the command line."""
    folder, files = Path(sys.argv[1]), sys.argv[2:]
    resolved = {
        ros.stem.removeprefix("ros_"): resolve(*(f"-r{name}" for name in (*files, ros)))
        for ros in folder.glob("ros_*.txt")
    }
    pins = sorted(set.intersection(*map(set, resolved.values())))
    for distro, its_pins in resolved.items():
        write(folder / f"lock_{distro}.txt", (pin for pin in its_pins if pin not in pins))
    (torch,) = (pin for pin in pins if pin.name == "torch")
    places = os.environ.get("PIP_FIND_LINKS", CPU_TORCH).split()
    links = [argument for place in places for argument in ("--find-links", place)]
    write(
        folder / "lock_cpu.txt",
        resolve("--no-deps", "--no-index", *links, f"torch=={torch.version}+cpu"),
    )
    write(folder / "lock_quantize.txt", resolve("--no-deps", "-r", f"{folder}/quantize.txt"))
    package = resolve("--no-deps", LEROBOT)
    write(
        folder / "lock_lerobot.txt",
        sorted([*package, *resolve("-r", f"{folder}/lerobot_package.txt")]),
    )
    cuda = [pin for pin in pins if pin.name.startswith(OF_CUDA)]
    sources = [pin for pin in pins if pin.name in WITHOUT_WHEELS]
    write(folder / "lock_cuda.txt", cuda)
    write(folder / "lock_sources.txt", sources)
    write(folder / "lock.txt", (pin for pin in pins if pin not in (*cuda, *sources)))


if __name__ == "__main__":
    main()
