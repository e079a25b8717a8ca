# SPDX-License-Identifier: Apache-2.0
"""The settings of the embedded model's training; ``recipes/tabletop.yaml`` explains each."""

from __future__ import annotations

from dataclasses import dataclass

from mllmseg_ros.train.recipe import AtLeast0, Count, Positive, Recipe, Share

__all__ = ["TabletopRecipe"]

_DENSE_WARM_UP = 20
_JOINT_WARM_UP = 50


@dataclass(frozen=True, kw_only=True)
class TabletopRecipe(Recipe):
    """One training; written to ``recipe.json``, a resumed run must have the same."""

    scenes: Count
    validation_scenes: Count
    head_steps: AtLeast0
    dense_steps: AtLeast0
    joint_steps: AtLeast0
    easy_steps: AtLeast0
    varied_steps: AtLeast0
    varied_share: Share
    wide_steps: AtLeast0
    wide_share: Share
    dense_images: Count
    joint_images: Count
    expressions: Count
    drawn: Count
    no_target_share: Share
    joint_rate: Positive
    averaged: bool
    keep_vision: Share
    keep_language: Share
    seed: int

    @property
    def steps(self) -> int:
        """Number of steps of all stages."""
        return sum(self._stages.values())

    def stage(self, step: int) -> tuple[str, int]:
        """The stage of a step (heads, dense, joint, varied, wide), and the steps before it."""
        first = 0
        for name, n_steps in self._stages.items():
            if step < first + n_steps:
                return name, first
            first += n_steps
        raise ValueError(f"step is {step}, expected 0 to {first - 1}")

    @property
    def worlds(self) -> tuple[str, ...]:
        """Prefixes of the splits that are needed."""
        if self.wide_steps:
            return ("", "varied_", "wide_")
        return ("", "varied_") if self.varied_steps else ("",)

    def shares(self, step: int) -> tuple[float, ...]:
        """Shares of the worlds' scenes in the images of a step."""
        stage, _ = self.stage(step)
        if stage == "varied":
            return 1 - self.varied_share, self.varied_share
        if stage == "wide" or (stage == "heads" and self.wide_steps):
            rest = 1 - self.wide_share
            return rest / 2, rest / 2, self.wide_share
        return (1.0,)

    def learning_rate_at(self, step: int) -> float:
        """Factor of the base learning rates: a warm-up and a plateau in each stage.

        Over the second half of the last three stages it decays linearly, but not where the weights
        are averaged.
        """
        stage, first = self.stage(step)
        done = step - first
        if stage in ("heads", "dense"):
            return min(1.0, (done + 1) / _DENSE_WARM_UP)
        averaged = self.averaged and stage == "wide"
        decay = 1.0 if averaged else min(1.0, 2 * (1 - done / self._stages[stage]))
        return self.joint_rate * min((done + 1) / _JOINT_WARM_UP, max(decay, 0.02))

    @property
    def _stages(self) -> dict[str, int]:
        return {
            "heads": self.head_steps,
            "dense": self.dense_steps,
            "joint": self.joint_steps,
            "varied": self.varied_steps,
            "wide": self.wide_steps,
        }
