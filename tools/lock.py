# SPDX-License-Identifier: Apache-2.0
"""Write requirements/lock.txt: every package that the requirement files resolve to, pinned.

Resolves as for an empty environment, without installing anything. Which build of torch it is
depends on the package index and not on this project: local version labels ("+cpu") are left out,
and so are the CUDA libraries, whose versions torch itself pins.

Entry point: ``python tools/lock.py LOCK REQUIREMENTS...``, or ``make lock``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CUDA_LIBRARIES = ("nvidia-", "cuda-", "triton")


def resolve(requirement_files: list[str]) -> dict[str, str]:
    """Ask pip what it would install into an empty environment.

    Args:
        requirement_files: paths in pip's requirements format.

    Returns:
        Normalised package name -> version, without what only a CUDA build of torch needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        files = [argument for name in requirement_files for argument in ("-r", name)]
        subprocess.run([*pip, "--report", str(report), *files], check=True)
        installs = json.loads(report.read_text())["install"]
    packages = (install["metadata"] for install in installs)
    pins = {
        re.sub(r"[-_.]+", "-", package["name"].lower()): package["version"].split("+")[0]
        for package in packages
    }
    return {name: pins[name] for name in pins if not name.startswith(CUDA_LIBRARIES)}


def main() -> None:
    """Replace the pins of a lock file and keep the comment at its head."""
    lock, requirement_files = Path(sys.argv[1]), sys.argv[2:]
    head = [line for line in lock.read_text().splitlines() if line.startswith("#")]
    pins = [f"{name}=={version}" for name, version in sorted(resolve(requirement_files).items())]
    lock.write_text("\n".join([*head, *pins]) + "\n")


if __name__ == "__main__":
    main()
