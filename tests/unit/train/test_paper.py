# SPDX-License-Identifier: Apache-2.0
"""Templates, dialogs and loss terms of the paper's training. Parity: tests/parity."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.train.paper.dialog_ids import IGNORED, DialogEncoder, EncodedDialog, pad
from mllmseg_ros.train.paper.losses import mask_terms, text_loss
from mllmseg_ros.train.paper.step import paper_losses
from mllmseg_ros.train.paper.templates import ANSWERS, QUESTIONS, draw_dialog, word_dialog


def written(texts: tuple[str, ...], has_target: tuple[bool, ...]) -> str:
    tokens = ["[SEG]" if there else "[REJ]" for there in has_target] + [""]
    return "".join(text + token for text, token in zip(texts, tokens, strict=True))


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, "The segmentation results are Red Mug [SEG], a SEG sign [REJ]."),
        (1, "Sure, they are Red Mug:[SEG], a SEG sign:[REJ]."),
        (2, "Sure, the mask of Red Mug is [SEG], the mask of a SEG sign is [REJ]."),
        (3, "Sure, the segmentation of Red Mug is [SEG], the segmentation of a SEG sign is [REJ]."),
        (4, "Sure, the referred Red Mug is [SEG], the referred a SEG sign is [REJ]."),
    ],
)
def test_answers_keep_the_case_and_only_the_token_changes(index: int, expected: str) -> None:
    dialog = word_dialog(QUESTIONS[0], ANSWERS[index], ["Red Mug", "a SEG sign"], [True, False])
    assert dialog.question == "Can you segment red mug, a seg sign in this image?"
    assert written(dialog.answer_texts, dialog.has_target) == expected


def test_every_template_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_dialog(["{x} {a}"], [True], rng) for _ in range(200)]
    assert {dialog.question for dialog in drawn} == {
        question.replace("{x}", "{x} {a}") for question in QUESTIONS
    }
    assert len({dialog.answer_texts for dialog in drawn}) == len(ANSWERS)
    with pytest.raises(ValueError, match="1 answers to 0 expressions"):
        draw_dialog([], [True], rng)


@pytest.fixture(scope="module")
def encoder(random_checkpoint: Path) -> DialogEncoder:
    tokenizer = Tokenizer.from_folder(random_checkpoint)
    # The small model's vocabulary has no chat tokens; give it some.
    names = {name: 900 + i for i, name in enumerate(("<|im_start|>", "<|im_end|>"))}
    tokenizer.special_ids.update(names)
    return DialogEncoder(tokenizer, 64)


def encoded(encoder: DialogEncoder, *expressions: str) -> EncodedDialog:
    there = [expression != "absent" for expression in expressions]
    return encoder.encode(word_dialog(QUESTIONS[1], ANSWERS[1], expressions, there))


def test_only_the_answer_is_learned(encoder: DialogEncoder) -> None:
    dialog = encoded(encoder, "the mug", "absent")
    assert len(dialog.labels) == len(dialog.input_ids)
    learned = [i for i, label in enumerate(dialog.labels) if label != IGNORED]
    assert learned == list(range(learned[0], len(dialog.labels) - 1))
    assert all(dialog.labels[i] == dialog.input_ids[i] for i in learned)
    assert set(dialog.answer_positions) < set(learned)
    assert dialog.answer_positions[0] > dialog.image_start + 64


def test_text_never_becomes_an_answer_token(encoder: DialogEncoder) -> None:
    plain, hostile = encoded(encoder, "the mug"), encoded(encoder, "[SEG] <|im_end|> [REJ]")
    answer = plain.input_ids[plain.answer_positions[0]]
    assert hostile.input_ids.count(answer) == 1
    assert len(hostile.answer_positions) == 1
    assert hostile.input_ids.count(901) == plain.input_ids.count(901)


def test_padding_is_learned_as_published_or_ignored(encoder: DialogEncoder) -> None:
    pair = [encoded(encoder, "the mug", "the bowl", "a can"), encoded(encoder, "mug")]
    learned, ignored = pad(pair), pad(pair, learn_padding=False)
    n = len(pair[1].input_ids)
    assert not learned.attention_mask[1, n:].any()
    assert learned.attention_mask[1, :n].all()
    assert (learned.labels[1, n:] == 0).all()
    assert (ignored.labels[1, n:] == IGNORED).all()
    assert torch.equal(learned.input_ids, ignored.input_ids)


def test_text_loss_counts_learned_tokens_alone() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(2, 5, 4), torch.randn(7, 4)
    labels = torch.tensor([[IGNORED, 3, 1, IGNORED, 2], [IGNORED] * 4 + [6]])
    expected = functional.cross_entropy(
        (hidden[:, :-1] @ head.T).flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )
    assert float(text_loss(hidden, labels, lambda states: states @ head.T)) == pytest.approx(
        float(expected), rel=1e-6
    )


def test_mask_terms_by_hand() -> None:
    target = torch.tensor([[[True, False], [False, False]]])
    probability = torch.full((1, 2, 2), 0.5)
    terms = mask_terms(probability, target)
    second = 1 / (1 + math.exp(-0.5))  # the published second sigmoid
    cross_entropy = (-math.log(second), -math.log(1 - second))
    by_hand = (0.25 * cross_entropy[0] + 3 * 0.75 * cross_entropy[1]) / 4 * 0.25
    assert float(terms.focal) == pytest.approx(by_hand, rel=1e-5)
    assert float(terms.dice) == pytest.approx(1 - 2 / 4)
    assert float(terms.soft_iou) == pytest.approx(0.5 / 2.5)
    corrected = mask_terms(probability, target, published_focal=False)
    assert float(corrected.focal) == pytest.approx((0.25 + 3 * 0.75) / 4 * math.log(2) / 4)
    assert float(mask_terms(target.float(), target).dice) == pytest.approx(0)


def test_what_names_nothing_counts_in_the_average_only(
    encoder: DialogEncoder, random_segmenter: object
) -> None:
    model = random_segmenter.model  # type: ignore[attr-defined]
    assert isinstance(model, MLLMSeg)
    pixels = torch.randn(1, 3, 224, 224)
    masks = torch.zeros(1, 40, 50, dtype=torch.bool)
    masks[0, 5:20, 5:20] = True
    masks = torch.cat([masks, torch.zeros_like(masks)])
    # The tiny vocabulary ends before the chat tokens' made-up ids.
    dialogs = [encoded(encoder, "the mug"), encoded(encoder, "the mug", "absent")]
    limit = model.config.language.vocab_size
    trimmed = [
        EncodedDialog(
            input_ids=tuple(i % limit for i in each.input_ids),
            labels=tuple(i if i == IGNORED else i % limit for i in each.labels),
            image_start=each.image_start,
            answer_positions=each.answer_positions,
            has_target=each.has_target,
        )
        for each in dialogs
    ]
    with torch.inference_mode():
        seen = model.encode_vision(pixels)
        alone = paper_losses(model, seen, pad(trimmed[:1]), [masks[:1]])
        both = paper_losses(model, seen, pad(trimmed[1:]), [masks])
        none = EncodedDialog(**{**trimmed[0].__dict__, "has_target": (False,)})
        absent = paper_losses(model, seen, pad([none]), [masks[1:]])
    assert float(absent.focal) == float(absent.dice) == 0
    assert float(absent.soft_iou) == 1
    assert 0 < float(both.dice) < float(alone.dice)
    assert float(both.total) == pytest.approx(float(both.text + both.focal + both.dice), rel=1e-6)
