# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on simulated scenes, as it is deployed.

One prompt per expression without any truth; ``found`` is the decision. The metrics are those of
GRES; Prec@0.5, of boxes, is over expressions with a target. As in GRES, a mask counts regardless of
the decision.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.eval.calibration import reliability
from mllmseg_ros.eval.metrics import MaskComparison, compare_mask, gres_scores, precision_at_half
from mllmseg_ros.eval.worst import Case, quality
from mllmseg_ros.language.vocabulary import get_vocabulary
from mllmseg_ros.segmentation import Status
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.expressions import FORMS, draw_expressions
from mllmseg_ros.sim.objects import HELD_OUT
from mllmseg_ros.sim.plain_expressions import ReferringExpression
from mllmseg_ros.sim.random_scenes import SPLITS, TEST_SPLITS, random_scene
from mllmseg_ros.sim.unseen.scenes import UNSEEN_FORMS, n_unseen_scenes, unseen_scene
from mllmseg_ros.sim.view import View

__all__ = ["EVALUATED_SPLITS", "evaluate_tabletop", "to_text"]

UNSEEN = "unseen"
EVALUATED_SPLITS = (*SPLITS, UNSEEN)

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
    presence: float  # Matthews correlation of "there / not there"
    calibration: float  # mean |score - share of expressions with a target|, see calibration.py


@dataclass(frozen=True, kw_only=True)
class TabletopReport:
    """Scores of a model on simulated scenes."""

    model: str
    split: str
    seed: int
    n_scenes: int
    overall: Scores
    by_form: dict[str, Scores]  # keys from expressions.FORMS or UNSEEN_FORMS, that occurred
    held_out: Scores  # of a tenth as many more, with colour-kind pairs that training never has

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, null for NaN."""
        fields: dict[str, Any] = _without_nan(asdict(self))
        return fields


@dataclass(frozen=True, kw_only=True)
class _Result:
    """One expression with the model's result, compared with the truth."""

    expression: ReferringExpression
    comparison: MaskComparison
    score: float


def evaluate_tabletop(
    segmenter: Segmenter, split: str = "test", n_expressions: int = 1000, seed: int = 0
) -> tuple[TabletopReport, tuple[Case, ...]]:
    """Evaluate scenes of a split, from seed 0 on, rendered at 640 x 480.

    Args:
        segmenter: the model.
        split: one of EVALUATED_SPLITS. ``unseen`` is of another renderer, with sentences written
            by hand; see :mod:`mllmseg_ros.sim.unseen.scenes`.
        n_expressions: number of expressions, four per scene; in ``unseen`` at most as many as
            there are. In the test splits a tenth as many more have colour-kind pairs that training
            never has.
        seed: of the expressions.

    Returns:
        The report, and the worst results.

    Raises:
        ValueError: if the split is unknown or n_expressions is below 1.
        RuntimeError: if off-screen GL is missing.
    """
    if split not in EVALUATED_SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(EVALUATED_SPLITS)}")
    if n_expressions < 1:
        raise ValueError(f"number of expressions is {n_expressions}, expected 1 or more")
    results: list[_Result] = []
    held_out: list[_Result] = []
    worst: list[Case] = []
    n_scenes = 0

    def add(
        rgb: NDArray[np.uint8], instances: NDArray[np.uint8], drawn: Sequence[ReferringExpression]
    ) -> None:
        nonlocal worst, n_scenes
        n_scenes += 1
        new = _evaluate(segmenter, rgb, instances, drawn)
        results.extend(new)
        worst += [_case(rgb, instances, each) for each in new]
        worst = sorted(worst, key=lambda each: quality(each.comparison))[:_N_WORST]

    if split == UNSEEN:
        for index in tqdm(range(n_unseen_scenes()), desc="evaluating", unit="scene", mininterval=2):
            if len(results) < n_expressions:
                scene = unseen_scene(index)
                left = n_expressions - len(results)
                add(scene.rgb, scene.instances, scene.sentences[:left])
    else:
        with TabletopCamera(_WIDTH, _HEIGHT) as camera:
            n = math.ceil(n_expressions / _EXPRESSIONS_PER_SCENE)
            for index in tqdm(range(n), desc="evaluating", unit="scene", mininterval=2):
                view = _view(camera, index, split)
                left = min(_EXPRESSIONS_PER_SCENE, n_expressions - len(results))
                drawn = _draw_expressions(view, seed, split, index, left)
                add(view.rgb, view.instances, drawn)
            if split in TEST_SPLITS:
                held_out = _evaluate_held_out(
                    segmenter, camera, split, n, math.ceil(n_expressions / 10), seed
                )
    by_form = {
        form: [each for each in results if each.expression.form == form]
        for form in (*FORMS, *UNSEEN_FORMS)
    }
    report = TabletopReport(
        model=segmenter.name,
        split=split,
        seed=seed,
        n_scenes=n_scenes,
        overall=_scores(results),
        by_form={form: _scores(group) for form, group in by_form.items() if group},
        held_out=_scores(held_out),
    )
    return report, tuple(worst)


