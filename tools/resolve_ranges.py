# SPDX-License-Identifier: Apache-2.0
"""Resolve the requirement ranges for other machines, without installing anything.

For each machine below, pip says which versions it would take from its index. A numpy of ROS stays
in its major version, as tools/install_ranges.py keeps it. Markers in requirement files are those of
the other machine; those of packages that they need are evaluated for the Python that runs this.

Entry point: ``python tools/resolve_ranges.py [MACHINE...]``; exits with 1 where one fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
PARTS = ("core", "sim", "console", "speech", "recordings", "test")  # what `make` installs
SHOWN = ("numpy", "opencv-python-headless", "pillow", "scipy", "torch", "transformers")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What pip has to know of another machine."""

    python: str
    arch: str  # as platform.machine() says it
    glibc: int  # minor version: wheels for it and older ones
    numpy: str  # constraint

    def environment(self) -> dict[str, str]:
        """Values for markers."""
        return {"platform_machine": self.arch, "python_version": self.python}

    def options(self) -> list[str]:
        """Options of pip."""
        platforms = [f"manylinux_2_{minor}_{self.arch}" for minor in range(self.glibc, 16, -1)]
        platforms += [f"manylinux2014_{self.arch}", f"linux_{self.arch}"]
        options = [f"--python-version={self.python}", "--implementation=cp"]
        return [*options, *(f"--platform={platform}" for platform in platforms)]


MACHINES = {
    "humble-jetson": Machine(python="3.10", arch="aarch64", glibc=35, numpy="numpy<2"),
    "humble": Machine(python="3.10", arch="x86_64", glibc=35, numpy="numpy<2"),
    "jazzy": Machine(python="3.12", arch="x86_64", glibc=39, numpy="numpy<2"),
    "jazzy-jetson": Machine(python="3.12", arch="aarch64", glibc=39, numpy="numpy<2"),
    "lyrical": Machine(python="3.14", arch="x86_64", glibc=42, numpy="numpy>=2,<3"),
}


def wanted(machine: Machine) -> list[str]:
    """Requirement lines that apply to a machine, without markers."""
    lines: list[str] = []
    for part in PARTS:
        for line in (REQUIREMENTS / f"{part}.txt").read_text().splitlines():
            if not line or line.startswith("#"):
                continue
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(machine.environment()):
                requirement.marker = None
                lines.append(str(requirement))
    return lines


def resolve(machine: Machine) -> dict[str, str]:
    """Versions that pip would install, by name.

    Raises:
        subprocess.CalledProcessError: if there are none that fit together.
    """
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        constraints.write_text(f"{machine.numpy}\n")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--dry-run", "--ignore-installed", "--only-binary=:all:", f"--target={folder}"]
        pip += [f"--constraint={constraints}", f"--report={report}", *machine.options()]
        subprocess.run([*pip, *wanted(machine)], check=True)
        installs = json.loads(report.read_text())["install"]
    return {each["metadata"]["name"].lower(): each["metadata"]["version"] for each in installs}


def main() -> int:
    """Resolve for the machines named on the command line, or for all."""
    failed = 0
    for name in sys.argv[1:] or MACHINES:
        try:
            versions = resolve(MACHINES[name])
        except subprocess.CalledProcessError:
            print(f"{name}: cannot be resolved", flush=True)
            failed = 1
            continue
        shown = ", ".join(f"{each} {versions[each]}" for each in SHOWN)
        print(f"{name}: {len(versions)} packages; {shown}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
