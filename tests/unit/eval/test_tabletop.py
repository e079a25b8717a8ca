# SPDX-License-Identifier: Apache-2.0
"""The evaluation from scene to table, with a random model. Skips where off-screen GL is missing."""

from __future__ import annotations

import json

import pytest

from mllmseg_ros.eval.tabletop import TabletopReport, evaluate_tabletop, to_text
from mllmseg_ros.segmenter import Segmenter


@pytest.fixture(scope="module")
def report(random_segmenter: Segmenter) -> TabletopReport:
    try:
        return evaluate_tabletop(random_segmenter, "test", n_expressions=30, seed=4)
    except RuntimeError as error:
        pytest.skip(str(error))


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
    again = evaluate_tabletop(random_segmenter, "test", n_expressions=30, seed=4)
    assert again.to_dict() == report.to_dict()


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
