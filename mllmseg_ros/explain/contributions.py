# SPDX-License-Identifier: Apache-2.0
"""Which of the three fused features put how much into the mask: an exact sum.

The decoder fuses three views of the image (DSFF, arXiv 2508.04107) and is far from linear behind
that. So each view is taken away and put back in every combination of the others, and its share is
the mean of what it changes: its Shapley value. The shares and what is left without any view sum to
the mask logits. A view that is taken away is replaced by its own mean over the image: what it says
of the picture as a whole stays, what it says of one place goes.
"""

from __future__ import annotations

from itertools import product
from math import factorial

import torch
from torch import Tensor

from mllmseg_ros.model.mask_decoder import MaskDecoder

__all__ = ["compute_contributions"]

VIEWS = ("enriched", "vision", "upsampled")  # in the order of MaskDecoder.compute_views
_COALITIONS = list(product((False, True), repeat=len(VIEWS)))  # the first one is empty


def compute_contributions(
    decoder: MaskDecoder, vision_tokens: Tensor, image_states: Tensor, expression_state: Tensor
) -> Tensor:
    """Split the mask logits of one expression on one image.

    Args:
        decoder: in evaluation mode.
        vision_tokens: (1, G*G, C).
        image_states: (1, G*G/4, D).
        expression_state: (D,).

    Returns:
        (4, G*P, G*P) float32: the mask logits without any view, then the share of each of
        :data:`VIEWS`. All four sum to the mask logits.

    Source: Shapley 1953, "A value for n-person games"; here n = 3, and all 8 coalitions are asked.
    """
    views = torch.cat(decoder.compute_views(vision_tokens, image_states))  # (3, G*G, C)
    means = views.mean(1, keepdim=True)
    present = torch.tensor(_COALITIONS, device=views.device)[:, :, None, None]
    chosen = torch.where(present, views, means)  # (8, 3, G*G, C)
    fused = decoder.fuse_views(chosen.unbind(1))
    logits = decoder.decode(fused, expression_state.expand(len(fused), -1)).float()
    return torch.einsum("vk,khw->vhw", _weights().to(logits.device), logits)


def _weights() -> Tensor:
    """What the logits of each coalition count for in each map, (4, 8)."""
    n = len(VIEWS)
    weights = torch.zeros(1 + n, len(_COALITIONS))
    weights[0, 0] = 1.0
    for view, (number, members) in product(range(n), enumerate(_COALITIONS)):
        others = sum(members) - members[view]
        # Share of the orders of joining in which exactly these others came before it.
        share = factorial(others) * factorial(n - 1 - others) / factorial(n)
        weights[1 + view, number] = share if members[view] else -share
    return weights
