# SPDX-License-Identifier: Apache-2.0
"""Stage by stage against the original implementation: two layers deep, both language models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recorded_model import RecordedModel, load_segmenter
from stages import PromptStages, VisionStages

from mllmseg_ros.model.pixels import to_image_size

CASES = (
    "c0_one",
    "c1_strip",
    "c2_two",
    "c3_four",
    "c4_rej",
    "c5_rej4",
    "c6_allrej",
    "c7_unicode",
)
RUNS = [pytest.param(case, False, id=case) for case in CASES]
RUNS += [pytest.param(case, True, id=f"{case}-reeval") for case in CASES if "rej" in case]


@pytest.fixture(scope="module", params=["tiny-qwen2", "tiny-internlm2"])
def model(request: pytest.FixtureRequest, checkpoint: Callable[[str], Path]) -> RecordedModel:
    return RecordedModel(request.param, load_segmenter(checkpoint(request.param)))


@pytest.mark.parametrize("case", CASES)
class TestVision(VisionStages):
    pass


@pytest.mark.parametrize(("case", "two_passes"), RUNS)
class TestPrompts(PromptStages):
    pass


def test_segmenter_equals_the_original(model: RecordedModel) -> None:
    """The segmenter encodes the image once, then runs all expressions in one prompt."""
    case, segmenter = model.cases["c3_four"], model.segmenter
    reference = to_image_size(
        model.result("c3_four", False).probability, (case["height"], case["width"])
    )
    image = model.image("c3_four").numpy()
    staged = segmenter(image, case["expressions"], prompt_mode="joint")
    for ours, probability in zip(staged, reference, strict=True):
        # The same float32 computation in another order of sums, then a sigmoid.
        assert (torch.from_numpy(ours.probability) - probability).abs().max() < 1e-4


def test_score_is_the_probability_of_seg_against_rej(
    model: RecordedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one expression alone, for which the original's prompt and the segmenter's are the same."""
    (expression,) = model.cases["c0_one"]["expressions"]
    (margin,) = model.cases["c0_one"]["single_pass"]["seg_minus_rej"]
    # Read from the name of a published model; these have none.
    monkeypatch.setattr(model.segmenter, "can_reject", True)
    (ours,) = model.segmenter(model.image("c0_one").numpy(), [expression])
    # The logits agree to 1e-4 of themselves, and the slope of the sigmoid is at most 1/4.
    assert abs(ours.score - float(torch.sigmoid(torch.tensor(margin)))) < 1e-4
