# SPDX-License-Identifier: Apache-2.0
"""The settings of an adaptation; ``recipes/adapt.yaml`` explains each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AdaptRecipe"]

TRAINED = ("auto", "all", "lora", "decoder")


@dataclass(frozen=True, kw_only=True)
class AdaptRecipe:
    """One adaptation; written to ``recipe.json``, a resumed run must have the same."""

    steps: int
    pictures: int
    expressions: int
    rehearsal_share: float
    held_out_share: float
    max_forgetting: float
    trained: str
    lora_rank: int
    learning_rate: float
    weight_decay: float
    warm_up: float
    flip: bool
    precision: str
    evaluate_every: int
    seed: int

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: naming the field, its value and what is accepted.
        """
        for name in ("steps", "pictures", "expressions", "lora_rank", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"recipe: {name} is {getattr(self, name)}, accepted: 1 or more")
        for name in ("rehearsal_share", "held_out_share", "warm_up"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"recipe: {name} is {getattr(self, name)}, accepted: 0 to below 1")
        if not self.held_out_share:
            raise ValueError("recipe: held_out_share is 0, nothing would be left to measure with")
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.max_forgetting < 0:
            raise ValueError(
                "recipe: learning_rate must be above 0, weight_decay and max_forgetting not "
                "negative"
            )
        for name, accepted in (("trained", TRAINED), ("precision", ("bf16", "fp32"))):
            if getattr(self, name) not in accepted:
                raise ValueError(
                    f"recipe: {name} is {getattr(self, name)!r}, accepted: {', '.join(accepted)}"
                )

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then linearly down to a fiftieth."""
        done = step / self.steps
        rising = (step + 1) / max(1.0, self.warm_up * self.steps)
        return self.learning_rate * min(1.0, rising, max(0.02, 1 - done))
