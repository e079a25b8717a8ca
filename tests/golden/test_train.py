# SPDX-License-Identifier: Apache-2.0
"""One training batch against the original: ids, labels, padding, loss terms, gradient norms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mllmseg_ros.checkpoints.layout import checkpoint_layout
from mllmseg_ros.model.pixels import resize_to_square, to_pixel_values
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.train.paper.dialog_ids import DialogEncoder, PaddedDialogs, pad
from mllmseg_ros.train.paper.step import paper_losses
from mllmseg_ros.train.paper.templates import QUESTIONS, word_dialog

ANSWER = ("Sure,", "{x}:{a}")


@pytest.fixture(scope="module")
def recorded(golden: Path, model_name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    facts = json.loads((golden / model_name / "train.json").read_text(encoding="utf-8"))
    return facts, load_file(golden / model_name / "train.safetensors")


@pytest.fixture(scope="module")
def dialogs(checkpoint: Path, recorded: tuple[dict[str, Any], dict]) -> PaddedDialogs:
    encoder = DialogEncoder(Tokenizer.from_folder(checkpoint), 256)
    worded = []
    for sample in recorded[0]["samples"]:
        there = [target == "seg" for target in sample["targets"]]
        dialog = word_dialog(QUESTIONS[1], ANSWER, sample["expressions"], there)
        assert "<image>\n" + dialog.question == sample["question"]
        worded.append(dialog)
    return pad([encoder.encode(dialog) for dialog in worded])


def test_ids_labels_and_padding(
    dialogs: PaddedDialogs, recorded: tuple[dict[str, Any], dict[str, torch.Tensor]]
) -> None:
    tensors = recorded[1]
    for name, dialog in zip(("t0", "t1"), dialogs.dialogs, strict=True):
        assert list(dialog.input_ids) == tensors[f"{name}.input_ids"].tolist()
        assert list(dialog.labels) == tensors[f"{name}.labels"].tolist()
    assert torch.equal(dialogs.input_ids, tensors["batch.input_ids"].long())
    assert torch.equal(dialogs.labels, tensors["batch.labels"].long())
    assert torch.equal(dialogs.attention_mask, tensors["batch.attention_mask"].bool())
    assert torch.equal(dialogs.position_ids, tensors["batch.position_ids"].long())


def test_loss_terms_and_gradients(
    checkpoint: Path,
    dialogs: PaddedDialogs,
    recorded: tuple[dict[str, Any], dict[str, torch.Tensor]],
) -> None:
    facts, tensors = recorded
    model = Segmenter.from_pretrained(checkpoint, device="cpu", dtype="float32").model
    model.requires_grad_(True)
    names = ("t0", "t1")
    squares = [resize_to_square(tensors[f"{name}.image"].numpy(), 448) for name in names]
    losses = paper_losses(
        model,
        model.encode_vision(torch.stack([to_pixel_values(square) for square in squares])),
        dialogs,
        [tensors[f"{name}.gt_masks"].bool() for name in names],
    )
    expected = facts["outputs"]
    for ours, key in (
        (losses.total, "loss"),
        (losses.text, "ce_loss"),
        (losses.focal, "mask_focal_loss"),
        (losses.dice, "mask_dice_loss"),
        (losses.focal + losses.dice, "mask_loss"),
        (losses.soft_iou, "iou"),
    ):
        assert float(ours.detach()) == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key
    losses.total.backward()
    parameters = dict(model.named_parameters())
    norms = {}
    for entry in checkpoint_layout(model.config, list(model.mask_decoder.state_dict())):
        gradients = [parameters[name].grad for name in entry.ours if name in parameters]
        if gradients and all(each is not None for each in gradients):
            # The norm of a fused weight is that of its parts together.
            norms[entry.published] = float(sum(each.square().sum() for each in gradients) ** 0.5)
    # One thread or two, on one machine, change the order of sums, and one norm by 1e-4 of itself.
    wrong = {
        key: (norms.get(key), value)
        for key, value in expected["grad_norms"].items()
        if norms.get(key) != pytest.approx(value, rel=5e-4, abs=1e-6)
    }
    assert not wrong
