# SPDX-License-Identifier: Apache-2.0
"""The suite itself: complete, also where ROS 2 is sourced."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def test_modules_have_names_of_their_own() -> None:
    """Modes of pytest other than importlib's import one of several alone."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("plugin", ["launch_testing", "launch_ros"])
def test_plugins_of_ros_are_switched_off(plugin: str, pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.is_blocked(plugin)


def run_copy(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a suite of one test with this suite's conftest.py; returns the status and the output."""
    (folder / "tests").mkdir()
    shutil.copy(TESTS / "conftest.py", folder / "tests")
    (folder / "tests" / "test_one.py").write_text("def test_one() -> None:\n    pass\n")
    (folder / "pytest.ini").write_text(
        "[pytest]\ntestpaths = tests\naddopts = --import-mode=importlib\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("processes", [[], ["-n", "1"]], ids=["one process", "several"])
def test_a_whole_run_without_most_of_the_tests_fails(processes: list[str], tmp_path: Path) -> None:
    if processes:
        pytest.importorskip("xdist", reason="needs pytest-xdist")
    status, output = run_copy(tmp_path, *processes)
    assert status == pytest.ExitCode.USAGE_ERROR, output
    assert "1 tests were collected, and there are at least" in output


@pytest.mark.parametrize("chosen", [["tests/test_one.py"], ["-k", "one"]], ids=["path", "name"])
def test_a_part_may_be_run(chosen: list[str], tmp_path: Path) -> None:
    status, output = run_copy(tmp_path, *chosen)
    assert status == 0, output
    assert "1 passed" in output
