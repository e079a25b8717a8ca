# SPDX-License-Identifier: Apache-2.0
"""The settings of a training as in the paper; ``recipes/res.yaml`` explains each."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["PaperRecipe"]


@dataclass(frozen=True, kw_only=True)
class PaperRecipe:
    """One training; the published values are those of ``recipes/res.yaml``."""

    steps: int
    pictures: int
    accumulation: int
    learning_rate: float
    weight_decay: float
    warm_up: float
    lora_rank: int
    lora_dropout: float
    vision_lora: bool
    answer_rows: bool
    published_focal: bool
    learn_padding: bool
    recompress: bool
    gradient_checkpointing: bool
    precision: str
    save_every: int
    seed: int

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: naming the field, its value and what is accepted.
        """
        for name in ("steps", "pictures", "accumulation", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"recipe: {name} is {getattr(self, name)}, accepted: 1 or more")
        for name in ("lora_dropout", "warm_up"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"recipe: {name} is {getattr(self, name)}, accepted: 0 to below 1")
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.lora_rank < 0:
            raise ValueError(
                "recipe: learning_rate must be above 0, weight_decay and lora_rank not negative"
            )
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"recipe: precision is {self.precision!r}, accepted: bf16, fp32")

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to 0, as transformers schedules it."""
        warm = math.ceil(self.warm_up * self.steps)
        if step < warm:
            return self.learning_rate * step / max(1, warm)
        done = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
