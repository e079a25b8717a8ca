# SPDX-License-Identifier: Apache-2.0
"""Choice of dtype, and why a GPU is not used: device files under a root of the test's own.

No GPU is needed; what torch would say about one is replaced where it is said so.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from mllmseg_ros.model.precision import choose_device_and_dtype, find_gpu_problem

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")


def make_root(folder: Path, *files: str) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_a_machine_without_a_gpu_has_no_problem(tmp_path: Path) -> None:
    assert find_gpu_problem(make_root(tmp_path, "dev/null", "etc/nv_tegra_release")) == ""


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
@pytest.mark.parametrize("file", ["dev/nvidia0", "dev/nvhost-gpu", "dev/nvgpu/igpu0/ctrl"])
def test_a_torch_without_cuda_is_to_be_replaced(tmp_path: Path, file: str) -> None:
    problem = find_gpu_problem(make_root(tmp_path, file))
    assert f"there is an NVIDIA GPU (/{'/'.join(file.split('/')[:2])}), but torch" in problem
    assert problem.endswith("was built without CUDA; install a CUDA build of torch")
    make_root(tmp_path, "etc/nv_tegra_release")
    assert find_gpu_problem(tmp_path).endswith("NVIDIA's build of torch for this JetPack")


@pytest.mark.parametrize("is_jetson", [False, True])
def test_a_failing_cuda_build_reports_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_jetson: bool
) -> None:
    reason = "Found no NVIDIA driver on your system.\nPlease check"

    def init() -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "init", init)
    make_root(tmp_path, "dev/nvidia0", *(["etc/nv_tegra_release"] if is_jetson else []))
    problem = find_gpu_problem(tmp_path)
    assert "(CUDA 12.6) cannot use it: Found no NVIDIA driver on your system. Please" in problem
    assert "install" not in problem
    assert ("another JetPack" in problem) == is_jetson
    assert ("nvidia-smi" in problem) != is_jetson  # a Jetson's is another program


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
def test_a_torch_that_claims_cuda_says_itself_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    problem = find_gpu_problem(make_root(tmp_path, "dev/nvgpu"))
    assert "Torch not compiled with CUDA enabled" in problem  # the real torch.cuda.init()


def test_a_device_that_is_not_there_says_why() -> None:
    with pytest.raises(ValueError, match=r"^device 'cuda' cannot be used: .*CUDA.*; or use device"):
        choose_device_and_dtype("cuda", None)


@pytest.mark.parametrize(
    ("computes_bfloat16", "expected"), [(True, torch.bfloat16), (False, torch.float16)]
)
def test_auto_takes_bfloat16_only_where_the_gpu_computes_it(
    monkeypatch: pytest.MonkeyPatch, computes_bfloat16: bool, expected: torch.dtype
) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return including_emulation or computes_bfloat16  # every GPU emulates it

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert choose_device_and_dtype("cuda", "auto")[1] is expected
    assert choose_device_and_dtype("cuda", "bfloat16")[1] is torch.bfloat16