def _case(rgb: NDArray[np.uint8], instances: NDArray[np.uint8], result: _Result) -> Case:
    target = np.isin(instances, result.expression.targets)
    return Case(
        expression=result.expression.text,
        comparison=result.comparison,
        image=lambda: rgb,
        target=lambda: target,
    )


def _evaluate_held_out(
    segmenter: Segmenter,
    camera: TabletopCamera,
    split: str,
    first_scene: int,
    n: int,
    seed: int,
) -> list[_Result]:
    """Evaluate n expressions with held-out pairs, in the split's scenes after the others."""
    results: list[_Result] = []
    for index in itertools.count(first_scene):
        if len(results) == n:
            break
        things = random_scene(index, split).objects
        if not any((thing.color, thing.kind) in HELD_OUT for thing in things):
            continue
        view = _view(camera, index, split)
        drawn = _draw_expressions(view, seed, split, index, _HELD_OUT_TRIES)
        expressions = [expression for expression in drawn if expression.uses_held_out]
        expressions = expressions[: min(2, n - len(results))]
        results += _evaluate(segmenter, view.rgb, view.instances, expressions)
    return results


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
    segmenter: Segmenter,
    rgb: NDArray[np.uint8],
    instances: NDArray[np.uint8],
    expressions: Sequence[ReferringExpression],
) -> list[_Result]:
    """Segment each expression on its own, in one encoded image."""
    if not expressions:
        return []
    context = segmenter.encode(rgb)
    results = []
    for expression in expressions:
        (segmentation,) = segmenter.segment(context, [expression.text])
        target = np.isin(instances, expression.targets)
        rejected = segmentation.status is Status.NO_TARGET
        comparison = compare_mask(segmentation.probability, target, rejected=rejected)
        results.append(
            _Result(expression=expression, comparison=comparison, score=segmentation.score)
        )
    return results


def to_text(report: TabletopReport) -> str:
    """Format the report as a table."""
    rows = [("all", report.overall), *report.by_form.items(), ("held-out pairs", report.held_out)]
    lines = [
        f"{report.model} on {report.n_scenes} tabletop scenes, split {report.split}, "
        f"expressions of seed {report.seed}; percent",
        f"{'expressions':<16}{'n':>6}{'empty':>7}"
        f"{'cIoU':>8}{'gIoU':>8}{'box P@.5':>10}{'N-acc':>8}{'T-acc':>8}{'MCC':>8}"
        f"{'calibration':>13}",
    ]
    for name, scores in rows:
        percents = (
            f"{_cell(scores.c_iou):>8}{_cell(scores.g_iou):>8}"
            f"{_cell(scores.precision_at_half):>10}{_cell(scores.n_acc):>8}{_cell(scores.t_acc):>8}"
            f"{_cell(scores.presence):>8}{_cell(scores.calibration):>13}"
        )
        lines.append(f"{name:<16}{scores.n:>6}{scores.n_empty:>7}{percents}")
    return "\n".join(lines)


def _scores(results: Sequence[_Result]) -> Scores:
    comparisons = [each.comparison for each in results]
    with_target = [comparison for comparison in comparisons if comparison.target_px]
    gres = gres_scores(comparisons)
    score = np.nan_to_num(np.array([each.score for each in results]), nan=1.0)
    curve = reliability(score, [comparison.target_px > 0 for comparison in comparisons])
    return Scores(
        n=len(comparisons),
        n_empty=len(comparisons) - len(with_target),
        c_iou=gres.c_iou,
        g_iou=gres.g_iou,
        precision_at_half=precision_at_half(with_target),
        n_acc=gres.n_acc,
        t_acc=gres.t_acc,
        presence=gres.presence,
        calibration=100 * curve.expected_error,
    )


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
