# SPDX-License-Identifier: Apache-2.0
"""The paper's training step: dialogs and images in, loss terms out. No optimiser, no files.

Source: docs/reference.md, section 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.transfer import to_device
from mllmseg_ros.train.paper.dialog_ids import PaddedDialogs
from mllmseg_ros.train.paper.losses import mask_terms, text_loss

__all__ = ["paper_losses"]


@dataclass(frozen=True, kw_only=True)
class PaperLosses:
    """Terms of one batch; ``total`` is what is minimised."""

    total: Tensor
    text: Tensor
    focal: Tensor
    dice: Tensor
    soft_iou: Tensor  # for the log


def paper_losses(
    model: MLLMSeg,
    encoded: tuple[Tensor, Tensor],
    dialogs: PaddedDialogs,
    targets: Sequence[Tensor],
    *,
    published_focal: bool = True,
) -> PaperLosses:
    """Compute the losses of one batch.

    Args:
        model: the network, in training or evaluation mode.
        encoded: ``model.encode_vision`` of the B images.
        dialogs: of the B images.
        targets: per image, bool (N, H, W) at its own size, one mask per expression.
        published_focal: see :func:`~mllmseg_ros.train.paper.losses.mask_terms`.
    """
    tokens, image_embeds = encoded
    hidden = model.language_model(
        inputs_embeds=model.embed(dialogs.input_ids, image_embeds, dialogs.image_start),
        attention_mask=dialogs.attention_mask,
        position_ids=dialogs.position_ids,
        use_cache=False,
    ).last_hidden_state
    text = text_loss(hidden, dialogs.labels, model.lm_head)
    image_states = model.select_image_states(hidden, dialogs.image_start)
    fused = model.mask_decoder.fuse(tokens, image_states)
    # Quirk of the reference: states are read one position early.
    rows = [b for b, each in enumerate(dialogs.dialogs) for there in each.has_target if there]
    places = [
        position - 1
        for each in dialogs.dialogs
        for position, there in zip(each.answer_positions, each.has_target, strict=True)
        if there
    ]
    # With a dtype, because an empty list would make a float tensor.
    row, place, *there = to_device(
        [
            np.array(rows, np.int64),
            np.array(places, np.int64),
            *(np.flatnonzero(each.has_target) for each in dialogs.dialogs),
        ],
        hidden.device,
    )
    probability = model.mask_decoder.decode(fused[row], hidden[row, place]).sigmoid()
    focal = dice = soft_iou = hidden.new_zeros((), dtype=torch.float32)
    first = 0
    for each, target, present in zip(dialogs.dialogs, targets, there, strict=True):
        # Without a target, prediction and target are empty: it adds 0 and counts in n below.
        predicted = probability[first : first + len(present)]
        first += len(present)
        if len(present):
            terms = mask_terms(predicted, target[present], published_focal=published_focal)
            focal, dice = focal + terms.focal, dice + terms.dice
            soft_iou = soft_iou + terms.soft_iou
        soft_iou = soft_iou + (len(each.has_target) - len(present))
    n = sum(len(each.has_target) for each in dialogs.dialogs)
    return PaperLosses(
        total=text + (focal + dice) / n,
        text=text,
        focal=focal / n,
        dice=dice / n,
        soft_iou=soft_iou / n,
    )
