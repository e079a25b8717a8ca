# SPDX-License-Identifier: Apache-2.0
"""The evaluation from scene to table, with a random model. Skips where off-screen GL is missing."""

from __future__ import annotations

import json

import pytest

from mllmseg_ros.eval.tabletop import TabletopReport, evaluate_tabletop, to_text
from mllmseg_ros.eval.worst import Case, draw_worst, quality
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.fluent_expressions import FLUENT_FORMS


@pytest.fixture(scope="module")
def measured(random_segmenter: Segmenter) -> tuple[TabletopReport, tuple[Case, ...]]:
    try:
        return evaluate_tabletop(random_segmenter, "test", n_expressions=30, seed=4)
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def report(measured: tuple[TabletopReport, tuple[Case, ...]]) -> TabletopReport:
    return measured[0]


def test_every_expression_counts_once(report: TabletopReport) -> None:
    assert report.overall.n == 30
    assert report.n_scenes == 8
    assert sum(scores.n for scores in report.by_form.values()) == 30
    empty = report.by_form["none"]
    assert empty.n == empty.n_empty == report.overall.n_empty
    assert all(s.n_empty == 0 for form, s in report.by_form.items() if form != "none")
    assert 0 <= report.overall.c_iou <= 100
    assert report.held_out.n == 3


def test_it_can_be_repeated(report: TabletopReport, random_segmenter: Segmenter) -> None:
    again, _ = evaluate_tabletop(random_segmenter, "test", n_expressions=30, seed=4)
    assert again.to_dict() == report.to_dict()


def test_the_worst_are_drawn_with_their_targets(
    measured: tuple[TabletopReport, tuple[Case, ...]], random_segmenter: Segmenter
) -> None:
    worst = measured[1]
    values = [quality(case.comparison) for case in worst]
    assert len(worst) == 16
    assert values == sorted(values)
    assert worst[0].target().sum() == worst[0].comparison.target_px
    sheet = draw_worst(random_segmenter, worst[:2])
    assert sheet.shape[1] > 2 * 320


@pytest.mark.parametrize("split", ["varied_test", "workshop"])
def test_other_splits_are_asked_in_their_own_words(random_segmenter: Segmenter, split: str) -> None:
    try:
        report, _ = evaluate_tabletop(random_segmenter, split, n_expressions=40)
    except RuntimeError as error:
        pytest.skip(str(error))
    assert report.overall.n == 40
    assert report.held_out.n == (4 if split == "varied_test" else 0)
    assert bool(set(report.by_form) & set(FLUENT_FORMS)) == (split == "varied_test")


def test_report_as_text_and_json(report: TabletopReport) -> None:
    lines = to_text(report).splitlines()
    assert f"split {report.split}" in lines[0]
    assert lines[2].split()[:3] == ["all", "30", str(report.overall.n_empty)]
    fields = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert fields["overall"]["n"] == 30
    assert fields["by_form"]["none"]["t_acc"] is None


def test_bad_arguments_are_named(random_segmenter: Segmenter) -> None:
    with pytest.raises(ValueError, match="split is 'dev'"):
        evaluate_tabletop(random_segmenter, "dev")
    with pytest.raises(ValueError, match="number of expressions is 0"):
        evaluate_tabletop(random_segmenter, n_expressions=0)
