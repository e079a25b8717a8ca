# SPDX-License-Identifier: Apache-2.0
"""Recorded passes against eager ones. On a CPU the recording is a function that computes again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mllmseg_ros.model.graphs import Graph
from mllmseg_ros.segmenter import Segmenter

EXPRESSIONS = [f"the {color} mug" for color in ("red", "blue", "green", "white", "black")] * 2


class CpuRecorder:
    """Has fixed inputs and outputs as a CUDA graph does, and fills the outputs anew."""

    def __init__(self, error: float = 0.0) -> None:
        self.n_recorded, self.n_replayed, self._error = 0, 0, error

    def __call__(self, function: Callable[..., list[Tensor]], inputs: Sequence[Tensor]) -> Graph:
        static = [each.clone() for each in inputs]
        outputs = [each.clone() for each in function(*static)]
        self.n_recorded += 1

        def replay() -> None:
            self.n_replayed += 1
            for kept, new in zip(outputs, function(*static), strict=True):
                kept.copy_(new + self._error)

        return Graph(static, outputs, replay)


@torch.inference_mode()
def record(segmenter: Segmenter, recorder: CpuRecorder) -> None:
    segmenter._passes.record(recorder, segmenter.prompts.build(["the small red mug on the left"]))


@pytest.fixture
def segmenter(random_segmenter: Segmenter) -> Segmenter:
    """Another one with the same network: recordings are kept in it."""
    return Segmenter(random_segmenter.model, random_segmenter.prompts._tokenizer)


def test_recorded_passes_equal_eager_ones(
    segmenter: Segmenter, random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    recorder = CpuRecorder()
    record(segmenter, recorder)
    assert recorder.n_recorded == 2 * 4 + 1  # two passes per number of expressions, and encoding
    context = segmenter.encode(image)
    other = segmenter.encode(image[::-1].copy())
    eager = random_segmenter.encode(image)
    for prompt_mode in ("single", "joint"):
        for n in (1, 2, 3, 8):
            expected = random_segmenter.segment(eager, EXPRESSIONS[:n], prompt_mode)
            first_context, first = segmenter.encode_and_segment(image, EXPRESSIONS[:n], prompt_mode)
            assert segmenter.path == "graphs"
            later = segmenter.segment(first_context, EXPRESSIONS[:n], prompt_mode)
            separate = segmenter.segment(context, EXPRESSIONS[:n], prompt_mode)
            assert segmenter.path == "graphs"
            for ours in (first, later, separate):
                for one, two in zip(ours, expected, strict=True):
                    assert one.status is two.status
                    assert one.score == pytest.approx(two.score, abs=1e-5)
                    both = (one.raw_mask & two.raw_mask).sum()
                    assert both >= 0.999 * (one.raw_mask | two.raw_mask).sum()
    assert recorder.n_recorded == 9  # whatever was asked
    upside_down = random_segmenter(image[::-1].copy(), EXPRESSIONS[:1])[0]
    kept = segmenter.segment(other, EXPRESSIONS[:1])[0]
    assert np.abs(kept.probability - upside_down.probability).max() < 1e-5


def test_what_is_longer_than_recorded_runs_eagerly(
    segmenter: Segmenter, random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    recorder = CpuRecorder()
    record(segmenter, recorder)
    context, replayed = segmenter.encode(image), recorder.n_replayed
    for texts in (["a mug on the table " * 30], EXPRESSIONS):
        results = segmenter.segment(context, texts)
        assert (segmenter.path, recorder.n_replayed) == ("eager", replayed)
        expected = random_segmenter(image, texts)
        assert results[0].score == pytest.approx(expected[0].score, abs=1e-5)


def test_a_recording_that_differs_is_not_used(
    segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    with pytest.raises(RuntimeError, match="recorded passes differ from the eager ones"):
        record(segmenter, CpuRecorder(error=1.0))
    segmenter(image, EXPRESSIONS[:1])
    assert segmenter.path == "eager"
