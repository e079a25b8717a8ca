# SPDX-License-Identifier: Apache-2.0
"""Commands of docs/install.md as a user runs them, in a shell that nothing was sourced in.

Those that download gigabytes, or that need root or a Jetson, are not among them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs the built workspace: make test")

from ament_index_python.packages import get_package_prefix
from ros_harness import START_S, new_domain

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text()
EXECUTABLES = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros"


def block(first_words: str) -> str:
    """The page's one block of shell code that begins with these words."""
    (found,) = re.findall(rf"^```bash\n({re.escape(first_words)}.*?)^```$", PAGE, re.M | re.S)
    return str(found)


def line(words: str) -> str:
    """The page's one line of shell code that has these words, without its comment."""
    (found,) = {
        each for code in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.M | re.S)
        for each in re.sub(r"\\\n +", "", code).splitlines() if words in each
    }  # fmt: skip
    return str(found).split("  #")[0]


def bare_environment(**more: str) -> dict[str, str]:
    """What a login shell has, on a machine whose ROS 2, if any, is sourced."""
    names = ["HOME", "LANG", "TMPDIR", "ROS_LOG_DIR", "ROS_DISTRO"]
    kept = {name: os.environ[name] for name in names if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, **more}


@pytest.mark.skipif(
    not (ROOT / ".venv").exists() or "ROS_DISTRO" in os.environ, reason="not made with the wheels"
)
def test_the_node_starts_directly_and_has_tf() -> None:
    process = subprocess.Popen(
        ["bash", "-e", "-c", block("source install/local_setup.bash")],
        cwd=ROOT,
        env=bare_environment(ROS_DOMAIN_ID=str(new_domain()), OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    deadline = time.monotonic() + START_S
    for each in process.stdout:
        lines.append(each)
        if "listening on" in each or time.monotonic() > deadline:
            break
    os.killpg(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=20)
    log = "".join(lines)
    assert "listening on" in log, log + rest
    assert "/camera/color/image_raw" in log
    assert "transforms are kept by our own buffer" in log


def test_the_ranges_install_beside_what_is_there(tmp_path: Path) -> None:
    """pip only says what it would install; nothing is downloaded, because all is there."""
    (tmp_path / "mllmseg_ros").symlink_to(ROOT)
    result = subprocess.run(
        ["bash", "-e", "-c", line("install_ranges.py mllmseg_ros/requirements")],
        cwd=tmp_path,
        env=bare_environment(PIP_DRY_RUN="1", PIP_NO_INDEX="1"),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "keeping torch" in result.stdout
    assert "Would install" not in result.stdout


def test_the_models_are_listed() -> None:
    words = line("mllmseg models list").split()
    assert words[:3] == ["ros2", "run", "mllmseg_ros"]  # which starts the executable
    result = subprocess.run(
        [EXECUTABLES / words[3], *words[4:]], capture_output=True, text=True, check=True
    )
    assert "MLLMSeg_InternVL2_5_1B_RES" in result.stdout
    download = line("mllmseg models download").split()
    assert download[-1] in result.stdout
