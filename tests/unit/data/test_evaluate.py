# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a data set: what is asked, how it is scored, what is printed and drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="needs pycocotools (requirements/train.txt)")

from data_sets import write_grefcoco, write_own, write_reason_seg, write_refcoco

from mllmseg_ros.cli import main
from mllmseg_ros.data.dataset import load_samples
from mllmseg_ros.eval.calibration import draw_reliability, reliability, threshold_for
from mllmseg_ros.eval.dataset import evaluate_samples
from mllmseg_ros.eval.dataset_report import DataSetReport, to_text
from mllmseg_ros.eval.metrics import gres_scores, res_scores
from mllmseg_ros.eval.perturb import PERTURBATIONS, Perturbation
from mllmseg_ros.eval.robustness import evaluate_robustness, robustness_table
from mllmseg_ros.segmenter import Segmenter


@pytest.fixture(scope="module")
def gres(random_segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> DataSetReport:
    folder = write_grefcoco(tmp_path_factory.mktemp("data") / "grefcoco")
    return evaluate_samples(random_segmenter, load_samples(folder))


def test_several_or_nothing_is_scored_as_gres(gres: DataSetReport) -> None:
    assert [each.protocol for each in gres.scores] == ["paper", "deployment"]
    for scores in gres.scores:
        assert (scores.task, scores.n, scores.n_empty) == ("GRES", 3, 1)
        assert scores.n_acc in (0, 100)
        assert scores.ms_per_expression > 0
        again = gres_scores([each.comparison for each in gres.expressions[scores.protocol]])
        assert (again.c_iou, again.g_iou) == (scores.c_iou, scores.g_iou)
    paper, deployed = (gres.expressions[name] for name in ("paper", "deployment"))
    assert [each.expression for each in paper] == ["both things", "the pizza", "disc"]
    assert all(np.isnan(each.score) for each in paper)
    assert all(0 <= each.score <= 1 for each in deployed)
    assert np.isnan(deployed[1].iou)


def test_one_target_each_is_scored_as_res(random_segmenter: Segmenter, tmp_path: Path) -> None:
    samples = load_samples(write_refcoco(tmp_path), "train")
    report = evaluate_samples(random_segmenter, samples)
    for scores in report.scores:
        assert (scores.task, scores.n, scores.n_empty) == ("RES", 3, 0)
        assert np.isnan(scores.n_acc)
        again = res_scores([[each.comparison for each in report.expressions[scores.protocol]]])
        assert again.g_iou == scores.g_iou
    assert not any(each.comparison.rejected for each in report.expressions["paper"])


def test_ignored_pixels_count_neither_way(random_segmenter: Segmenter, tmp_path: Path) -> None:
    samples = load_samples(write_reason_seg(tmp_path), "train")
    (asked,) = evaluate_samples(random_segmenter, samples, ["deployment"]).expressions["deployment"]
    assert asked.comparison.target_px == 21 * 21 - 7 * 7
    (answer,) = random_segmenter(cv2.imread(str(samples[0].image))[..., ::-1], [asked.expression])
    ignored = np.zeros_like(answer.mask)
    ignored[10:17, 8:15] = True
    assert asked.comparison.predicted_px == int((answer.mask & ~ignored).sum())


def test_tables(gres: DataSetReport) -> None:
    lines = to_text(gres).splitlines()
    assert "2 images" in lines[0]
    assert lines[1].split()[:5] == ["protocol", "kind", "task", "n", "empty"]
    assert lines[2].split()[:5] == ["paper", "all", "GRES", "3", "1"]
    assert [line.split()[:5] for line in lines[-3:]] == [
        ["deployment", "none", "GRES", "1", "1"],
        ["deployment", "one", "GRES", "1", "0"],
        ["deployment", "several", "GRES", "1", "0"],
    ]
    markdown = to_text(gres, markdown=True).splitlines()
    assert markdown[3].count("|") == markdown[2].count("|") == markdown[4].count("|")
    fields = json.loads(json.dumps(gres.to_dict(), allow_nan=False))
    assert [row["protocol"] for row in fields["scores"]] == ["paper", "deployment"]
    assert fields["by_kind"]["deployment"]["none"]["n_acc"] in (0, 100)
    assert fields["by_kind"]["deployment"]["one"]["n_acc"] is None


def test_a_protocol_must_be_known(random_segmenter: Segmenter) -> None:
    with pytest.raises(ValueError, match="protocol is 'papers', expected paper or deployment"):
        evaluate_samples(random_segmenter, [], ["papers"])


def test_the_command(
    random_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_own(tmp_path / "own")
    files = {name: tmp_path / name for name in ("worst.png", "curves.png", "report.json")}
    arguments = ["eval", str(folder), "--model", str(random_checkpoint), "--device", "cpu"]
    drawn = ["--worst", str(files["worst.png"]), "--reliability", str(files["curves.png"])]
    more = ["--false-accept", "0.5", "--json", str(files["report.json"]), "--dtype", "float32"]
    assert main([*arguments, *drawn, *more]) == 0
    printed = capsys.readouterr().out
    assert "deployment" in printed
    assert "threshold: " in printed
    assert cv2.imread(str(files["worst.png"])).shape[1] > 4 * 320
    assert cv2.imread(str(files["curves.png"])) is not None
    assert json.loads(files["report.json"].read_text())["n_pictures"] == 2
    assert main([*arguments, "--protocol", "paper", "--false-accept", "0.5"]) == 1
    assert "need the deployment protocol" in capsys.readouterr().err


def test_reliability_by_hand() -> None:
    curve = reliability([0.05, 0.95, 0.95, 1.0], [False, True, True, False])
    assert [each.n for each in curve.bins] == [1, *[0] * 8, 3]
    assert curve.bins[-1].right == pytest.approx(2 / 3)
    assert curve.expected_error == pytest.approx((0.05 + 3 * abs(2.9 / 3 - 2 / 3)) / 4)
    assert np.isnan(reliability([], []).expected_error)
    assert draw_reliability({"score": curve, "mask score": curve}).ndim == 3


@pytest.mark.parametrize(
    ("rate", "accepted"), [(0.0, 0), (0.1, 1), (0.19, 1), (0.2, 2), (0.95, 9), (1.0, 10)]
)
def test_the_threshold_keeps_the_rate(rate: float, accepted: int) -> None:
    scores = np.linspace(0.05, 0.95, 10)
    threshold = threshold_for(rate, scores.tolist())
    assert int((scores >= threshold).sum()) == accepted
    with pytest.raises(ValueError, match="expected 0 to 1"):
        threshold_for(1.5, [0.1])
    with pytest.raises(ValueError, match="cannot be measured"):
        threshold_for(0.1, [])


def test_perturbations_are_compared_with_the_clean_run(
    random_segmenter: Segmenter, tmp_path: Path
) -> None:
    samples = load_samples(write_grefcoco(tmp_path))
    rows = evaluate_robustness(random_segmenter, samples)
    assert len(rows) == 1 + len(PERTURBATIONS)
    assert all(row.scores.n == 3 for row in rows)
    lines = robustness_table(rows).splitlines()
    assert lines[1].startswith("clean")
    assert len(lines) == 1 + len(rows)
    assert re.search(r"\d+\.\d \([+-]\d+\.\d\)", lines[-1])
    assert "(" not in lines[1]  # the clean run is compared with nothing
    assert robustness_table(rows, markdown=True).splitlines()[1] == "|" + "---|" * 7


def test_a_target_outside_the_crop_is_left_out(random_segmenter: Segmenter, tmp_path: Path) -> None:
    samples = load_samples(write_refcoco(tmp_path), "train")
    half = Perturbation(name="crop", strength="", margin=0.45)
    report = evaluate_samples(random_segmenter, samples, ["deployment"], half)
    assert report.scores[0].n < 3
    little = Perturbation(name="crop", strength="", margin=0.05)
    (asked, *_) = evaluate_samples(random_segmenter, samples, ["deployment"], little).expressions[
        "deployment"
    ]
    assert asked.comparison.target_px == pytest.approx(20 * 20, rel=0.1)
