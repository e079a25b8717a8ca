# SPDX-License-Identifier: Apache-2.0
"""Measures of benchmarks for robots: points, grasps, instances, rows by attribute."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

pytest.importorskip("pycocotools", reason="needs pycocotools (requirements/train.txt)")

from benchmark_sets import (
    GRASP,
    write_ocid_ref,
    write_ocid_vlg,
    write_pbench,
    write_refspatial_parquet,
    write_roborefit,
)
from data_sets import disc_mask, own_entries, square_mask, write_own

from mllmseg_ros.cli import main
from mllmseg_ros.data.dataset import load_samples
from mllmseg_ros.eval import dataset as evaluation
from mllmseg_ros.eval.dataset import evaluate_samples
from mllmseg_ros.eval.dataset_report import DataSetReport, to_text
from mllmseg_ros.eval.instances import compare_instances
from mllmseg_ros.eval.perturb import Perturbation
from mllmseg_ros.masks import encode_run_lengths
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.samples import load_sample

FRAME = load_sample(0)
RED_MUG, OTHER_MUG = 2, 4  # numbers in its image of instances


@pytest.fixture(scope="module")
def vlg(random_segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> DataSetReport:
    samples = load_samples(write_ocid_vlg(tmp_path_factory.mktemp("ocid")), "test")
    return evaluate_samples(random_segmenter, samples)


@pytest.fixture(scope="module")
def embedded() -> Segmenter:
    return Segmenter.from_pretrained(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def mugs(embedded: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> DataSetReport:
    """The packaged frame 0 as RefSpatial-Bench has images: its mug, another thing, nothing."""
    folder = tmp_path_factory.mktemp("mugs") / "Location"
    masks = {"red": FRAME.instances == RED_MUG, "blue": FRAME.instances == OTHER_MUG}
    for name, data in {
        "rgb": FRAME.rgb,
        **{name: each * 255 for name, each in masks.items()},
    }.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(data.astype(np.uint8)).save(path)
    questions = [
        {"object": text, "rgb_path": "rgb.png", "mask_path": f"{mask}.png", "step": step}
        for text, mask, step in (
            ("the red mug", "red", 1),
            ("the red mug", "blue", 2),  # the wrong answer
            ("the banana", "red", 10),  # rejected
        )
    ]
    (folder / "question.json").write_text(json.dumps(questions))
    samples = load_samples(folder.parent, "Location")
    return evaluate_samples(embedded, samples, ["deployment"])


def test_the_point_is_that_of_the_result(embedded: Segmenter, mugs: DataSetReport) -> None:
    """The pixel of the mask farthest from its border: where a robot would grasp."""
    right, wrong, rejected = mugs.expressions["deployment"]
    (answer,) = embedded(FRAME.rgb, ["the red mug"])
    assert answer.inside_uv is not None
    assert FRAME.instances[answer.inside_uv[::-1]] == RED_MUG
    assert [each.point_in_mask for each in (right, wrong, rejected)] == [True, False, False]
    assert rejected.comparison.rejected
    (scores,) = mugs.scores
    assert scores.point_in_mask == pytest.approx(100 / 3)
    assert {label: each.point_in_mask for label, each in mugs.by_kind["deployment"].items()} == {
        "step 1": 100,
        "step 2": 0,
        "step 10": 0,
    }


def test_instances_and_presence_of_the_embedded_model(embedded: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow (requirements/parquet.txt)")
    runs = [encode_run_lengths(FRAME.instances == number) for number in (RED_MUG, OTHER_MUG)]
    rows = [("the red mug", runs[:1]), ("the mugs", runs), ("the banana", [])]
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(FRAME.rgb[..., ::-1]))
    assert encoded
    samples = load_samples(write_pbench(tmp_path, rows, data.tobytes()), "level_0")
    report = evaluate_samples(embedded, samples, ["deployment"])
    (scores,) = report.scores
    assert scores.presence == 100
    assert scores.point_in_mask == 100
    assert scores.instance_f1_at_half == 100  # two instances, each paired with its own mask
    assert 80 < scores.instance_f1 <= 100
    embedded.threshold = 1.1  # nothing is sure enough
    try:
        (doubtful,) = evaluate_samples(embedded, samples, ["deployment"]).scores
    finally:
        embedded.threshold = 0.5
    assert (doubtful.presence, doubtful.point_in_mask, doubtful.instance_f1) == (0, 0, 0)
    assert doubtful.g_iou > 50  # a mask counts even where it was rejected


def test_grasps_are_counted_where_they_are_annotated(vlg: DataSetReport) -> None:
    with_grasps = [each.point_in_grasp is not None for each in vlg.expressions["deployment"]]
    assert with_grasps == [True, False, True]
    assert all(scores.point_in_grasp in (0, 50, 100) for scores in vlg.scores)
    assert "grasp" in to_text(vlg).splitlines()[1].split()


@pytest.mark.parametrize(
    ("point", "inside"), [((18, 20), True), ((10, 12), True), ((27, 20), False), ((0, 0), False)]
)
def test_a_point_in_a_grasp(point: tuple[int, int], inside: bool) -> None:
    grasp = tuple((x, y) for x, y in GRASP)
    far = tuple((x + 100, y) for x, y in GRASP)
    assert evaluation._is_in_one(point, [far, grasp]) is inside


def test_rows_by_attribute(vlg: DataSetReport) -> None:
    rows = vlg.by_kind["deployment"]
    assert list(rows) == ["query mixed", "query name", "query relation"]
    assert [scores.n for scores in rows.values()] == [1, 1, 1]
    fields = json.loads(json.dumps(vlg.to_dict(), allow_nan=False))
    assert fields["by_kind"]["paper"]["query name"]["n"] == 1


def test_attributes_with_one_value_have_no_row(random_segmenter: Segmenter, tmp_path: Path) -> None:
    samples = load_samples(write_ocid_ref(tmp_path), "test")
    report = evaluate_samples(random_segmenter, samples, ["deployment"])
    assert list(report.by_kind["deployment"]) == ["clutter free", "clutter stacked"]


def test_roborefit_by_scene(random_segmenter: Segmenter, tmp_path: Path) -> None:
    samples = load_samples(write_roborefit(tmp_path), "testA")
    report = evaluate_samples(random_segmenter, samples, ["deployment"])
    assert list(report.by_kind["deployment"]) == ["scene shelf", "scene table"]


def test_refspatial_by_split_and_step(random_segmenter: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow (requirements/parquet.txt)")
    samples = load_samples(write_refspatial_parquet(tmp_path), "all")
    report = evaluate_samples(random_segmenter, samples, ["deployment"])
    rows = report.by_kind["deployment"]
    assert {label: scores.n for label, scores in rows.items()} == {
        "split location": 2,
        "split placement": 1,
        "step 1": 1,
        "step 2": 2,
    }
    assert not np.isnan(report.scores[0].point_in_mask)


def test_pbench(random_segmenter: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow (requirements/parquet.txt)")
    samples = load_samples(write_pbench(tmp_path), "all")
    report = evaluate_samples(random_segmenter, samples)
    paper, deployed = report.scores
    assert (deployed.task, deployed.n, deployed.n_empty) == ("GRES", 6, 2)
    assert np.isnan(paper.instance_f1)  # its masks are not split into instances
    assert 0 <= deployed.instance_f1 <= deployed.instance_f1_at_half <= 100
    assert not np.isnan(deployed.presence)
    assert list(report.by_kind["deployment"]) == [
        "none",
        "one",
        "several",
        "split level_0",
        "split level_1",
    ]
    none = report.by_kind["deployment"]["none"]
    assert np.isnan(none.instance_f1)
    assert np.isnan(none.point_in_mask)
    with_instances = [
        each.target.kind
        for each in report.expressions["deployment"]
        if each.instance_f1 is not None
    ]
    assert with_instances == ["several", "one"] * 2


def test_f1_of_instances_by_hand() -> None:
    square, disc = square_mask(), disc_mask()
    true = [encode_run_lengths(square), encode_run_lengths(disc)]
    assert compare_instances([disc, square], true).mean == 1  # in any order
    assert compare_instances([], true).mean == 0
    assert compare_instances([disc], true).at_half == pytest.approx(2 / 3)
    assert compare_instances([disc, square, ~(disc | square)], true).mean == pytest.approx(4 / 5)
    assert compare_instances([square | disc], true).mean == pytest.approx(
        np.mean([2 / 3 if iou <= 400 / 653 else 0 for iou in np.arange(0.5, 0.96, 0.05)])
    )
    half = square.copy()
    half[20:] = False  # an IoU of exactly one half counts
    result = compare_instances([half], [encode_run_lengths(square)])
    assert result.at_half == 1
    assert result.mean == pytest.approx(0.1)


def test_a_cropped_image_has_neither_grasps_nor_instances(
    random_segmenter: Segmenter, tmp_path: Path
) -> None:
    samples = load_samples(write_ocid_vlg(tmp_path), "test")
    crop = Perturbation(name="crop", strength="", margin=0.05)
    report = evaluate_samples(random_segmenter, samples, ["deployment"], crop)
    assert np.isnan(report.scores[0].point_in_grasp)


def test_tables_of_other_data_sets_have_no_such_columns(
    random_segmenter: Segmenter, tmp_path: Path
) -> None:
    samples = load_samples(write_own(tmp_path, own_entries()))
    header = to_text(evaluate_samples(random_segmenter, samples)).splitlines()[1].split()
    assert "point" in header
    assert not {"grasp", "F1", "F1@.5"} & set(header)


def test_too_many_values_group_nothing(
    vlg: DataSetReport, random_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [vlg.expressions["paper"][0].sample]
    monkeypatch.setattr(evaluation, "_MAX_VALUES", 2)
    assert evaluate_samples(random_segmenter, samples, ["paper"]).by_kind["paper"] == {}


def test_the_command(
    random_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_roborefit(tmp_path / "robots")
    json_file = tmp_path / "report.json"
    arguments = ["eval", str(folder), "--split", "testA", "--protocol", "deployment"]
    model = ["--model", str(random_checkpoint), "--device", "cpu", "--dtype", "float32"]
    assert main([*arguments, *model, "--json", str(json_file), "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert "| scene shelf |" in printed
    (scores,) = json.loads(json_file.read_text())["scores"]
    assert scores["n"] == 2
    assert scores["point_in_mask"] is not None
    assert scores["point_in_grasp"] is None


def test_without_pyarrow_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "test.parquet").write_bytes(b"PAR1")
    assert main(["data", "check", str(tmp_path)]) == 1
    assert "needs pyarrow: pip install '.[parquet]'" in capsys.readouterr().err
