# SPDX-License-Identifier: Apache-2.0
"""An exported model gives what the model gives, and says what is wrong with a folder or backend."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("onnx", reason="needs requirements/onnx.txt")
pytest.importorskip("onnxscript", reason="needs requirements/onnx.txt")
pytest.importorskip("onnxruntime", reason="needs requirements/onnx.txt")

import onnxruntime

from mllmseg_ros import cli
from mllmseg_ros.checkpoints.loading import save_model
from mllmseg_ros.explain.explanation import explain
from mllmseg_ros.export import writing
from mllmseg_ros.export.engines import SCRIPT
from mllmseg_ros.export.sessions import OnnxSession
from mllmseg_ros.export.stages import DYNAMIC, STAGES, Stage
from mllmseg_ros.model.config import read_config
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.segmentation import Segmentation
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.samples import N_SAMPLES, load_sample, sample_expressions

TINY = Path(__file__).parents[2] / "parity" / "recorded" / "tiny-qwen2"
# In the order of encode, read, answer and decode; lengths that differ from the traced ones.
EXPRESSIONS = ["the mug", "the red ball to the left of the large bowl", "all", "a can"]
VISION = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": 56,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published layout, with grouped keys, smaller than the recorded model."""
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json"):
        shutil.copy(TINY / name, folder)
    fields = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    fields |= {"force_image_size": 56, "vision_config": fields["vision_config"] | VISION}
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    torch.manual_seed(0)
    save_model(MLLMSeg(read_config(folder)), folder, torch.float32)
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    folder = checkpoint.with_name("exported")
    assert cli.main(["export", str(checkpoint), "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def segmenter(checkpoint: Path) -> Segmenter:
    return Segmenter.from_pretrained(checkpoint, device="cpu", dtype="float32")


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copied"))


def assert_equal(results: list[Segmentation], expected: list[Segmentation]) -> None:
    for ours, theirs in zip(results, expected, strict=True):
        assert ours.status == theirs.status
        assert np.abs(ours.probability - theirs.probability).max() < 1e-4
        assert ours.score == pytest.approx(theirs.score, abs=1e-4, nan_ok=True)


@pytest.mark.parametrize("prompt_mode", ["single", "joint"])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_results_are_those_of_torch(
    exported: Path, segmenter: Segmenter, image: NDArray[np.uint8], n: int, prompt_mode: str
) -> None:
    onnx = Segmenter.from_pretrained(exported, device="cpu")
    onnx.can_reject = True  # scores are reported then
    torch_model = Segmenter(segmenter.torch_model, segmenter.prompts._tokenizer)
    torch_model.can_reject = True
    assert (onnx.backend, torch_model.backend) == ("onnxruntime", "torch")
    expected = torch_model(image, EXPRESSIONS[:n], prompt_mode)
    assert_equal(onnx(image, EXPRESSIONS[:n], prompt_mode), expected)
    # Questions on an encoded image, which is read again after another one.
    context = onnx.encode(image)
    onnx.encode(image[::-1])
    assert_equal(onnx.segment(context, EXPRESSIONS[:n], prompt_mode), expected)


def test_each_stage_was_compared(exported: Path) -> None:
    fields = json.loads((exported / "export.json").read_text(encoding="utf-8"))
    assert list(fields["differences_from_torch"]) == [stage.name for stage in STAGES]
    assert all(0 < each <= writing.TOLERANCE for each in fields["differences_from_torch"].values())


def test_a_difference_refuses_the_export(
    checkpoint: Path,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Files of one model, compared with another one whose weights differ by little."""

    def copy_stage(module: object, stage: Stage, tensors: object, path: Path) -> None:
        for suffix in ("", ".data"):
            shutil.copy(exported / f"{stage.onnx_file}{suffix}", f"{path}{suffix}")

    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    options = {"device": "cpu", "dtype": "float32", "whole_head": True}
    model = Segmenter.from_pretrained(other, **options).torch_model  # type: ignore[arg-type]
    model.mask_decoder.conv2.weight[0, 0, 2, 2] += 1e-3
    save_model(model, other, torch.float32)
    monkeypatch.setattr(writing, "_write_stage", copy_stage)
    assert cli.main(["export", str(checkpoint), "-o", str(tmp_path / "same")]) == 0
    assert cli.main(["export", str(other), "-o", str(tmp_path / "new")]) == 1
    assert "stage decode: ONNX Runtime differs from torch by" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"other", "same"}


@pytest.mark.parametrize(("policy", "spins"), [(None, "0"), ("PASSIVE", "0"), ("ACTIVE", "1")])
def test_threads_wait_as_openmp_s_do(
    exported: Path, policy: str | None, spins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    session = OnnxSession(exported / "answer.onnx", torch.device("cpu"))
    options = session._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == spins


def test_nothing_is_exported_over_other_files(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main(["export", str(checkpoint), "-o", str(tmp_path)]) == 1
    assert "is not an empty folder" in capsys.readouterr().err


# Folders and backends


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("torch", "is an exported model, which backend torch does not run"),
        ("tensorrt", r"encode\.engine: not found; run its build_engines\.sh"),
        ("onnx", "unknown backend 'onnx'; accepted: auto, torch, onnxruntime, tensorrt"),
    ],
)
def test_a_backend_that_cannot_run_it(exported: Path, backend: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Segmenter.from_pretrained(exported, backend=backend)


def test_a_checkpoint_is_not_run_by_onnxruntime(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"is not an exported model, .* mllmseg export"):
        Segmenter.from_pretrained(checkpoint, backend="onnxruntime")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16', an exported model .* accepted: auto, float"),
        ({"device": "cuda"}, "backend onnxruntime sees no CUDA GPU"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
    ],
)
def test_what_an_export_does_not_do(exported: Path, options: dict[str, str], message: str) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("ONNX Runtime has CUDA here")
    with pytest.raises(ValueError, match=message):
        Segmenter.from_pretrained(exported, **options)  # type: ignore[arg-type]


def test_damaged_and_missing_files_are_named(copied: Path) -> None:
    path = copied / "decode.onnx"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"decode\.onnx: ONNX Runtime cannot load it"):
        Segmenter.from_pretrained(copied)
    path.unlink()
    with pytest.raises(ValueError, match=r"decode\.onnx: not found; export it again"):
        Segmenter.from_pretrained(copied)
    (copied / "export.json").write_text("[]")
    shutil.copy(copied / "answer.onnx", path)
    with pytest.raises(ValueError, match=r"export\.json: not of format 1"):
        Segmenter.from_pretrained(copied)


def test_another_prompt_than_that_of_the_export_is_refused(copied: Path) -> None:
    fields = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    fields["mllmseg"] = {"prompt": "see <img>{image}</img>{expressions}{answers}"}
    (copied / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(ValueError, match="exported with another prompt or tokenizer"):
        Segmenter.from_pretrained(copied)


def test_what_looks_inside_needs_the_model_itself(exported: Path, image: NDArray[np.uint8]) -> None:
    segmenter = Segmenter.from_pretrained(exported)
    with pytest.raises(ValueError, match="is an exported model; this needs the original"):
        explain(segmenter, segmenter.encode(image), "the mug")


def test_the_node_loads_it(exported: Path, checkpoint: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    from mllmseg_ros.ros.node.model_loading import check_model, load_model
    from mllmseg_ros.ros.node.parameters import SegmenterParameters

    parameters = SegmenterParameters(model=str(exported))
    check_model(parameters)
    assert load_model(parameters).segmenter.backend == "onnxruntime"
    with pytest.raises(ValueError, match="build_engines"):
        check_model(SegmenterParameters(model=str(exported), backend="tensorrt"))
    with pytest.raises(ValueError, match="is not an exported model"):
        check_model(SegmenterParameters(model=str(checkpoint), backend="onnxruntime"))


# TensorRT's engines: the command lines, against the inputs that the ONNX files declare


def run_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a program that writes its arguments instead of trtexec."""
    recorder = folder / "trtexec"
    recorder.write_text('#!/bin/sh\nprintf "%s\\n" "$@" END\n')
    recorder.chmod(0o755)
    return subprocess.run(
        [str(folder / SCRIPT), *arguments],
        env={**os.environ, "TRTEXEC": str(recorder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "flags"), [((), {"--fp16"}), (("bf16",), {"--bf16"}), (("fp32",), set())]
)
def test_engine_command_lines(copied: Path, arguments: tuple[str, ...], flags: set[str]) -> None:
    done = run_script(copied, *arguments)
    assert done.returncode == 0, done.stderr
    commands = [part.split() for part in done.stdout.split("END")[:-1]]
    assert [f"--onnx={stage.onnx_file}" for stage in STAGES] == [each[0] for each in commands]
    for stage, command in zip(STAGES, commands, strict=True):
        assert f"--saveEngine={stage.engine_file}" in command
        assert {each for each in command if each.startswith(("--fp", "--bf"))} == flags
        session = onnxruntime.InferenceSession(str(copied / stage.onnx_file))
        declared = {each.name: each.shape for each in session.get_inputs()}
        assert set(declared) == set(stage.inputs)
        shapes = [each for each in command if "Shapes=" in each]
        dynamic = any(isinstance(side, str) for shape in declared.values() for side in shape)
        assert len(shapes) == (3 if dynamic else 0)
        for option in shapes:
            given = dict(re.findall(r"(\w+):([\dx]+)", option.partition("=")[2]))
            assert set(given) == set(declared)
            for name, text in given.items():
                sides = [int(side) for side in text.split("x")]
                assert len(sides) == len(declared[name])
                for axis, (side, there) in enumerate(zip(sides, declared[name], strict=True)):
                    if axis in DYNAMIC.get(name, {}):
                        assert isinstance(there, str), "fixed in the ONNX file"
                    else:
                        assert side == there


def test_an_unknown_precision_is_refused(copied: Path) -> None:
    done = run_script(copied, "int3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "accepted: fp16, bf16, fp32" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes half a minute: make slow")
def test_the_embedded_model_on_the_sample_frames(tmp_path: Path) -> None:
    assert cli.main(["export", "-o", str(tmp_path / "embedded")]) == 0
    onnx = Segmenter.from_pretrained(tmp_path / "embedded", device="cpu")
    torch_model = Segmenter.from_pretrained(device="cpu", dtype="float32")
    n_compared = 0
    for frame in range(N_SAMPLES):
        rgb, expressions = load_sample(frame).rgb, [e.text for e in sample_expressions(frame)]
        for ours, theirs in zip(onnx(rgb, expressions), torch_model(rgb, expressions), strict=True):
            assert ours.status == theirs.status
            union = np.count_nonzero(ours.raw_mask | theirs.raw_mask)
            assert np.count_nonzero(ours.raw_mask & theirs.raw_mask) >= 0.999 * union
            n_compared += 1
    assert n_compared >= 40
