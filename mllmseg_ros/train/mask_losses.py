# SPDX-License-Identifier: Apache-2.0
"""Loss terms of training on single prompts. Pure functions of tensors."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["answer_loss", "mask_loss"]

_FOCAL_WEIGHT = 20.0  # a target covers a few percent of the image: its mean focal term is tiny
_FOCAL_ALPHA = 0.75  # weight of foreground pixels
_FOCAL_GAMMA = 2.0


def mask_loss(mask_logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Dice and focal loss of expressions that have a target.

    Args:
        mask_logits: (N, S, S), before the sigmoid.
        target: (N, S, S) bool.

    Returns:
        Mean dice loss and weighted mean focal loss, two scalars.
    """
    logits, truth = mask_logits.float().flatten(1), target.float().flatten(1)
    probability = logits.sigmoid()
    overlap = 2 * (probability * truth).sum(1) + 1
    dice = 1 - overlap / (probability.sum(1) + truth.sum(1) + 1)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    miss = 1 - (probability * truth + (1 - probability) * (1 - truth))
    alpha = _FOCAL_ALPHA * truth + (1 - _FOCAL_ALPHA) * (1 - truth)
    focal = (alpha * miss**_FOCAL_GAMMA * cross_entropy).mean()
    return dice.mean(), _FOCAL_WEIGHT * focal


def answer_loss(answer_logits: Tensor, has_target: Tensor) -> Tensor:
    """Cross-entropy of [SEG] against [REJ].

    Args:
        answer_logits: (N, 2), [SEG] first.
        has_target: (N,) bool.
    """
    return functional.cross_entropy(answer_logits.float(), (~has_target).long())
