# SPDX-License-Identifier: Apache-2.0
"""One training batch against the original: ids, labels, padding, loss terms, gradient norms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from named_weights import RECORDED
from recorded_model import load_segmenter
from safetensors.torch import load_file
from torch import Tensor

from mllmseg_ros.checkpoints.layout import checkpoint_layout
from mllmseg_ros.model.pixels import resize_to_square, to_pixel_values
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.train.paper.dialog_ids import DialogEncoder, PaddedDialogs, pad
from mllmseg_ros.train.paper.step import paper_losses
from mllmseg_ros.train.paper.templates import QUESTIONS, word_dialog

ANSWER = ("Sure,", "{x}:{a}")
SAMPLES = ("t0", "t1")


class RecordedBatch:
    """Two samples of different lengths, the original's losses and gradient norms."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.facts: dict[str, Any] = json.loads(
            (RECORDED / model / "train.json").read_text(encoding="utf-8")
        )
        self.tensors: dict[str, Tensor] = load_file(RECORDED / model / "train.safetensors")
        encoder = DialogEncoder(Tokenizer.from_folder(RECORDED / model), 256)
        dialogs = []
        for sample in self.facts["samples"]:
            has_target = [target == "seg" for target in sample["targets"]]
            dialog = word_dialog(QUESTIONS[1], ANSWER, sample["expressions"], has_target)
            assert "<image>\n" + dialog.question == sample["question"]
            dialogs.append(dialog)
        self.dialogs: PaddedDialogs = pad([encoder.encode(dialog) for dialog in dialogs])


@pytest.fixture(scope="module", params=["tiny-qwen2", "tiny-internlm2"])
def batch(request: pytest.FixtureRequest) -> RecordedBatch:
    return RecordedBatch(request.param)


def test_ids_labels_and_padding(batch: RecordedBatch) -> None:
    dialogs, tensors = batch.dialogs, batch.tensors
    # All exact: integers.
    for name, dialog in zip(SAMPLES, dialogs.dialogs, strict=True):
        assert list(dialog.input_ids) == tensors[f"{name}.input_ids"].tolist()
        assert list(dialog.labels) == tensors[f"{name}.labels"].tolist()
    assert torch.equal(dialogs.input_ids, tensors["batch.input_ids"].long())
    assert torch.equal(dialogs.labels, tensors["batch.labels"].long())
    assert torch.equal(dialogs.attention_mask, tensors["batch.attention_mask"].bool())
    assert torch.equal(dialogs.position_ids, tensors["batch.position_ids"].long())


def test_loss_terms_and_gradients(batch: RecordedBatch, checkpoint: Callable[[str], Path]) -> None:
    model = load_segmenter(checkpoint(batch.model)).model
    model.requires_grad_(True)
    squares = [resize_to_square(batch.tensors[f"{name}.image"].numpy(), 448) for name in SAMPLES]
    losses = paper_losses(
        model,
        model.encode_vision(torch.stack([to_pixel_values(square) for square in squares])),
        batch.dialogs,
        [batch.tensors[f"{name}.gt_masks"].bool() for name in SAMPLES],
    )
    expected = batch.facts["outputs"]
    for ours, key in (
        (losses.total, "loss"),
        (losses.text, "ce_loss"),
        (losses.focal, "mask_focal_loss"),
        (losses.dice, "mask_dice_loss"),
        (losses.focal + losses.dice, "mask_loss"),
        (losses.soft_iou, "iou"),
    ):
        # float32 through the whole network, as for hidden states and masks.
        assert float(ours.detach()) == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key
    losses.total.backward()
    parameters = dict(model.named_parameters())
    norms = {}
    for entry in checkpoint_layout(model.config, list(model.mask_decoder.state_dict())):
        gradients = [parameters[name].grad for name in entry.ours if name in parameters]
        if gradients and all(gradient is not None for gradient in gradients):
            # The norm of a fused weight is that of its parts together.
            squared = sum(gradient.square().sum() for gradient in gradients)
            norms[entry.published] = float(squared**0.5)
    # One thread or two, on one machine, change the order of sums, and one norm by 1e-4 of itself.
    wrong = {
        key: (norms.get(key), value)
        for key, value in expected["grad_norms"].items()
        if norms.get(key) != pytest.approx(value, rel=5e-4, abs=1e-6)
    }
    assert not wrong
