# SPDX-License-Identifier: Apache-2.0
"""The pieces of an explanation mean what they say, for every model that loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mllmseg_ros.cli import main
from mllmseg_ros.explain.explanation import SEEN, explain, leave_out_words
from mllmseg_ros.explain.panel import describe_decision, draw_explanation
from mllmseg_ros.model.config import parse_config
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.segmentation import Status
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.samples import FRAMES, load_sample

EXPRESSION = "the red mug"
SUM_TOLERANCE = 1e-3  # logits, float32: order of summation


@pytest.fixture(scope="module")
def internlm2_segmenter(random_checkpoint: Path) -> Segmenter:
    """Random weights in InternLM2's layout: grouped queries, no biases, Llama's model class."""
    fields = json.loads((random_checkpoint / "config.json").read_text(encoding="utf-8"))
    fields["llm_config"] |= {
        "architectures": ["InternLM2ForCausalLM"],
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
    }
    torch.manual_seed(1)
    model = MLLMSeg(parse_config(fields, name="x", origin="test")).eval()
    return Segmenter(model, Tokenizer.from_folder(random_checkpoint))


@pytest.fixture(scope="module")
def embedded() -> Segmenter:
    return Segmenter.from_pretrained(device="cpu", dtype="float32")


@pytest.fixture(params=["embedded", "random_segmenter", "internlm2_segmenter"])
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    return request.getfixturevalue(request.param)


def test_the_cut_through_the_heat_map_is_the_mask_and_the_shares_sum_to_its_logits(
    segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    context = segmenter.encode(image)
    explanation = explain(segmenter, context, EXPRESSION)
    (segmentation,) = segmenter.segment(context, [EXPRESSION])
    np.testing.assert_array_equal(explanation.segmentation.raw_mask, segmentation.raw_mask)
    np.testing.assert_array_equal(
        explanation.segmentation.probability >= explanation.cut, segmentation.raw_mask
    )
    total = explanation.without_views + explanation.shares.sum(0)
    assert np.abs(total - explanation.mask_logits).max() < SUM_TOLERANCE
    assert np.abs(explanation.shares).max() > 10 * SUM_TOLERANCE  # it is not a sum of nothing


def test_attention_is_what_the_model_computes_by_itself(
    segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    explanation = explain(segmenter, segmenter.encode(image), EXPRESSION)
    prompt = segmenter.prompts.build([EXPRESSION])
    rows = eager_attention(segmenter, image, prompt.input_ids[: prompt.answer_positions[0]])
    assert explanation.attention.shape == rows.shape
    np.testing.assert_allclose(explanation.attention, rows, atol=1e-4)
    np.testing.assert_allclose(explanation.attention.sum(-1), 1.0, atol=1e-5)
    n_image = segmenter.model.config.n_image_tokens
    on_image = rows[..., prompt.image_start : prompt.image_start + n_image]
    assert explanation.image_share == pytest.approx(float(on_image.sum(-1).mean()), abs=1e-4)


@torch.inference_mode()
def eager_attention(
    segmenter: Segmenter, image: NDArray[np.uint8], ids: Sequence[int]
) -> NDArray[np.float32]:
    """Weights of the last token by transformers' own eager attention, in one uncached pass."""
    from mllmseg_ros.model.pixels import resize_to_square, to_pixel_values

    model = segmenter.model
    pixels = to_pixel_values(resize_to_square(image, model.config.image_size_px))
    _, embeds = model.encode_vision(pixels[None])
    start = segmenter.prompts.build([EXPRESSION]).image_start
    language_model = model.language_model
    language_model.set_attn_implementation("eager")
    try:
        weights = language_model(
            inputs_embeds=model.embed(torch.tensor([list(ids)]), embeds, start),
            output_attentions=True,
            use_cache=False,
        ).attentions
    finally:
        language_model.set_attn_implementation("sdpa")
    return torch.stack([layer[0, :, -1] for layer in weights]).numpy()


