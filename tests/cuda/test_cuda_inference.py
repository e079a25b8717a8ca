# SPDX-License-Identifier: Apache-2.0
"""Inference on a fake GPU: no mixed devices, nothing waits, one copy in and one out per call."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fake_cuda import MODELS, FakeCuda, fake_cuda, make_model

from mllmseg_ros.explain.explanation import explain
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.segmenter import Segmenter

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
IMAGE = np.zeros((48, 64, 3), np.uint8)
EXPRESSIONS = ["the red mug", "the bowl left of the can"]


@pytest.fixture
def gpu() -> Iterator[FakeCuda]:
    with fake_cuda() as gpu:
        yield gpu


def make_segmenter(name: str, dtype: torch.dtype) -> Segmenter:
    model = make_model(MODELS[name], dtype)
    return Segmenter(model, Tokenizer.from_folder(MODELS[name]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODELS)
def test_one_copy_in_and_one_out(gpu: FakeCuda, name: str, dtype: torch.dtype) -> None:
    segmenter = make_segmenter(name, dtype)
    assert segmenter.device.type == "cuda"
    segmenter.encode(IMAGE)
    gpu.copies  # noqa: B018 - of making the model, and what resizes images of this size
    context = segmenter.encode(IMAGE)
    assert gpu.copies == (1, 0)
    assert context.features.fused.device.type == "cuda"
    for prompt_mode in ("single", "joint"):
        for expressions in (EXPRESSIONS[:1], EXPRESSIONS):
            results = segmenter.segment(context, expressions, prompt_mode)
            assert [each.mask.shape for each in results] == [(48, 64)] * len(expressions)
            assert gpu.copies == (1, 1)
        segmenter.encode_and_segment(IMAGE, EXPRESSIONS, prompt_mode)
        assert gpu.copies == (1, 1)
    assert gpu.waits == 0


def test_passes_that_cannot_be_recorded_stay_eager(gpu: FakeCuda) -> None:
    segmenter = make_segmenter("embedded", torch.float16)
    segmenter._record_graphs()  # a fake GPU records nothing
    assert segmenter.compile_problem.startswith("no CUDA graphs: ")
    assert len(segmenter(IMAGE, EXPRESSIONS)) == 2
    assert segmenter.path == "eager"


@pytest.mark.parametrize("name", MODELS)
def test_an_explanation(gpu: FakeCuda, name: str) -> None:
    segmenter = make_segmenter(name, torch.bfloat16)
    context = segmenter.encode(IMAGE)
    gpu.copies  # noqa: B018
    explanation = explain(segmenter, context, "the red mug")
    assert explanation.attention.ndim == 3
    # Of the segmentation, of the prompt, of the contributions' weights; of results and explanation.
    assert gpu.copies == (3, 2)


def test_what_would_wait_or_mix_devices_fails(gpu: FakeCuda) -> None:
    numbers = torch.zeros(3, device="cuda")
    for wrong in (
        lambda: float(numbers[0]),
        lambda: numbers.tolist(),
        lambda: numbers[numbers > 0],
        lambda: numbers + torch.zeros(3),
        lambda: numbers.numpy(),
    ):
        with pytest.raises((RuntimeError, AssertionError)):
            wrong()
    torch.tensor([1.0], device="cuda")
    assert (gpu.copies, gpu.waits) == ((1, 0), 1)
