# SPDX-License-Identifier: Apache-2.0
"""Each line of the doctor is OK, or says what to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from mllmseg_ros.checkpoints.hub import EMBEDDED
from mllmseg_ros.cli import main
from mllmseg_ros.doctor import machine as doctor
from mllmseg_ros.doctor.child_process import run_child
from mllmseg_ros.doctor.machine import Verdict, check_machine, print_findings
from mllmseg_ros.doctor.memory import MemoryNeed, measure_need, measure_system_memory
from mllmseg_ros.segmenter import Segmenter

CPU = torch.device("cpu")


def test_here_everything_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    subjects = [line.split()[1] for line in lines]
    packages = ["numpy", "scipy", "opencv", "safetensors", "torch", "transformers", "aiohttp"]
    assert subjects == ["python", *packages, "weights", "device", "memory"]
    assert all(line.startswith("OK ") for line in lines)


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes 15 s: make slow")
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


CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("n_values", "number_format", "device", "is_unified", "needed", "remedies"),
    [
        (8.11e9, torch.float32, CPU, True, 40.55e9, ("--dtype bfloat16", "_5_4B_RES")),
        (8.11e9, torch.bfloat16, CUDA, False, 20.275e9, ("int8", "_4B_RES", "--device cpu")),
        (8.11e9, torch.bfloat16, CUDA, True, 18.22e9, ("--quantize int8", "_4B_RES")),
        (0.9e9, torch.bfloat16, CUDA, True, 3.8e9, ("--quantize int8",)),
        (7e6, torch.bfloat16, CPU, True, 17.5e6, ("stop other programs",)),
    ],
)
def test_too_little_memory_names_what_would_fit(
    n_values: float,
    number_format: torch.dtype,
    device: torch.device,
    is_unified: bool,
    needed: float,
    remedies: tuple[str, ...],
) -> None:
    need = MemoryNeed(
        n_values=n_values,
        n_quantizable=0.8 * n_values,
        device=device,
        dtype=number_format,
        quantization="",
        is_unified=is_unified,
    )
    assert need.total_bytes == pytest.approx(needed)
    assert doctor._check_memory(need, needed + 10).verdict is Verdict.OK
    finding = doctor._check_memory(need, 0.99 * needed)
    assert finding.verdict is Verdict.FAIL
    assert all(each in finding.text for each in remedies)
    assert ("bfloat16," in finding.text) == (number_format is torch.float32)
    # A Jetson's CPU has no other memory than its GPU.
    assert ("--device cpu" in finding.text) == (device is CUDA and not is_unified)


def test_what_a_model_needs_is_counted_by_its_configuration() -> None:
    need = measure_need(EMBEDDED, CPU, torch.float32, None)
    model = Segmenter.from_pretrained(device="cpu", dtype="float32").model
    held = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert need.weight_bytes == pytest.approx(held, abs=8)  # BatchNorm's counter is an int64
    half = measure_need(EMBEDDED, CPU, torch.bfloat16, "int8")
    assert half.weight_bytes == 2 * need.n_values - need.n_quantizable


def test_free_memory_is_what_the_system_and_the_container_can_give(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\nMemAvailable: 5000000 kB\n", "ascii")
    assert measure_system_memory(tmp_path, tmp_path) == 5.12e9
    (tmp_path / "memory.current").write_text("1000000000\n", "ascii")
    (tmp_path / "memory.max").write_text("max\n", "ascii")
    assert measure_system_memory(tmp_path, tmp_path) == 5.12e9
    (tmp_path / "memory.max").write_text("3000000000\n", "ascii")
    assert measure_system_memory(tmp_path, tmp_path) == 2e9


def test_quantisation_that_cannot_work_fails() -> None:
    findings = list(doctor._check_device(None, "cpu", "float32", "fp8"))
    assert (findings[-1].verdict, findings[-1].subject) == (Verdict.FAIL, "quantize")
    assert "needs a CUDA GPU of compute capability 8.9 or more" in findings[-1].text
