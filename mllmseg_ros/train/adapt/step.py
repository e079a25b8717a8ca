# SPDX-License-Identifier: Apache-2.0
"""One step of an adaptation: batch in, losses out. No optimiser, no files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.pixels import to_pixel_values
from mllmseg_ros.model.transfer import to_device
from mllmseg_ros.train.adapt.batches import AdaptBatch
from mllmseg_ros.train.feature_cache import FeatureCache, StateCache
from mllmseg_ros.train.mask_losses import answer_loss, mask_loss

__all__ = ["adapt_losses", "read_batch"]


@dataclass(frozen=True, kw_only=True)
class EncodedBatch:
    """The mask decoder's inputs for a batch: B images, N expressions."""

    tokens: Tensor  # (B, G*G, C) vision tokens
    image_states: Tensor  # (B, G*G/4, D)
    states: Tensor  # (N, D)


@dataclass(frozen=True, kw_only=True)
class AdaptLosses:
    """Terms of one step; ``total`` is what is minimised."""

    total: Tensor
    terms: dict[str, Tensor]  # scalars without gradients


def read_batch(
    model: MLLMSeg, batch: AdaptBatch, cache: FeatureCache | StateCache | None, device: torch.device
) -> EncodedBatch:
    """Encode images and prompts, or read frozen outputs from the cache.

    Args:
        model: the network.
        batch: images and prompts.
        cache: of the vision side, or of the language model's states too; None computes all.
        device: of the model.
    """
    squares = batch.squares.to(device)
    if isinstance(cache, StateCache):
        tokens, image_states, states = cache.read(squares, batch.prompts)
        return EncodedBatch(tokens=tokens, image_states=image_states, states=states)
    encoded = (
        cache.encode_vision(squares) if cache else model.encode_vision(to_pixel_values(squares))
    )
    image_states, states = model.read_packed(encoded[1], pack(batch.prompts).to(device))
    return EncodedBatch(tokens=encoded[0], image_states=image_states, states=states)


def adapt_losses(
    model: MLLMSeg, batch: AdaptBatch, encoded: EncodedBatch, answer_ids: tuple[int, int]
) -> AdaptLosses:
    """Compute the losses of the masks, and of [SEG] or [REJ] for every expression.

    Args:
        model: the network.
        batch: with the true masks.
        encoded: of the same batch.
        answer_ids: token ids of [SEG] and [REJ].
    """
    device = encoded.tokens.device
    present = np.flatnonzero(batch.has_target.numpy())
    image_of = np.repeat(np.arange(len(batch.prompts)), [len(row) for row in batch.prompts])
    images, expressions, has_target, target = to_device(
        [image_of[present], present, batch.has_target.numpy(), batch.target.numpy()], device
    )
    fused = model.mask_decoder.fuse(encoded.tokens, encoded.image_states)
    logits = model.mask_decoder.decode(fused[images], encoded.states[expressions])
    words = model.lm_head(encoded.states)
    answer = answer_loss(torch.stack([words[:, each] for each in answer_ids], dim=1), has_target)
    total = answer
    terms = {"answer": answer.detach()}
    if len(logits):
        dice, focal = mask_loss(logits, target)
        total = total + dice + focal
        terms |= {"dice": dice.detach(), "focal": focal.detach()}
    return AdaptLosses(total=total, terms={"loss": total.detach(), **terms})
