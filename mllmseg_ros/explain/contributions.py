# SPDX-License-Identifier: Apache-2.0
"""Contributions of the three fused views to the mask logits: Shapley values.

The decoder fuses three views of the image (DSFF, arXiv 2508.04107) and is not linear after that. So
each view is removed and added in every combination of the others, and its share is the mean change:
its Shapley value. The shares and the logits without any view sum to the mask logits. A removed view
is replaced by its mean over the image: its information about the whole image stays, that about
positions is lost.
"""

from __future__ import annotations

from itertools import product
from math import factorial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mllmseg_ros.model.mask_decoder import MaskDecoder
from mllmseg_ros.model.transfer import to_device

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

    Source: Shapley 1953, "A value for n-person games"; here n = 3, with all 8 coalitions.
    """
    views = torch.cat(decoder.compute_views(vision_tokens, image_states))  # (3, G*G, C)
    means = views.mean(1, keepdim=True)
    weights, present = to_device([_compute_weights(), np.array(_COALITIONS)], views.device)
    chosen = torch.where(present[:, :, None, None], views, means)  # (8, 3, G*G, C)
    fused = decoder.fuse_views(chosen.unbind(1))
    logits = decoder.decode(fused, expression_state.expand(len(fused), -1)).float()
    return torch.einsum("vk,khw->vhw", weights, logits)


def _compute_weights() -> NDArray[np.float32]:
    """Compute the weight of each coalition's logits in each map, (4, 8)."""
    n = len(VIEWS)
    weights = np.zeros((1 + n, len(_COALITIONS)), np.float32)
    weights[0, 0] = 1.0
    for view, (number, members) in product(range(n), enumerate(_COALITIONS)):
        others = sum(members) - members[view]
        # Share of the orders in which exactly these others precede the view.
        share = factorial(others) * factorial(n - 1 - others) / factorial(n)
        weights[1 + view, number] = share if members[view] else -share
    return weights
