# SPDX-License-Identifier: Apache-2.0
"""The settings of the embedded model's training; ``recipes/tabletop.yaml`` explains each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TabletopRecipe"]

_JOINT_FACTOR = 0.6  # of the base learning rates
_DENSE_WARM_UP = 20
_JOINT_WARM_UP = 50


@dataclass(frozen=True, kw_only=True)
class TabletopRecipe:
    """One training run; written to ``recipe.json``, a resumed run must have the same."""

    scenes: int
    validation_scenes: int
    dense_steps: int
    joint_steps: int
    easy_steps: int
    varied_steps: int
    varied_share: float
    dense_images: int
    joint_images: int
    expressions: int
    drawn: int
    no_target_share: float
    seed: int

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: naming the field, its value and what is accepted.
        """
        for name in (
            "scenes",
            "validation_scenes",
            "dense_images",
            "joint_images",
            "expressions",
            "drawn",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"recipe: {name} is {getattr(self, name)}, accepted: 1 or more")
        for name in ("dense_steps", "joint_steps", "easy_steps", "varied_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"recipe: {name} is {getattr(self, name)}, accepted: 0 or more")
        for name in ("varied_share", "no_target_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"recipe: {name} is {getattr(self, name)}, accepted: 0 to 1")

    @property
    def steps(self) -> int:
        """Of all stages."""
        return self.dense_steps + self.joint_steps + self.varied_steps

    def shares(self, step: int) -> tuple[float, ...]:
        """Shares of plain and varied scenes in the pictures of a step."""
        if step < self.dense_steps + self.joint_steps:
            return (1.0,)
        return 1 - self.varied_share, self.varied_share

    def factor(self, step: int) -> float:
        """Learning-rate factor: per stage a warm-up and a plateau.

        Over the second half of the two last ones it falls linearly.
        """
        if step < self.dense_steps:
            return min(1.0, (step + 1) / _DENSE_WARM_UP)
        done, of = step - self.dense_steps, self.joint_steps
        if done >= of:
            done, of = done - of, self.varied_steps
        decay = min(1.0, 2 * (1 - done / of))
        return _JOINT_FACTOR * min((done + 1) / _JOINT_WARM_UP, max(decay, 0.02))
