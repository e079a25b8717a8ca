# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on simulated scenes, as it is deployed.

One prompt per expression without any truth; ``found`` is the decision. The metrics are those of
GRES; Prec@0.5 is over expressions with a target. As in GRES, a mask counts whatever the decision.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from mllmseg_ros.eval.metrics import MaskComparison, compare_mask, gres_scores, precision_at_half
from mllmseg_ros.eval.worst import Case, quality
from mllmseg_ros.language.vocabulary import get_vocabulary
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.expressions import FORMS, draw_expressions
from mllmseg_ros.sim.objects import HELD_OUT
from mllmseg_ros.sim.plain_expressions import ReferringExpression
from mllmseg_ros.sim.random_scenes import SPLITS, TEST_SPLITS, random_scene
from mllmseg_ros.sim.view import View

__all__ = ["evaluate_tabletop", "to_text"]

_EXPRESSIONS_PER_SCENE = 4
_HELD_OUT_TRIES = 30  # expressions drawn to find those with a held-out pair
_WIDTH, _HEIGHT = 640, 480
_N_WORST = 16


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Percent over one group of expressions; NaN where there is none to count."""

    n: int
    n_empty: int  # expressions without a target
    c_iou: float
    g_iou: float
    precision_at_half: float
    n_acc: float
    t_acc: float


@dataclass(frozen=True, kw_only=True)
class TabletopReport:
    """Scores of a model on simulated scenes."""

    model: str
    split: str
    seed: int
    n_scenes: int
    overall: Scores
    by_form: dict[str, Scores]  # keys from expressions.FORMS, those that occurred
    held_out: Scores  # of a tenth as many more, with colour-kind pairs that training never has

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, null for NaN."""
        fields: dict[str, Any] = _without_nan(asdict(self))
        return fields


def evaluate_tabletop(
    segmenter: Segmenter, split: str = "test", n_expressions: int = 1000, seed: int = 0
) -> tuple[TabletopReport, tuple[Case, ...]]:
    """Evaluate scenes of a split, from seed 0 on, rendered at 640 x 480.

    Args:
        segmenter: the model.
        split: one of random_scenes.SPLITS.
        n_expressions: number of expressions, four per scene. In the test splits a tenth as many
            more have colour-kind pairs that training never has.
        seed: of the expressions.

    Returns:
        The report, and the worst results.

    Raises:
        ValueError: if the split is unknown or n_expressions is below 1.
        RuntimeError: if off-screen GL is missing.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if n_expressions < 1:
        raise ValueError(f"number of expressions is {n_expressions}, expected 1 or more")
    n_scenes = math.ceil(n_expressions / _EXPRESSIONS_PER_SCENE)
    results: list[tuple[ReferringExpression, MaskComparison]] = []
    worst: list[Case] = []
    with TabletopCamera(_WIDTH, _HEIGHT) as camera:
        for index in tqdm(range(n_scenes), unit="scene", mininterval=2):
            view = _view(camera, index, split)
            n = min(_EXPRESSIONS_PER_SCENE, n_expressions - len(results))
            expressions = _draw_expressions(view, seed, split, index, n)
            comparisons = _evaluate(segmenter, view, expressions)
            new = list(zip(expressions, comparisons, strict=True))
            results += new
            worst += [_case(view, *result) for result in new]
            worst = sorted(worst, key=lambda each: quality(each.comparison))[:_N_WORST]
        held_out = (
            _evaluate_held_out(
                segmenter, camera, split, n_scenes, math.ceil(n_expressions / 10), seed
            )
            if split in TEST_SPLITS
            else []
        )
    by_form = {
        form: [comparison for expression, comparison in results if expression.form == form]
        for form in FORMS
    }
    report = TabletopReport(
        model=segmenter.name,
        split=split,
        seed=seed,
        n_scenes=n_scenes,
        overall=_scores([comparison for _, comparison in results]),
        by_form={form: _scores(group) for form, group in by_form.items() if group},
        held_out=_scores(held_out),
    )
    return report, tuple(worst)


def _case(view: View, expression: ReferringExpression, comparison: MaskComparison) -> Case:
    target = np.isin(view.instances, expression.targets)
    return Case(
        expression=expression.text,
        comparison=comparison,
        image=lambda: view.rgb,
        target=lambda: target,
    )


def _evaluate_held_out(
    segmenter: Segmenter,
    camera: TabletopCamera,
    split: str,
    first_scene: int,
    n: int,
    seed: int,
) -> list[MaskComparison]:
    """Evaluate n expressions with held-out pairs, in the split's scenes after the others."""
    comparisons: list[MaskComparison] = []
    for index in itertools.count(first_scene):
        if len(comparisons) == n:
            break
        things = random_scene(index, split).objects
        if not any((thing.color, thing.kind) in HELD_OUT for thing in things):
            continue
        view = _view(camera, index, split)
        drawn = _draw_expressions(view, seed, split, index, _HELD_OUT_TRIES)
        expressions = [expression for expression in drawn if expression.uses_held_out]
        comparisons += _evaluate(segmenter, view, expressions[: min(2, n - len(comparisons))])
    return comparisons


def _view(camera: TabletopCamera, index: int, split: str) -> View:
    camera.load(random_scene(index, split))
    return camera.render()


def _draw_expressions(
    view: View, seed: int, split: str, index: int, n: int
) -> list[ReferringExpression]:
    return draw_expressions(
        view.objects,
        np.random.default_rng((seed, SPLITS.index(split), index)),
        n,
        allow_held_out=split in TEST_SPLITS,
        language=get_vocabulary(split),
    )


def _evaluate(
    segmenter: Segmenter, view: View, expressions: Sequence[ReferringExpression]
) -> list[MaskComparison]:
    """Segment each expression on its own, in one encoded image."""
    if not expressions:
        return []
    context = segmenter.encode(view.rgb)
    comparisons = []
    for expression in expressions:
        (segmentation,) = segmenter.segment(context, [expression.text])
        target = np.isin(view.instances, expression.targets)
        comparisons.append(
            compare_mask(segmentation.probability, target, rejected=not segmentation.found)
        )
    return comparisons


def to_text(report: TabletopReport) -> str:
    """Format the report as a table."""
    rows = [("all", report.overall), *report.by_form.items(), ("held-out pairs", report.held_out)]
    lines = [
        f"{report.model} on {report.n_scenes} tabletop scenes, split {report.split}, "
        f"expressions of seed {report.seed}; percent",
        f"{'expressions':<16}{'n':>6}{'empty':>7}"
        f"{'cIoU':>8}{'gIoU':>8}{'Prec@0.5':>10}{'N-acc':>8}{'T-acc':>8}",
    ]
    for name, scores in rows:
        percents = (
            f"{_cell(scores.c_iou):>8}{_cell(scores.g_iou):>8}"
            f"{_cell(scores.precision_at_half):>10}{_cell(scores.n_acc):>8}{_cell(scores.t_acc):>8}"
        )
        lines.append(f"{name:<16}{scores.n:>6}{scores.n_empty:>7}{percents}")
    return "\n".join(lines)


def _scores(comparisons: Sequence[MaskComparison]) -> Scores:
    with_target = [comparison for comparison in comparisons if comparison.target_px]
    gres = gres_scores(comparisons)
    return Scores(
        n=len(comparisons),
        n_empty=len(comparisons) - len(with_target),
        c_iou=gres.c_iou,
        g_iou=gres.g_iou,
        precision_at_half=precision_at_half(with_target),
        n_acc=gres.n_acc,
        t_acc=gres.t_acc,
    )


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
