# SPDX-License-Identifier: Apache-2.0
"""The settings of an adaptation; ``recipes/adapt.yaml`` explains each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from mllmseg_ros.train.recipe import (
    Count,
    Fraction,
    NonNegative,
    OpenFraction,
    Positive,
    Precision,
    Recipe,
    one_of,
)

__all__ = ["AdaptRecipe"]


@dataclass(frozen=True, kw_only=True)
class AdaptRecipe(Recipe):
    """One adaptation; written to ``recipe.json``, a resumed run must have the same."""

    FORMER_NAMES: ClassVar[Mapping[str, str]] = {
        "forget_at_most": "max_forgetting",
        "pictures": "images",
    }

    steps: Count
    images: Count
    expressions: Count
    rehearsal_share: Fraction
    held_out_share: OpenFraction
    max_forgetting: NonNegative
    trained: Annotated[str, one_of("auto", "all", "lora", "decoder")]
    lora_rank: Count
    learning_rate: Positive
    weight_decay: NonNegative
    warm_up: Fraction
    flip: bool
    precision: Precision
    evaluate_every: Count
    seed: int

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then linear decay to a fiftieth."""
        done = step / self.steps
        rising = (step + 1) / max(1.0, self.warm_up * self.steps)
        return self.learning_rate * min(1.0, rising, max(0.02, 1 - done))
