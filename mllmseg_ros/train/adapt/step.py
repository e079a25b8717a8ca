# SPDX-License-Identifier: Apache-2.0
"""One step of an adaptation: batch in, losses out. No optimiser, no files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.pixels import to_pixel_values
from mllmseg_ros.train.adapt.batches import AdaptBatch
from mllmseg_ros.train.feature_cache import FeatureCache, StateCache
from mllmseg_ros.train.mask_losses import answer_loss, mask_loss

__all__ = ["adapt_losses", "read_batch"]


@dataclass(frozen=True, kw_only=True)
class BatchRead:
    """A batch as far as the mask decoder: B pictures, N expressions."""

    tokens: Tensor  # (B, G*G, C) vision tokens
    image_states: Tensor  # (B, G*G/4, D)
    states: Tensor  # (N, D)


@dataclass(frozen=True, kw_only=True)
class AdaptLosses:
    """Terms of one step; ``total`` is what is minimised."""

    total: Tensor
    terms: dict[str, float]


def read_batch(
    model: MLLMSeg, batch: AdaptBatch, kept: FeatureCache | StateCache | None, device: torch.device
) -> BatchRead:
    """See the pictures and read the questions, or take from disk what is frozen.

    Args:
        model: the network.
        batch: what is asked.
        kept: of the vision side, or of the language model's states too; None computes all.
        device: of the model.
    """
    squares = batch.squares.to(device)
    if isinstance(kept, StateCache):
        tokens, image_states, states = kept.read(squares, batch.prompts)
        return BatchRead(tokens=tokens, image_states=image_states, states=states)
    seen = kept.encode_vision(squares) if kept else model.encode_vision(to_pixel_values(squares))
    image_states, states = model.read_packed(seen[1], pack(batch.prompts).to(device))
    return BatchRead(tokens=seen[0], image_states=image_states, states=states)


def adapt_losses(
    model: MLLMSeg, batch: AdaptBatch, read: BatchRead, answer_ids: tuple[int, int]
) -> AdaptLosses:
    """Masks of what is there, and the answer [SEG] or [REJ] to everything.

    Args:
        model: the network.
        batch: with the truth.
        read: of the same batch.
        answer_ids: token ids of [SEG] and [REJ].
    """
    device = read.tokens.device
    there = batch.has_target.to(device)
    picture_of = torch.repeat_interleave(
        torch.arange(len(batch.prompts), device=device),
        torch.tensor([len(row) for row in batch.prompts], device=device),
    )
    fused = model.mask_decoder.fuse(read.tokens, read.image_states)
    logits = model.mask_decoder.decode(fused[picture_of[there]], read.states[there])
    answer = answer_loss(model.lm_head(read.states)[:, list(answer_ids)], there)
    total = answer
    terms = {"answer": float(answer.detach())}
    if len(logits):
        dice, focal = mask_loss(logits, batch.target.to(device))
        total = total + dice + focal
        terms |= {"dice": float(dice.detach()), "focal": float(focal.detach())}
    return AdaptLosses(total=total, terms={"loss": float(total.detach()), **terms})
