# SPDX-License-Identifier: Apache-2.0
"""The Muon optimiser, for weight matrices.

``torch.optim.Muon`` (torch 2.9 and newer) computes in bfloat16 alone. CPUs without it emulate it:
there, a step of the embedded model took 40 s instead of 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mllmseg_ros.model.precision import has_native_bfloat16

__all__ = ["Muon"]

_NEWTON_SCHULZ = (3.4445, -4.775, 2.0315)  # steepest at zero; singular values end at 0.7 to 1.2
_N_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal: all its singular values become about 1.

    Source: Jordan et al., Muon (2024), with the published coefficients and scale.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ) -> None:
        """Create the optimiser.

        Args:
            matrices: of two dimensions each.
            lr: learning rate.
            momentum: share of the earlier gradients in their mean.
            weight_decay: decoupled, per learning rate.
        """
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step; parameters without a gradient stay."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                mean = state.setdefault("momentum_buffer", torch.zeros_like(matrix))
                mean.lerp_(matrix.grad, 1 - group["momentum"])
                update = orthogonalise(matrix.grad.lerp(mean, group["momentum"]))
                rows, columns = matrix.shape
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * math.sqrt(max(1, rows / columns)))


def orthogonalise(matrix: Tensor) -> Tensor:
    """Set the singular values of a matrix (A, B) to about 1, by Newton-Schulz iterations."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    if has_native_bfloat16(matrix.device):
        x = x.bfloat16()
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_N_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if is_tall else x).to(matrix.dtype)
