# SPDX-License-Identifier: Apache-2.0
"""The settings of a training as in the paper; ``recipes/res.yaml`` explains each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mllmseg_ros.train.recipe import (
    AtLeast0,
    Count,
    Fraction,
    NonNegative,
    Positive,
    Precision,
    Recipe,
)

__all__ = ["PaperRecipe"]


@dataclass(frozen=True, kw_only=True)
class PaperRecipe(Recipe):
    """One training; the published values are those of ``recipes/res.yaml``."""

    FORMER_NAMES: ClassVar[Mapping[str, str]] = {"pictures": "images"}

    steps: Count
    images: Count
    accumulation: Count
    learning_rate: Positive
    weight_decay: NonNegative
    warm_up: Fraction
    lora_rank: AtLeast0
    lora_dropout: Fraction
    vision_lora: bool
    answer_rows: bool
    published_focal: bool
    learn_padding: bool
    recompress: bool
    gradient_checkpointing: bool
    precision: Precision
    save_every: Count
    seed: int

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then a cosine decay to 0, as in transformers."""
        warm = math.ceil(self.warm_up * self.steps)
        if step < warm:
            return self.learning_rate * step / max(1, warm)
        done = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
