# SPDX-License-Identifier: Apache-2.0
"""What is lost under typos, mishearing, noise, darkness and the like, against the clean run.

Each expression is asked as a robot asks it. Entry points: :func:`evaluate_robustness`,
:func:`robustness_table`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mllmseg_ros.data.sample import Sample
from mllmseg_ros.eval.dataset import ProtocolScores, evaluate_samples
from mllmseg_ros.eval.perturb import PERTURBATIONS
from mllmseg_ros.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Scores of one perturbation at one strength; the clean run has no name."""

    name: str
    strength: str
    scores: ProtocolScores


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


def robustness_table(rows: Sequence[Robustness]) -> str:
    """Lay them out for a terminal, with what is lost against the clean run in brackets."""
    clean = rows[0].scores
    lines = [f"{'perturbation':<30}{'n':>6}{'cIoU':>16}{'gIoU':>16}{'N-acc':>16}{'T-acc':>16}"]
    for row in rows:
        title = f"{row.name}, {row.strength}" if row.name else "clean"
        cells = "".join(
            f"{_against(getattr(row.scores, name), getattr(clean, name), bool(row.name)):>16}"
            for name in ("c_iou", "g_iou", "n_acc", "t_acc")
        )
        lines.append(f"{title:<30}{row.scores.n:>6}{cells}")
    return "\n".join(lines)


def _against(value: float, clean: float, compare: bool) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f} ({value - clean:+.1f})" if compare else f"{value:.1f}"