def test_a_view_has_a_share_where_it_differs_from_its_mean_and_only_then(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    context = random_segmenter.encode(image)
    tokens = context.features.vision_tokens
    flat = SimpleNamespace(**vars(context.features))
    flat.image_states = context.features.image_states.mean(1, keepdim=True).expand_as(
        context.features.image_states
    )
    explanation = explain(
        random_segmenter, SimpleNamespace(features=flat, size_hw=context.size_hw), EXPRESSION
    )
    assert np.abs(explanation.shares[2]).max() < SUM_TOLERANCE  # the upsampled states say no place
    assert np.abs(explanation.shares[1]).max() > 10 * SUM_TOLERANCE
    assert tokens.std(1).max() > 0


def test_what_is_there_is_explained_by_its_words(embedded: Segmenter) -> None:
    rgb = load_sample(1).rgb
    context = embedded.encode(rgb)
    explanation = explain(embedded, context, "the blue mug")
    assert explanation.segmentation.status is Status.NO_TARGET
    without = {word: ablated.found for word, ablated in explanation.word_ablations}
    assert without == {"blue": True, "mug": False}  # there are mugs, but nothing blue
    assert "is below the threshold 0.50" in describe_decision(explanation)
    found = explain(embedded, context, "the red mug")
    assert found.segmentation.status is Status.FOUND
    assert "reaches the threshold 0.50" in describe_decision(found)
    assert max(found.contrasts) > 1.0
    panels = [draw_explanation(rgb, each) for each in (explanation, found)]
    assert panels[0].shape == panels[1].shape
    assert (panels[0] != panels[1]).any()


def test_regions_are_the_places_above_the_floor(embedded: Segmenter) -> None:
    rgb = load_sample(4).rgb
    explanation = explain(embedded, embedded.encode(rgb), "the can on the far left")
    probability = explanation.segmentation.probability
    assert len({each.in_mask for each in explanation.regions}) == 2  # some taken, some rejected
    peaks = [each.peak for each in explanation.regions]
    assert peaks == sorted(peaks, reverse=True)
    for each in explanation.regions:
        assert probability[each.mask].min() >= SEEN
        assert each.in_mask == bool((explanation.segmentation.mask & each.mask).any())


def test_words_are_left_out_one_by_one() -> None:
    assert leave_out_words("The Red mug.") == [("red", "the mug"), ("mug", "the red")]
    assert leave_out_words("the mug") == []
    assert len(leave_out_words("mug " * 20)) == 8
    with pytest.raises(ValueError, match="empty referring expression"):
        leave_out_words(" . ")


def test_a_panel_of_another_image_is_refused(embedded: Segmenter) -> None:
    explanation = explain(embedded, embedded.encode(load_sample(0).rgb), "the red mug")
    with pytest.raises(ValueError, match=r"the segmentation is \(480, 640\), the image \(10, 10\)"):
        draw_explanation(np.zeros((10, 10, 3), np.uint8), explanation)


@pytest.mark.parametrize("size_hw", [(32, 32), (300, 40), (40, 300)])
def test_any_size_and_a_model_that_cannot_reject(
    random_segmenter: Segmenter, size_hw: tuple[int, int]
) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    random_segmenter.can_reject = not random_segmenter.can_reject
    try:
        explanation = explain(
            random_segmenter, random_segmenter.encode(rgb), "ein <Löffel> [SEG] " * 9
        )
    finally:
        random_segmenter.can_reject = not random_segmenter.can_reject
    assert draw_explanation(rgb, explanation).shape[1] == 1608


def test_the_command_writes_the_panel_and_says_what_decided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = FRAMES / "frame_1.png"
    panel = tmp_path / "why.png"
    arguments = ["explain", str(image), "the blue mug", "-o", str(panel), "--device", "cpu"]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert output.startswith("'the blue mug': NO_TARGET. Its score 0.0")
    assert cv2.imread(str(panel)).shape[1] == 1608
    assert main([*arguments[:2], " ", *arguments[3:]]) == 1
    assert "no expression given" in capsys.readouterr().err
