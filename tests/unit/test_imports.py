# SPDX-License-Identifier: Apache-2.0
"""What a first answer imports: torch, the classes of transformers, and little else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mllmseg_ros.cli import main
from mllmseg_ros.sim.samples import FRAMES

# Each costs a tenth of a second to two seconds. What the classes of transformers import is not
# here: torch's compiler, scipy and sympy among others.
HEAVY = {
    "aiohttp", "matplotlib", "mujoco", "onnx", "onnxruntime", "pandas", "peft", "rclpy", "requests",
    "tensorboard", "torchao", "torchvision",
}  # fmt: skip
CODE = f"""
import sys
from mllmseg_ros.cli import main
assert main(sys.argv[1:]) == 0
print(*sorted({HEAVY!r} & set(sys.modules)))
"""


def heavy_imports(*arguments: object) -> list[str]:
    """Heavy modules that a process of its own has imported when the verb has run."""
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1].split()


def test_one_segmentation_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    files = ("-o", tmp_path / "overlay.png", "--json", tmp_path / "result.json")
    image = FRAMES / "frame_0.png"
    assert heavy_imports("segment", image, "the red mug", "--device", "cpu", *files) == []


def test_help_imports_no_torch() -> None:
    code = "import sys; from mllmseg_ros.cli import main\nmain(['segment', '--help'])"
    checked = f"import atexit, sys\natexit.register(lambda: print('torch' in sys.modules))\n{code}"
    result = subprocess.run([sys.executable, "-c", checked], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "False", result.stderr


@pytest.mark.parametrize(("given", "policy"), [("", "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_a_verb_s_threads_wait_without_a_busy_loop_unless_the_user_says_so(
    given: str, policy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    assert main(["segment", str(tmp_path / "none.png"), "the red mug"]) == 1
    assert os.environ["OMP_WAIT_POLICY"] == policy
