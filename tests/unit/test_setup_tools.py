# SPDX-License-Identifier: Apache-2.0
"""The scripts behind `make`: what they keep, what they rewrite, what they name."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An import path in front of all others, and none of the robot's torch in sys.modules."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "robot_torch", raising=False)
    return tmp_path


def test_torch_that_imports_is_kept_whatever_its_version(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "robot_torch.py").write_text('__version__ = "2.4.0a0+07cecf4168.nv24.5"\n')
    install_ranges = load("install_ranges")
    monkeypatch.setattr(install_ranges, "KEPT_IF_IMPORTABLE", {"torch": "robot_torch"})
    wanted, constraints = install_ranges.wanted_and_constraints(
        ["# core", "", "torch>=2.4", "tqdm"]
    )
    assert wanted == ["tqdm"]
    assert "torch===2.4.0a0+07cecf4168.nv24.5" in constraints


@pytest.mark.parametrize("source", [None, "raise OSError('libcudart.so.12: cannot open')"])
def test_torch_that_does_not_import_is_installed(
    source: str | None, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source is not None:
        (packages / "robot_torch.py").write_text(source)
    install_ranges = load("install_ranges")
    monkeypatch.setattr(install_ranges, "KEPT_IF_IMPORTABLE", {"torch": "robot_torch"})
    wanted, constraints = install_ranges.wanted_and_constraints(["torch>=2.4"])
    assert wanted == ["torch>=2.4"]
    assert not any(constraint.startswith("torch") for constraint in constraints)


def test_numpy_keeps_the_major_version_that_ros_was_built_with() -> None:
    major = int(np.__version__.split(".")[0])
    _, constraints = load("install_ranges").wanted_and_constraints(["numpy>=1.26,<3"])
    assert constraints == [f"numpy<{major + 1}"]


def test_cmake_exports_name_this_environment_once(tmp_path: Path) -> None:
    exports = tmp_path / "share" / "rclpy" / "cmake" / "rclpyConfig.cmake"
    exports.parent.mkdir(parents=True)
    prefix = "/opt/python/cp311-cp311"
    exports.write_text(f"{prefix}/include/python3.11;{prefix}/lib/librcl.so")
    fix_cmake_exports = load("fix_cmake_exports").fix_cmake_exports
    assert fix_cmake_exports(tmp_path) == 1
    assert exports.read_text() == f"{sysconfig.get_paths()['include']};{tmp_path}/lib/librcl.so"
    assert fix_cmake_exports(tmp_path) == 0


def test_executable_runs_with_the_interpreter_of_the_build(tmp_path: Path) -> None:
    interpreter = tmp_path / "a space" / "python"
    interpreter.parent.mkdir()
    interpreter.write_text(f'#!/bin/sh\nBUILT_WITH="$0" exec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    (tmp_path / "some_node.py").write_text(
        "import os, sys\n"
        "def main():\n"
        "    print(os.environ['BUILT_WITH'], *sys.argv[1:])\n"
        "    return 3\n"
    )
    text = (TOOLS / "executable.in").read_text()
    executable = tmp_path / "node"
    executable.write_text(
        text.replace("@Python3_EXECUTABLE@", str(interpreter)).replace("@MODULE@", "some_node")
    )
    executable.chmod(0o755)
    result = subprocess.run([executable, "a b", "c"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (3, "")
    assert result.stdout == f"{interpreter} a b c\n"


def test_what_is_missing_is_named_and_nothing_is_installed_beside_a_sourced_ros() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHON": "no-such-python", "ROS_DISTRO": "humble"}
    command = [str(TOOLS / "check_machine.sh"), "build"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "'no-such-python'" in result.stderr
    assert "PYTHON=/usr/bin/python3" in result.stderr
