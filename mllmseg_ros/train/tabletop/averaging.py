# SPDX-License-Identifier: Apache-2.0
"""Averages of weights: over the steps of a training, and with those that it started from.

A short training from a checkpoint gains on what is new and loses on what was known. The average of
its weights is better than the last ones, and a mixture with the start's keeps more of both.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["add_to_mean", "keep_start"]

_LATE = 3.0  # 0 for a plain mean; at 3, half of the weight is on the last sixth of the steps
# The part that a tensor of MLLMSeg belongs to, by the start of its name.
_VISION = ("vision_tower.", "mask_decoder.")


@torch.no_grad()
def add_to_mean(mean: Mapping[str, Tensor], weights: Mapping[str, Tensor], step: int) -> None:
    """Add the weights after a step to their mean, in which later steps count more.

    Source: Shamir and Zhang, polynomial-decay averaging (arXiv 1212.1824). It needs no number of
    steps in advance, so that the mean is good whenever a run ends.

    Args:
        mean: changed in place; after step 0 it equals the weights.
        weights: of the same names.
        step: from 0.
    """
    share = (1 + _LATE) / (step + 1 + _LATE)
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            tensor.lerp_(weights[name], share)


def keep_start(
    new: Mapping[str, Tensor], start: Mapping[str, Tensor], vision: float, language: float
) -> dict[str, Tensor]:
    """Mix trained weights with those of the start.

    Source: Wortsman et al., WiSE-FT (arXiv 2109.01903).

    Args:
        new: the trained network's.
        start: of the same names.
        vision: share of the start in vision tower and mask decoder, 0 to 1.
        language: share of the start in all the rest: projector, language model, answer rows.
    """
    return {
        name: (
            torch.lerp(tensor, start[name], vision if name.startswith(_VISION) else language)
            if tensor.is_floating_point()  # a counter is not
            else tensor
        )
        for name, tensor in new.items()
    }
