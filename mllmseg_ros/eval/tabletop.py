# SPDX-License-Identifier: Apache-2.0
"""Measure a model on simulated scenes, the way a robot would ask it.

Each expression is asked on its own, nothing true stands in the prompt, and ``found`` decides. The
measures are GRES's; Prec@0.5 is over expressions with a target. A mask counts whatever the decision
was, as there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from mllmseg_ros.eval.metrics import Judged, gres_scores, judge, precision_at_half
from mllmseg_ros.eval.worst import Case, goodness
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
    """Percent over one group of expressions; NaN where none of it counts."""

    n: int
    n_empty: int  # of them, how many name nothing
    c_iou: float
    g_iou: float
    precision_at_half: float
    n_acc: float
    t_acc: float


@dataclass(frozen=True, kw_only=True)
class TabletopReport:
    """What was asked and how well it was answered."""

    model: str
    split: str
    seed: int
    n_scenes: int
    overall: Scores
    by_form: dict[str, Scores]  # keys from expressions.FORMS, those that occurred
    held_out: Scores  # a tenth as many more, of pairs of words that training never put together

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, null for NaN."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


def evaluate_tabletop(
    segmenter: Segmenter, split: str = "test", n_expressions: int = 1000, seed: int = 0
) -> tuple[TabletopReport, tuple[Case, ...]]:
    """Ask about the scenes of a split, from its seed 0 on, rendered here at 640 x 480.

    Args:
        segmenter: the model.
        split: one of random_scenes.SPLITS.
        n_expressions: how many to ask, four a scene. In the test split a tenth as many more are
            asked about colours and kinds that training never put together.
        seed: of the expressions.

    Returns:
        The report, and the worst answered expressions.

    Raises:
        ValueError: if the split is unknown or there is nothing to ask.
        RuntimeError: if off-screen GL is missing.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if n_expressions < 1:
        raise ValueError(f"number of expressions is {n_expressions}, expected 1 or more")
    n_scenes = math.ceil(n_expressions / _EXPRESSIONS_PER_SCENE)
    answers: list[tuple[ReferringExpression, Judged]] = []
    worst: list[Case] = []
    with TabletopCamera(_WIDTH, _HEIGHT) as camera:
        for index in tqdm(range(n_scenes), unit="scene", mininterval=2):
            view = _view(camera, index, split)
            n = min(_EXPRESSIONS_PER_SCENE, n_expressions - len(answers))
            said = _drawn(view, seed, split, index, n)
            judged = _asked(segmenter, view, said)
            answers += zip(said, judged, strict=True)
            worst += [_case(view, *each) for each in zip(said, judged, strict=True)]
            worst = sorted(worst, key=lambda each: goodness(each.judged))[:_N_WORST]
        held_out = (
            _ask_of_held_out(
                segmenter, camera, split, n_scenes, math.ceil(n_expressions / 10), seed
            )
            if split in TEST_SPLITS
            else []
        )
    by_form = {
        form: [judged for expression, judged in answers if expression.form == form]
        for form in FORMS
    }
    report = TabletopReport(
        model=segmenter.name,
        split=split,
        seed=seed,
        n_scenes=n_scenes,
        overall=_scores([judged for _, judged in answers]),
        by_form={form: _scores(group) for form, group in by_form.items() if group},
        held_out=_scores(held_out),
    )
    return report, tuple(worst)


def _case(view: View, said: ReferringExpression, judged: Judged) -> Case:
    meant = np.isin(view.instances, said.targets)
    return Case(expression=said.text, judged=judged, image=lambda: view.rgb, meant=lambda: meant)


def _ask_of_held_out(
    segmenter: Segmenter,
    camera: TabletopCamera,
    split: str,
    first_scene: int,
    n: int,
    seed: int,
) -> list[Judged]:
    """Ask n expressions with held-out pairs, of the split's scenes after the others."""
    answers: list[Judged] = []
    for index in itertools.count(first_scene):
        if len(answers) == n:
            break
        things = random_scene(index, split).objects
        if not any((thing.color, thing.kind) in HELD_OUT for thing in things):
            continue
        view = _view(camera, index, split)
        drawn = _drawn(view, seed, split, index, _HELD_OUT_TRIES)
        said = [expression for expression in drawn if expression.uses_held_out]
        answers += _asked(segmenter, view, said[: min(2, n - len(answers))])
    return answers


def _view(camera: TabletopCamera, index: int, split: str) -> View:
    camera.load(random_scene(index, split))
    return camera.render()


def _drawn(view: View, seed: int, split: str, index: int, n: int) -> list[ReferringExpression]:
    return draw_expressions(
        view.objects,
        np.random.default_rng((seed, SPLITS.index(split), index)),
        n,
        allow_held_out=split in TEST_SPLITS,
        language=get_vocabulary(split),
    )


def _asked(
    segmenter: Segmenter, view: View, expressions: Sequence[ReferringExpression]
) -> list[Judged]:
    """Ask each expression on its own, of one encoded image."""
    if not expressions:
        return []
    context = segmenter.encode(view.rgb)
    judged = []
    for expression in expressions:
        (answer,) = segmenter.segment(context, [expression.text])
        target = np.isin(view.instances, expression.targets)
        judged.append(judge(answer.probability, target, rejected=not answer.found))
    return judged


def to_text(report: TabletopReport) -> str:
    """Lay the report out as a table."""
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


def _scores(answers: Sequence[Judged]) -> Scores:
    there = [judged for judged in answers if judged.target_px]
    gres = gres_scores(answers)
    return Scores(
        n=len(answers),
        n_empty=len(answers) - len(there),
        c_iou=gres.c_iou,
        g_iou=gres.g_iou,
        precision_at_half=precision_at_half(there),
        n_acc=gres.n_acc,
        t_acc=gres.t_acc,
    )


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
