# SPDX-License-Identifier: Apache-2.0
"""mllmseg benchmark: what it checks first, what it measures, and what it writes."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mllmseg_ros import cli
from mllmseg_ros.benchmark import parity, report
from mllmseg_ros.benchmark.measure import time_stages
from mllmseg_ros.benchmark.parity import check_parity
from mllmseg_ros.benchmark.power import PowerMeter, parse_nvidia_smi, parse_tegrastats
from mllmseg_ros.benchmark.random_model import SIZES, random_config
from mllmseg_ros.benchmark.rates import count_flops, large_product
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.samples import load_sample

ROOT = Path(__file__).parents[3]
STAGES = ["resize and upload", "encode", "read", "decode", "masks to host"]
INFERENCES = ["1 expression", "4 expressions", "new expression"]


@pytest.fixture(scope="module")
def embedded() -> Segmenter:
    return Segmenter.from_pretrained(device="cpu", dtype="float32")


# Random models


@pytest.mark.parametrize("size", SIZES)
def test_a_random_model_has_the_published_dimensions_and_prompt(size: str) -> None:
    """Against the totals in docs/reference.md, section 12."""
    from mllmseg_ros.benchmark import random_model
    from mllmseg_ros.model.prompt import PromptBuilder

    config = random_config(size)
    with torch.device("meta"):
        model = MLLMSeg(config)
    rows = (ROOT / "docs" / "reference.md").read_text().splitlines()
    head = next(row for row in rows if row.startswith("| parameters |"))
    total = next(row for row in rows if row.startswith("| total |"))
    column = next(i for i, cell in enumerate(head.split("|")) if cell.strip().startswith(size))
    documented = int(total.split("|")[column].replace(" ", ""))
    assert sum(each.numel() for each in model.parameters()) == documented
    tokenizer = random_model._SmallTokenizer(config.language.vocab_size)
    prompt = PromptBuilder(tokenizer, config.prompt, config.n_image_tokens).build(["the red mug"])
    assert (prompt.prefix_length, len(prompt.suffix_ids)) == (300, 32)
    assert max(prompt.input_ids) < config.language.vocab_size


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown size '3B'; accepted: 1B, 2B, 4B, 8B"):
        random_config("3B")


# Rates


def test_flops_are_those_of_the_matrices(embedded: Segmenter) -> None:
    """By hand, for the matrices of tower and language model; the rest is attention and fusion."""
    config = embedded.torch_model.config
    prompt = embedded.prompts.build(["the red mug"])
    flops = count_flops(config, prompt)
    language, vision = config.language, config.vision
    layer = 4 * language.hidden_size**2 + 3 * language.hidden_size * language.intermediate_size
    weights = language.num_hidden_layers * layer
    assert 1 < flops["read"] / (2 * len(prompt.suffix_ids) * weights) < 1.1
    block = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
    tower = 2 * (config.grid**2 + 1) * vision.num_hidden_layers * block
    assert 1 < flops["encode"] / (tower + 2 * prompt.prefix_length * weights) < 1.7
    assert set(flops) == {"encode", "read", "decode"}


def test_a_large_product_has_the_flop_that_are_counted() -> None:
    product, flops = large_product(torch.device("cpu"), torch.bfloat16)
    with FlopCounterMode(display=False) as counter:
        assert product().dtype == torch.bfloat16
    assert counter.get_total_flops() == flops


# Parity


def test_the_embedded_model_gives_what_was_recorded(embedded: Segmenter) -> None:
    found = check_parity(lambda: embedded)
    assert found.n_masks == 10
    assert found.min_iou > 0.999


def test_a_wrong_result_is_reported_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    damaged = Segmenter.from_pretrained(device="cpu", dtype="float32")
    damaged.torch_model.mask_decoder.text_down.weight *= 0.5
    with pytest.raises(ValueError, match="backend torch on cpu in float32 computes wrong results"):
        check_parity(lambda: damaged)
    # The same where the reference itself is wrong.
    first, *others = parity._RECORDED
    wrong = type(first)(first.frame, first.expression, first.found, first.score + 0.1, 50)
    monkeypatch.setattr(parity, "_RECORDED", (wrong, *others))
    assert cli.main(["benchmark", "--seconds", "0.1"]) == 1
    said = capsys.readouterr()
    assert "this installation computes wrong results" in said.err
    assert "measuring" not in said.out


# Power


def test_power_is_read_from_the_lines_of_tegrastats() -> None:
    orin_nx = (
        "11-30-2026 10:11:12 RAM 3532/15523MB (lfb 4x4MB) SWAP 0/7762MB CPU [2%@729,off] "
        "GR3D_FREQ 0% cpu@48.1C soc2@46.5C VDD_IN 5081mW/5060mW VDD_CPU_GPU_CV 800mW/790mW "
        "VDD_SOC 1440mW/1430mW"
    )
    agx_orin = (
        "RAM 4722/62800MB (lfb 2x4MB) EMC_FREQ 0%@2133 VDD_GPU_SOC 3205mW/3200mW "
        "VDD_CPU_CV 801mW/800mW VIN_SYS_5V0 4034mW/4030mW"
    )
    assert parse_tegrastats(orin_nx) == pytest.approx(5.081)
    assert parse_tegrastats(agx_orin) == pytest.approx(3.205 + 0.801 + 4.034)
    assert parse_tegrastats("RAM 4722/62800MB") is None


def test_power_is_the_mean_of_what_nvidia_smi_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n'
        f"echo 61.50\necho '[N/A]'\necho 62.50\n: > {tmp_path}/written\nexec sleep 60\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with PowerMeter(1) as power:
        while not (tmp_path / "written").exists():
            time.sleep(0.01)
    assert (power.source, power.mean_w) == ("nvidia-smi", 62.0)
    assert "--id=1 --query-gpu=power.draw" in (tmp_path / "arguments").read_text()
    assert parse_nvidia_smi("[N/A]") is None


def test_without_a_program_power_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with PowerMeter(0) as power:
        pass
    assert (power.source, power.mean_w) == ("", None)


# The whole command


def test_stages_are_those_of_an_inference(embedded: Segmenter) -> None:
    seconds = time_stages(embedded, load_sample(0).rgb)
    assert list(seconds) == STAGES
    assert all(each > 0 for each in seconds.values())
    assert isinstance(embedded.model, MLLMSeg), "the model was replaced"


def test_the_command_writes_a_row_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "report.json"
    command = ["benchmark", "--seconds", "0.05", "--dtype", "float32", "--device", "cpu"]
    assert cli.main([*command, "--image", "320x240", "--json", str(path)]) == 0
    fields = json.loads(path.read_text(encoding="utf-8"))
    assert list(fields["stages"]) == STAGES
    assert list(fields["inferences"]) == INFERENCES
    for times in (*fields["stages"].values(), *fields["inferences"].values()):
        assert 0 < times["p50_ms"] <= times["p95_ms"]
        assert times["rounds"] >= 3
    assert 0 < fields["camera_fps"] < 45  # an image each 33 ms, and the first at once
    assert set(fields["gemm_share"]) == {"encode", "read", "decode"}
    assert 1e8 < fields["gemm_flops"] < 1e15
    assert fields["peak_memory_mib"]["process"] > 100
    assert fields["parity"]["min_iou"] > 0.99
    assert fields["image_hw"] == [240, 320]
    assert fields["model"] == {
        "name": "mllmseg-tabletop",
        "device": "cpu",
        "dtype": "float32",
        "quantize": "none",
        "backend": "torch",
        "path": "eager",
    }
    assert {"processor", "cores", "memory_gb", "packages"} <= set(fields["machine"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3:] == [*report.TABLE_HEAD, report.table_row(fields)]
    assert printed[-1].count("|") == printed[-3].count("|")


def test_the_documentation_has_the_table_that_is_printed() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    head, rule = report.TABLE_HEAD
    assert f"{head}\n{rule}\n" in page
    rows = re.findall(r"^\|.*ms.*MiB \|.*TFLOP/s \|$", page.split(rule, 1)[1], re.MULTILINE)
    assert rows
    assert {row.count("|") for row in rows} == {head.count("|")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "1B", "--model", "x"], "--size is for random weights and --model for a"),
        (["--size", "1B", "--backend", "onnxruntime"], "random weights are run by backend torch"),
        (["--seconds", "0"], "--seconds is 0.0, expected more than 0"),
        (["--model", "nowhere"], "no checkpoint folder 'nowhere'"),
        (["--device", "cuda:99"], "cuda:99"),
    ],
)
def test_what_cannot_be_measured_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["benchmark", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("size", ["640", "0x480", "640x480x3", "99999x1"])
def test_an_image_size_is_checked(size: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        cli.main(["benchmark", "--image", size])
    assert "expected WIDTHxHEIGHT" in capsys.readouterr().err
