# SPDX-License-Identifier: Apache-2.0
"""Measure a model in training, and choose the best of its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mllmseg_ros.checkpoints.hub import checkpoint_name
from mllmseg_ros.checkpoints.loading import load_model
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.eval.dataset import evaluate_samples
from mllmseg_ros.eval.dataset_report import ProtocolScores, to_json_fields
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.train.adapt.rehearsal import RehearsalSet
from mllmseg_ros.train.lora import merged_state
from mllmseg_ros.train.training_log import TrainingLog

__all__ = ["BestCheckpoint", "Evaluator", "Scores"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores on held-out images, and on what the model knew before (None: not measured)."""

    new: ProtocolScores
    known: ProtocolScores | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, null for NaN."""
        return {
            "new": to_json_fields(self.new),
            "known": to_json_fields(self.known) if self.known else None,
        }

    @classmethod
    def from_json(cls, fields: Any, path: Path) -> Scores:
        """Restore what :meth:`to_json` gave.

        Raises:
            ValueError: if the fields are others; with the path that they are of.
        """
        try:
            known = fields["known"]
            return cls(
                new=_restore(fields["new"]), known=_restore(known) if known is not None else None
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: not the scores of a run ({error!r})") from error


def _restore(fields: dict[str, Any]) -> ProtocolScores:
    values: dict[str, Any] = {
        name: float("nan") if value is None else value for name, value in fields.items()
    }
    return ProtocolScores(**values)


class Evaluator:
    """Measures a model as it is deployed: merged, in the number format of inference."""

    def __init__(
        self,
        start: Path,
        device: torch.device,
        dtype: torch.dtype,
        held_out: Sequence[Sample],
        rehearsal: RehearsalSet | None,
        *,
        can_reject: bool,
    ) -> None:
        self.model = load_model(start, device, dtype, checkpoint_name(start))
        self.segmenter = Segmenter(self.model, Tokenizer.from_folder(start))
        if can_reject:
            self.segmenter.can_reject = True
        self.held_out, self._rehearsal = held_out, rehearsal

    def evaluate(self, model: MLLMSeg | None = None) -> Scores:
        """Score a model in training; None for the weights that are in :attr:`model`."""
        if model is not None:
            self.model.load_state_dict(merged_state(model))
        return Scores(
            new=self._score(self.held_out),
            known=self._score(self._rehearsal.val) if self._rehearsal else None,
        )

    def _score(self, samples: Sequence[Sample]) -> ProtocolScores:
        return evaluate_samples(self.segmenter, samples, ("deployment",)).scores[0]


class BestCheckpoint:
    """The best checkpoint so far, by its scores.

    Attributes:
        before: scores of the start checkpoint.
        fields: of the best checkpoint, as ``best.json`` holds them; empty at first.
    """

    def __init__(self, before: Scores, max_forgetting: float, log: TrainingLog) -> None:
        self.before = before
        self.fields: dict[str, Any] = {}
        self._max_forgetting = max_forgetting
        self._log = log

    def record_evaluation(self, done: int, scores: Scores) -> bool:
        """Log a checkpoint's scores; return whether it is the best so far."""
        selection_score = self.selection_score(scores)
        fields = {
            "step": done,
            "new": scores.new.g_iou,
            "known": scores.known.g_iou if scores.known else None,
            "worth": selection_score,
        }
        self._log.write({"looked": fields}, done - 1)
        gain = self._gain_on_known(scores)
        tqdm.write(
            f"step {done}: gIoU {scores.new.g_iou:.1f} on held-out images (before "
            f"{self.before.new.g_iou:.1f})"
            + (f", {gain:+.1f} on what the model knew" if scores.known else "")
        )
        if self.fields and selection_score <= self.fields["worth"]:
            return False
        self.fields = fields
        return True

    def selection_score(self, scores: Scores) -> list[float]:
        """The key by which checkpoints are compared: larger is better.

        Those that forget more than is allowed rank below all others, by how much they forget.
        """
        excess = max(0.0, -self._gain_on_known(scores) - self._max_forgetting)
        return [-excess, scores.new.g_iou]

    def _gain_on_known(self, scores: Scores) -> float:
        before = self.before.known
        return scores.known.g_iou - before.g_iou if scores.known and before else 0.0
