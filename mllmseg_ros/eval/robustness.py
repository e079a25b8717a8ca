# SPDX-License-Identifier: Apache-2.0
"""What is lost under typos, mishearing, noise, darkness and the like, against the clean run.

Each expression is asked as a robot asks it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mllmseg_ros.data.sample import Sample
from mllmseg_ros.eval.dataset import ProtocolScores, evaluate_samples, plain
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
        return {"name": self.name, "strength": self.strength, **plain(self.scores)}


def evaluate_robustness(
    segmenter: Segmenter, samples: Sequence[Sample], seed: int = 0
) -> list[Robustness]:
    """Ask everything clean first, then once per perturbation and strength."""
    (clean,) = evaluate_samples(segmenter, samples, ["deployment"]).scores
    rows = [Robustness(name="", strength="", scores=clean)]
    for each in PERTURBATIONS:
        (scores,) = evaluate_samples(segmenter, samples, ["deployment"], each, seed).scores
        rows.append(Robustness(name=each.name, strength=each.strength, scores=scores))
    return rows


def robustness_table(rows: Sequence[Robustness], *, markdown: bool = False) -> str:
    """Lay them out as a table, with what is lost against the clean run in brackets."""
    clean = rows[0].scores
    table = [["perturbation", "n", "cIoU", "gIoU", "N-acc", "T-acc"]]
    for row in rows:
        title = f"{row.name}, {row.strength}" if row.name else "clean"
        cells = [
            _against(getattr(row.scores, name), getattr(clean, name), bool(row.name))
            for name in ("c_iou", "g_iou", "n_acc", "t_acc")
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
