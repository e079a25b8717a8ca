# SPDX-License-Identifier: Apache-2.0
"""The settings of the embedded model's training; ``recipes/tabletop.yaml`` explains each."""

from __future__ import annotations

from dataclasses import dataclass

from mllmseg_ros.train.recipe import AtLeast0, Count, Recipe, Share

__all__ = ["TabletopRecipe"]

_JOINT_FACTOR = 0.6  # of the base learning rates
_DENSE_WARM_UP = 20
_JOINT_WARM_UP = 50


@dataclass(frozen=True, kw_only=True)
class TabletopRecipe(Recipe):
    """One training; written to ``recipe.json``, a resumed run must have the same."""

    scenes: Count
    validation_scenes: Count
    dense_steps: AtLeast0
    joint_steps: AtLeast0
    easy_steps: AtLeast0
    varied_steps: AtLeast0
    varied_share: Share
    dense_images: Count
    joint_images: Count
    expressions: Count
    drawn: Count
    no_target_share: Share
    seed: int

    @property
    def steps(self) -> int:
        """Number of steps of all stages."""
        return self.dense_steps + self.joint_steps + self.varied_steps

    def shares(self, step: int) -> tuple[float, ...]:
        """Shares of plain and varied scenes in the images of a step."""
        if step < self.dense_steps + self.joint_steps:
            return (1.0,)
        return 1 - self.varied_share, self.varied_share

    def learning_rate_at(self, step: int) -> float:
        """Factor of the base learning rates: a warm-up and a plateau in each stage.

        Over the second half of the two last stages it decays linearly.
        """
        if step < self.dense_steps:
            return min(1.0, (step + 1) / _DENSE_WARM_UP)
        done, stage_steps = step - self.dense_steps, self.joint_steps
        if done >= stage_steps:
            done, stage_steps = done - stage_steps, self.varied_steps
        decay = min(1.0, 2 * (1 - done / stage_steps))
        return _JOINT_FACTOR * min((done + 1) / _JOINT_WARM_UP, max(decay, 0.02))
