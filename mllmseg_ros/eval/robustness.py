# SPDX-License-Identifier: Apache-2.0
"""Robustness: scores under typos, mishearing, noise, darkness and the like, against clean input.

With the deployment protocol.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mllmseg_ros.data.sample import Sample
from mllmseg_ros.eval.dataset import evaluate_samples
from mllmseg_ros.eval.dataset_report import ProtocolScores, to_json_fields
from mllmseg_ros.eval.perturb import PERTURBATIONS
from mllmseg_ros.segmenter import Segmenter

__all__ = ["evaluate_robustness", "robustness_table"]


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Scores of one perturbation at one strength; the clean run has no name."""

    name: str
    strength: str
    scores: ProtocolScores

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, null for NaN."""
        return {"name": self.name, "strength": self.strength, **to_json_fields(self.scores)}


def evaluate_robustness(
    segmenter: Segmenter, samples: Sequence[Sample], seed: int = 0
) -> list[Robustness]:
    """Evaluate clean input first, then each perturbation at each strength."""
    (clean,) = evaluate_samples(segmenter, samples, ["deployment"]).scores
    rows = [Robustness(name="", strength="", scores=clean)]
    for each in PERTURBATIONS:
        (scores,) = evaluate_samples(segmenter, samples, ["deployment"], each, seed).scores
        rows.append(Robustness(name=each.name, strength=each.strength, scores=scores))
    return rows


def robustness_table(rows: Sequence[Robustness], *, markdown: bool = False) -> str:
    """Format the scores as a table, with the difference to the clean run in brackets."""
    clean = rows[0].scores
    table = [["perturbation", "n", "cIoU", "gIoU", "N-acc", "T-acc", "MCC"]]
    for row in rows:
        title = f"{row.name}, {row.strength}" if row.name else "clean"
        cells = [
            _against(getattr(row.scores, name), getattr(clean, name), bool(row.name))
            for name in ("c_iou", "g_iou", "n_acc", "t_acc", "presence")
        ]
        table.append([title, str(row.scores.n), *cells])
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in table]
        return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])
    return "\n".join(
        f"{title:<30}{n:>6}" + "".join(f"{cell:>16}" for cell in cells)
        for title, n, *cells in table
    )


def _against(value: float, clean: float, compare: bool) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f} ({value - clean:+.1f})" if compare else f"{value:.1f}"
