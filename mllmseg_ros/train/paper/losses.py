# SPDX-License-Identifier: Apache-2.0
"""The paper's loss terms as its code computes them, quirks included. Pure functions of tensors.

loss = cross-entropy of the answer + focal + dice. An expression without a target takes part
in the mask terms with an empty prediction and an empty target: it adds 0 and counts in the average.

Source: arXiv 2508.04107; docs/reference.md, section 11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mllmseg_ros.model.transfer import to_device
from mllmseg_ros.train.paper.dialog_ids import IGNORED

__all__ = ["MaskTerms", "mask_terms", "text_loss"]

_FOCAL_ALPHA = 0.25
_FOCAL_GAMMA = 2.0


@dataclass(frozen=True, kw_only=True)
class MaskTerms:
    """Sums over masks; divide by the number of expressions."""

    focal: Tensor
    dice: Tensor
    soft_iou: Tensor  # for the log


def text_loss(hidden: Tensor, labels: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean cross-entropy of the learned tokens, each predicted from the state before it.

    Args:
        hidden: (B, L, D) last hidden states.
        labels: (B, L) int64 on the host, IGNORED where nothing is learned.
        head: states (M, D) to logits (M, V); called for the learned tokens only.
    """
    wanted = labels.numpy()[:, 1:]
    rows, places = np.nonzero(wanted != IGNORED)
    row, place, truth = to_device([rows, places, wanted[rows, places]], hidden.device)
    logits = head(hidden[row, place])
    return functional.cross_entropy(logits.float(), truth)


def mask_terms(probability: Tensor, target: Tensor, *, published_focal: bool = True) -> MaskTerms:
    """Compare masks with their targets, at the size of the targets.

    Args:
        probability: (N, S, S), after the sigmoid; N = 0 gives zeros.
        target: (N, H, W) bool.
        published_focal: the cross-entropy inside the focal loss takes the probability as a logit,
            a second sigmoid, as in the paper's code. False corrects that: small errors cost less
            and large ones more, at another scale.
    """
    truth = target.float().flatten(1)
    drawn = functional.interpolate(
        probability[:, None].float(), size=target.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0].flatten(1)
    if published_focal:
        cross_entropy = functional.binary_cross_entropy_with_logits(drawn, truth, reduction="none")
    else:
        # CUDA's autocast refuses it, because of half precision, which neither input has.
        with torch.autocast(drawn.device.type, enabled=False):
            cross_entropy = functional.binary_cross_entropy(drawn, truth, reduction="none")
    right = drawn * truth + (1 - drawn) * (1 - truth)
    alpha = _FOCAL_ALPHA * truth + (1 - _FOCAL_ALPHA) * (1 - truth)
    focal = (alpha * cross_entropy * (1 - right) ** _FOCAL_GAMMA).mean(1)
    overlap, both = (drawn * truth).sum(1), drawn.sum(1) + truth.sum(1)
    return MaskTerms(
        focal=focal.sum(),
        dice=(1 - (2 * overlap + 1) / (both + 1)).sum(),
        soft_iou=((overlap + 1e-8) / (both - overlap + 1e-8)).sum().detach(),
    )
