# SPDX-License-Identifier: Apache-2.0
"""Each line of the doctor is OK, or says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from mllmseg_ros.checkpoints.hub import EMBEDDED
from mllmseg_ros.cli import main
from mllmseg_ros.doctor import machine as doctor
from mllmseg_ros.doctor.child_process import run_child
from mllmseg_ros.doctor.machine import Verdict, check_machine, print_findings

CPU = torch.device("cpu")


def test_here_everything_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    subjects = [line.split()[1] for line in lines]
    packages = ["numpy", "scipy", "opencv", "safetensors", "torch", "transformers", "aiohttp"]
    assert subjects == ["python", *packages, "weights", "device", "memory"]
    assert all(line.startswith("OK ") for line in lines)


def test_what_is_wrong_with_the_model_is_told_with_the_rest(tmp_path: Path) -> None:
    folder = shutil.copytree(EMBEDDED, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    failed = [
        each for each in check_machine(str(folder), "cpu", None) if each.verdict is Verdict.FAIL
    ]
    assert {each.subject for each in failed} == {"weights"}
    assert any("not a complete safetensors file" in each.text for each in failed)
    failed = [each for each in check_machine("MLLMSeg_InternVL2_5_8B_RES", "cuda:77", None)
              if each.verdict is Verdict.FAIL]  # fmt: skip
    assert [each.subject for each in failed] == ["weights", "device"]
    assert "mllmseg models download jcwang0602/MLLMSeg_InternVL2_5_8B_RES" in failed[0].text
    assert print_findings(failed) == 1


def test_a_package_that_crashes_does_not_crash_the_doctor() -> None:
    assert run_child("print(1); print(2)", 60.0) == ("", "2")
    problem, _ = run_child("import no_such_package", 60.0)
    assert problem == "ModuleNotFoundError: No module named 'no_such_package'"
    problem, _ = run_child("import os; os.abort()", 60.0)
    assert "crashed with signal 6" in problem


@pytest.mark.parametrize(
    ("n_values", "number_format", "device", "remedies"),
    [
        (8.11e9, torch.float32, CPU, ("--dtype bfloat16", "MLLMSeg_InternVL2_5_4B_RES")),
        (8.11e9, torch.bfloat16, torch.device("cuda"), ("_4B_RES", "--device cpu")),
        (0.9e9, torch.bfloat16, CPU, ("stop other programs",)),
    ],
)
def test_too_little_memory_names_what_would_fit(
    n_values: float, number_format: torch.dtype, device: torch.device, remedies: tuple[str, ...]
) -> None:
    needed = 1.25 * n_values * number_format.itemsize
    assert (
        doctor._check_memory(int(n_values), number_format, device, needed + 10).verdict
        is Verdict.OK
    )
    finding = doctor._check_memory(int(n_values), number_format, device, needed - 1e6)
    assert finding.verdict is Verdict.FAIL
    assert all(each in finding.text for each in remedies)
    assert ("bfloat16," in finding.text) == (number_format is torch.float32)
