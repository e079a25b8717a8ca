# SPDX-License-Identifier: Apache-2.0
"""Report of an evaluation on a data set: scores, each expression, a table."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.sample import Sample, Target
from mllmseg_ros.eval.instances import InstanceF1
from mllmseg_ros.eval.metrics import MaskComparison
from mllmseg_ros.eval.worst import Case

__all__ = ["DataSetReport", "EvaluatedExpression", "ProtocolScores", "to_json_fields", "to_text"]


@dataclass(frozen=True, kw_only=True)
class EvaluatedExpression:
    """One expression with its result, compared with the truth."""

    sample: Sample
    expression: str
    target: Target
    comparison: MaskComparison
    score: float  # NaN where the model cannot reject, and under the paper's protocol
    mask_score: float  # mean probability over the mask, 0 where it is empty
    point_in_mask: bool  # whether the result's point to grasp at is in the true mask
    point_in_grasp: bool | None  # in an annotated grasp; None: none annotated
    instance_f1: InstanceF1 | None  # None: instances not annotated, or none of the protocol

    @property
    def case(self) -> Case:
        """The same, for drawing."""
        return Case(
            expression=self.expression,
            comparison=self.comparison,
            image=lambda: read_rgb(self.sample),
            target=lambda: self.sample.mask(self.target),
        )

    @property
    def iou(self) -> float:
        """IoU of the masks, [0, 1]; NaN where there is no target."""
        if not self.comparison.target_px:
            return float("nan")
        return self.comparison.intersection_px / max(1, self.comparison.union_px)


@dataclass(frozen=True, kw_only=True)
class ProtocolScores:
    """Percent, NaN where nothing counts."""

    protocol: str  # one of dataset.PROTOCOLS
    task: str  # RES or GRES
    n: int
    n_empty: int  # expressions without a target
    c_iou: float
    g_iou: float
    precision_at_half: float  # boxes, of expressions with a target
    n_acc: float
    t_acc: float
    presence: float  # Matthews correlation of "there / not there"
    ms_per_expression: float  # including its share of encoding the image
    # Points to grasp at in true masks, and in annotated grasps; a rejected expression has no point.
    point_in_mask: float = float("nan")
    point_in_grasp: float = float("nan")
    instance_f1: float = float("nan")  # mean over IoUs of 0.5 to 0.95
    instance_f1_at_half: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class DataSetReport:
    """Scores of a model on a data set."""

    model: str
    n_images: int
    scores: tuple[ProtocolScores, ...]
    by_kind: dict[str, dict[str, ProtocolScores]]  # by protocol and kind of expression
    expressions: dict[str, tuple[EvaluatedExpression, ...]]  # by protocol

    def to_dict(self) -> dict[str, Any]:
        """Scores as plain values for JSON, null for NaN."""
        by_kind = {
            protocol: {kind: to_json_fields(scores) for kind, scores in kinds.items()}
            for protocol, kinds in self.by_kind.items()
        }
        return {
            "model": self.model,
            "n_pictures": self.n_images,
            "scores": [to_json_fields(scores) for scores in self.scores],
            "by_kind": by_kind,
        }


# Columns of what few data sets have annotated.
_OPTIONAL = (
    ("grasp", "point_in_grasp"),
    ("F1", "instance_f1"),
    ("F1@.5", "instance_f1_at_half"),
)


def to_text(report: DataSetReport, *, markdown: bool = False) -> str:
    """Format the scores as a table, for a terminal or as Markdown."""
    optional = [
        (title, name)
        for title, name in _OPTIONAL
        if not all(math.isnan(getattr(scores, name)) for scores in report.scores)
    ]
    header = [
        "protocol",
        "kind",
        "task",
        "n",
        "empty",
        "cIoU",
        "gIoU",
        "box P@.5",
        "point",
        "N-acc",
        "T-acc",
        "MCC",
        *(title for title, _ in optional),
        "ms",
    ]
    groups = [(scores, "all") for scores in report.scores]
    for kinds in report.by_kind.values():
        groups += [(scores, kind) for kind, scores in kinds.items()]
    rows = [
        [
            scores.protocol,
            kind,
            scores.task,
            str(scores.n),
            str(scores.n_empty),
            *map(
                _percent,
                (
                    scores.c_iou,
                    scores.g_iou,
                    scores.precision_at_half,
                    scores.point_in_mask,
                    scores.n_acc,
                    scores.t_acc,
                    scores.presence,
                    *(getattr(scores, name) for _, name in optional),
                ),
            ),
            "-" if math.isnan(scores.ms_per_expression) else f"{scores.ms_per_expression:.0f}",
        ]
        for scores, kind in groups
    ]
    title = f"{report.model} on {report.n_images} images; percent, ms per expression"
    if markdown:
        lines = [title, "", f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
    widths = [max(map(len, column)) + 2 for column in zip(header, *rows, strict=True)]
    lines = [
        "".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    ]
    return "\n".join([title, *lines])


def to_json_fields(scores: ProtocolScores) -> dict[str, Any]:
    """Scores as plain values for JSON, null for NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(scores).items()
    }


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
