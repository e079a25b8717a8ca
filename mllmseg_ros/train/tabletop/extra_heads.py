# SPDX-License-Identifier: Apache-2.0
"""Auxiliary heads for training. Each gives a part of the network a simple task to learn first.

- :class:`DenseHead`: colour, kind, size and place of the object in every cell, from the vision
  tokens by one linear layer.
- :class:`PointerHead`: which patches an expression refers to, from the product of its state and
  the vision tokens.
- :class:`SketchHead`: the mask at a quarter of a patch, so that most expressions need no full-size
  mask, which took three quarters of a step's time.

None of them is saved with the model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mllmseg_ros.language.household import HOUSEHOLD_COLORS, HOUSEHOLD_KINDS
from mllmseg_ros.language.vocabulary import SIZES
from mllmseg_ros.train.tabletop.batches import CELLS, PLACE, Batch

_CLASSES = (1 + len(HOUSEHOLD_COLORS), 1 + len(HOUSEHOLD_KINDS), 1 + len(SIZES))
_PLACE_WEIGHT = 4.0


def _cells(maps: Tensor, grid: int) -> Tensor:
    """Tokens (B, G*G, K * CELLS**2) to maps (B, K, 4G, 4G) float32."""
    return functional.pixel_shuffle(maps.transpose(1, 2).unflatten(2, (grid, grid)).float(), CELLS)


class DenseHead(nn.Module):
    """Colour, kind, size and place of each cell."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self._grid = grid
        self.read = nn.Linear(width, CELLS**2 * (sum(_CLASSES) + PLACE))

    def forward(self, tokens: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of vision tokens (B, G*G, C), and the accuracies on objects."""
        maps = _cells(self.read(tokens), self._grid)
        color, kind, size, place = maps.split((*_CLASSES, PLACE), dim=1)
        share = (batch.kind > 0).float()  # of a cell in the mean over objects
        share = share / share.sum().clamp(min=1)
        off = ((place - batch.place).abs().mean(dim=1) * share).sum()
        loss = _PLACE_WEIGHT * off
        terms = {"off": off.detach()}
        for name, logits in (("color", color), ("kind", kind), ("size", size)):
            truth = getattr(batch, name)
            each = functional.cross_entropy(logits, truth, reduction="none")
            # Most cells are background, so the mean over objects is added.
            loss = loss + each.mean() + (each * share).sum()
            with torch.no_grad():
                right = logits.argmax(1) == truth
                terms[f"{name}_acc"] = (right * share).sum()
        return loss, {"dense": loss.detach(), **terms}


class PointerHead(nn.Module):
    """Which vision tokens belong to an expression's target."""

    def __init__(self, width: int, llm_width: int) -> None:
        super().__init__()
        self.ask = nn.Linear(llm_width, width)
        self.answer = nn.Linear(width, width)

    def forward(self, states: Tensor, tokens: Tensor, rows: Tensor, cell_target: Tensor) -> Tensor:
        """Cross-entropy against the target's share of each patch.

        Args:
            states: (M, D) of expressions that have a target.
            tokens: (B, G*G, C) vision tokens.
            rows: (M,) image of each expression.
            cell_target: (M, 4G, 4G) bool.
        """
        keys = self.answer(tokens)
        logits = torch.einsum("mc,mlc->ml", self.ask(states), keys[rows]) / keys.shape[-1] ** 0.5
        share = functional.avg_pool2d(cell_target.float()[:, None], CELLS).flatten(1)
        return functional.cross_entropy(
            logits.float(), share / share.sum(1, keepdim=True).clamp(min=1e-6)
        )


class SketchHead(nn.Module):
    """Mask logits of each cell, from tokens after cross-attention to an expression."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self._grid = grid
        self.read = nn.Linear(width, CELLS**2)
        nn.init.constant_(self.read.bias, -2.0)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (M, G*G, C) to logits (M, 4G, 4G)."""
        return _cells(self.read(tokens), self._grid)[:, 0]
