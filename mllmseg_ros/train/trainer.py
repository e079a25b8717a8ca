# SPDX-License-Identifier: Apache-2.0
"""The training loop: gradient steps, learning rate, evaluation, checkpoints, log and resume."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mllmseg_ros.train.optimisers import Optimisers
from mllmseg_ros.train.run_state import RunState
from mllmseg_ros.train.training_log import TrainingLog

__all__ = ["STATE_FILE", "Trainer", "read_terms"]

STATE_FILE = "state.safetensors"
_MAX_GRADIENT_NORM = 1.0


def read_terms(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """Copy scalars from a device to the host, all at once."""
    return dict(
        zip(terms, torch.stack([each.float() for each in terms.values()]).tolist(), strict=True)
    )


class Trainer(ABC):
    """One training. A subclass computes the gradients; it may evaluate and save more.

    Each step must be a function of (seed, step) alone, so that a resumed run repeats an unbroken
    one.

    Attributes:
        log: of the run.
        evaluate_every: steps between evaluations; None for the last step alone.
        save_every: steps between checkpoints; None for none by steps.
        save_every_s: seconds between checkpoints; None for none by time.
    """

    evaluate_every: int | None = None
    save_every: int | None = None
    save_every_s: float | None = None

    def __init__(
        self,
        run: Path,
        steps: int,
        parameters: Sequence[nn.Parameter],
        optimisers: Optimisers,
        state: RunState,
        *,
        is_main: bool = True,
    ) -> None:
        """Set up.

        Args:
            run: the run's folder.
            steps: number of steps in all.
            parameters: whose gradients are clipped.
            optimisers: of these parameters.
            state: what a checkpoint holds; restored before the first step.
            is_main: False in all processes but one, where several train together: only that one
                logs, evaluates and saves.
        """
        self.log = TrainingLog(run, enabled=is_main)
        self._steps = steps
        self._parameters = parameters
        self._optimisers = optimisers
        self._state = state
        self._is_main = is_main

    @abstractmethod
    def compute_gradients(self, step: int) -> dict[str, float]:
        """Run forward and backward pass of one step.

        Returns:
            Terms for the log.
        """

    @abstractmethod
    def learning_rate_at(self, step: int) -> float:
        """The learning rate of one step."""

    def evaluate(self, done: int) -> None:  # noqa: B027 - optional, not abstract
        """Measure the model after ``done`` steps, where a training does so."""

    def save(self, done: int) -> None:
        """Save a checkpoint after ``done`` steps."""
        self._state.save(done)

    def restore(self) -> int:
        """Load the last checkpoint; returns the number of steps done."""
        return self._state.restore()

    def train(self) -> None:
        """Take the steps that are left."""
        first = self.restore()
        saved_s = time.monotonic()
        with (
            self.log.tensorboard(first),
            tqdm(
                range(first, self._steps),
                initial=first,
                total=self._steps,
                desc="training",
                unit="step",
                mininterval=5,
                disable=not self._is_main,
            ) as bar,
        ):
            for step in bar:
                terms = self._step(step)
                self.log.write({"step": step, **terms}, step)
                bar.set_postfix({k: f"{v:.4g}" for k, v in terms.items()}, refresh=False)
                if not self._is_main:
                    continue
                done = step + 1
                if self._is_due(done, self.evaluate_every):
                    self.evaluate(done)
                if self._is_due(done, self.save_every) or self._is_overdue(saved_s):
                    self.save(done)
                    saved_s = time.monotonic()

    def _step(self, step: int) -> dict[str, float]:
        started_s = time.monotonic()
        terms = self.compute_gradients(step)
        torch.nn.utils.clip_grad_norm_(self._parameters, _MAX_GRADIENT_NORM)
        self._optimisers.step(self.learning_rate_at(step))
        return {**terms, "seconds": time.monotonic() - started_s}

    def _is_overdue(self, saved_s: float) -> bool:
        return self.save_every_s is not None and time.monotonic() - saved_s > self.save_every_s

    def _is_due(self, done: int, every: int | None) -> bool:
        """Whether something is due after ``done`` steps; the last step always is."""
        return done == self._steps or (every is not None and done % every == 0)
