# SPDX-License-Identifier: Apache-2.0
"""Install the requirement ranges into a virtual environment that sees a sourced ROS 2.

What ROS or the robot's maker installed stays: a torch or cv2 that imports is never replaced (on a
Jetson with JetPack 6 it is the only one with CUDA), and numpy keeps the major version that ROS was
built with.

Entry point: ``python tools/install_ranges.py REQUIREMENTS...``, run by that environment's Python.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT_IF_IMPORTABLE = {"torch": "torch", "opencv-python-headless": "cv2"}
JETSON_RELEASE = Path("/etc/nv_tegra_release")  # "# R36 (release), REVISION: 4.0, ..."
FIRST_L4T_WITH_PYPI = 38  # JetPack 7, whose CUDA 13 is that of PyPI's torch for aarch64


def imported_version(module: str) -> str | None:
    """Return the version of a module, or None where it cannot be imported."""
    try:
        return str(importlib.import_module(module).__version__)
    except ModuleNotFoundError:
        return None
    except Exception as error:  # a broken binary raises anything: OSError, ImportError, ...
        print(f"{module} is installed but cannot be imported: {error}")
        return None


def wanted_and_constraints(lines: list[str]) -> tuple[list[str], list[str]]:
    """Split requirement lines into what pip shall install and what it must not move.

    Args:
        lines: requirement specifiers, one each, with comments and empty lines.

    Returns:
        Specifiers to install, and constraints in pip's syntax.
    """
    wanted: list[str] = []
    constraints: set[str] = set()
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name = re.split(r"[<>=!~\[; ]", line, maxsplit=1)[0]
        module = KEPT_IF_IMPORTABLE.get(name)
        version = imported_version(module) if module else None
        if version is None:
            wanted.append(line)
            continue
        print(f"keeping {module} {version} (asked for: {line})")
        if name == "torch":
            constraints.add(f"torch==={version}")
    numpy_version = imported_version("numpy")
    if numpy_version is not None:
        constraints.add(f"numpy<{int(numpy_version.split('.')[0]) + 1}")
    return wanted, sorted(constraints)


def needs_torch_of_nvidia(wanted: list[str]) -> bool:
    """Whether torch is missing on a Jetson whose CUDA PyPI's torch was not built for."""
    if not JETSON_RELEASE.exists() or not any(line.startswith("torch") for line in wanted):
        return False
    release = re.search(r"\bR(\d+)\b", JETSON_RELEASE.read_text())
    return release is None or int(release[1]) < FIRST_L4T_WITH_PYPI


def main() -> None:
    """Install the files named on the command line with pip."""
    lines = [line.strip() for name in sys.argv[1:] for line in Path(name).read_text().splitlines()]
    wanted, constraints = wanted_and_constraints(lines)
    if needs_torch_of_nvidia(wanted):
        sys.exit(
            f"This is a Jetson without torch, and PyPI's is built for JetPack 7 (L4T "
            f"R{FIRST_L4T_WITH_PYPI}) and later.\n"
            "Install NVIDIA's wheel for your JetPack first (docs/install.md, On a Jetson), then run"
            " this again."
        )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraint_file:
        constraint_file.write("\n".join(constraints) + "\n")
        constraint_file.flush()
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
        sys.exit(subprocess.call([*pip, "--constraint", constraint_file.name, *wanted]))


if __name__ == "__main__":
    main()
