# SPDX-License-Identifier: Apache-2.0
"""Public benchmarks are read as they are distributed, and what is wrong in one is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="needs pycocotools (requirements/train.txt)")

from benchmark_sets import (
    DEPTH_MM,
    GRASP,
    NAME,
    SCENE,
    png,
    ref_entries,
    vlg_entries,
    write_ocid_ref,
    write_ocid_vlg,
    write_refspatial,
    write_roborefit,
)
from data_sets import HEIGHT, WIDTH, disc_mask, square_mask

from mllmseg_ros.data.check import check
from mllmseg_ros.data.dataset import load_samples, read_samples
from mllmseg_ros.data.image_file import read_depth
from mllmseg_ros.data.sample import Sample, Target


def masks_of(sample: Sample) -> list[np.ndarray]:
    return [sample.mask(target) for target in sample.targets]


def problems(folder: Path, split: str) -> list[str]:
    return [str(each) for each in check(read_samples(folder, split)).problems]


def attributes(targets: tuple[Target, ...], name: str) -> list[str]:
    return [dict(target.attributes)[name] for target in targets]


def test_ocid_vlg(tmp_path: Path) -> None:
    (sample,) = load_samples(write_ocid_vlg(tmp_path), "test")
    assert [target.expressions[0] for target in sample.targets] == [
        "Pick the square",
        "Grasp the disc right of the square",
        "Grasp the red thing left of the disc",
    ]
    for mask, truth in zip(
        masks_of(sample), [square_mask(), disc_mask(), square_mask()], strict=True
    ):
        np.testing.assert_array_equal(mask, truth)
    assert sample.targets[0].box_xywh == (8, 10, 20, 20)
    assert sample.targets[0].grasps == (tuple(map(tuple, GRASP)),)
    assert sample.targets[1].grasps == ()
    # By its template, and a relation by its program.
    assert attributes(sample.targets, "query") == ["name", "relation", "mixed"]
    depth = read_depth(sample)
    assert depth is not None
    assert depth[5, 5] == pytest.approx(DEPTH_MM / 1000)
    assert np.isnan(depth[0, 0])


def test_a_version_of_ocid_vlg_is_a_folder(tmp_path: Path) -> None:
    write_ocid_vlg(tmp_path)
    (tmp_path / "refer" / "multiple").rename(tmp_path / "refer" / "novel-classes")
    with pytest.raises(ValueError, match="no data set in a known format"):
        read_samples(tmp_path, "test")
    (sample,) = load_samples(tmp_path / "refer" / "novel-classes", "test")
    assert len(sample.targets) == 3
    with pytest.raises(ValueError, match="unknown split 'val'; it has test"):
        load_samples(tmp_path / "refer" / "novel-classes", "val")


def test_ocid_without_depth(tmp_path: Path) -> None:
    write_ocid_vlg(tmp_path)
    (tmp_path / SCENE / "depth" / NAME).unlink()  # a copy of its colour images alone
    (sample,) = load_samples(tmp_path, "test")
    assert sample.depth is None
    assert read_depth(sample) is None
    assert not problems(tmp_path, "test")


def test_depth_of_another_size_is_named(tmp_path: Path) -> None:
    write_ocid_vlg(tmp_path)
    cv2.imwrite(str(tmp_path / SCENE / "depth" / NAME), np.zeros((8, 8), np.uint16))
    (problem,) = problems(tmp_path, "test")
    assert f"is 8 x 8 px, its image {WIDTH} x {HEIGHT}" in problem
    assert len(load_samples(tmp_path, "test")) == 1  # colour is still there


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answer": 5}, "has no pixel of object 5"),
        ({"answer": 0}, "its 'answer' is '0', expected the number of an object"),
        ({"answer": "many"}, "expected the number of an object"),
        ({"box": [1, 2, 3]}, "its box is not a list x, y, width, height"),
        ({"question": "  "}, "empty referring expression"),
        ({"question": None}, "its 'question' is NoneType, expected text"),
        ({"image_filename": "seq01"}, "not a sequence and a name"),
        ({"image_filename": f"{SCENE},gone.png"}, "gone.png is missing"),
        ({"image_filename": "../../..,x.png"}, "lies outside the folder"),
        ({"grasps": [[[0, 0], [1, 1]]]}, "does not have four corners"),
        ({"grasps": 3}, "are not a list of up to 1000 rectangles"),
    ],
)
def test_a_fault_of_ocid_vlg_is_that_entry_s(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    entries = vlg_entries()
    entries[1].update(change)
    folder = write_ocid_vlg(tmp_path, entries)
    found = problems(folder, "test")
    assert reason in found[0]
    assert "entry 1" in found[0] or "image " in found[0]
    (sample,) = load_samples(folder, "test")
    assert len(sample.targets) == 2


def test_ocid_ref_has_corners_as_text(tmp_path: Path) -> None:
    (sample,) = load_samples(write_ocid_ref(tmp_path), "test")
    assert [target.box_xywh for target in sample.targets] == [(8, 10, 20, 20), (39, 15, 19, 19)]
    square, disc = masks_of(sample)
    np.testing.assert_array_equal(square, square_mask())
    np.testing.assert_array_equal(disc, disc_mask())
    assert attributes(sample.targets, "clutter") == ["free", "stacked"]
    assert attributes(sample.targets, "subset") == ["ARID20", "ARID20"]
    assert sample.depth is not None


def test_ocid_lies_elsewhere(tmp_path: Path) -> None:
    write_ocid_ref(tmp_path / "annotations")
    (tmp_path / "annotations" / "OCID-dataset").rename(tmp_path / "OCID")
    (sample,) = load_samples(tmp_path / "annotations", "test", [tmp_path / "OCID"])
    assert len(sample.targets) == 2


@pytest.mark.parametrize(
    ("take", "clutter"),
    [(0, "free"), (9, "free"), (10, "touching"), (16, "touching"), (17, "stacked")],
)
def test_the_number_of_an_image_says_how_cluttered_it_is(
    tmp_path: Path, take: int, clutter: str
) -> None:
    entries = ref_entries()
    entries["83152"]["take_id"] = take
    (sample,) = load_samples(write_ocid_ref(tmp_path, entries), "test")
    assert attributes(sample.targets[:1], "clutter") == [clutter]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": "[39, 15, 19, 19]"}, "is not x0, y0, x1, y1"),
        ({"bbox": "__import__('os')"}, "not valid JSON"),
        ({"scene_path": f"{SCENE}/images/{NAME}"}, "does not lie in a folder 'rgb'"),
        ({"scene_path": "../../rgb/x.png"}, "lies outside the folder"),
        ({"scene_instance_id": None}, "expected the number of an object"),
    ],
)
def test_a_fault_of_ocid_ref_is_that_entry_s(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    entries = ref_entries()
    entries["83153"].update(change)
    (problem,) = problems(write_ocid_ref(tmp_path, entries), "test")
    assert reason in problem
    assert "sentence 83153" in problem


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_expressions.json").write_text("[]")
    with pytest.raises(ValueError, match="as of OCID-VLG, or of entries by"):
        load_samples(tmp_path, "test")


@pytest.mark.parametrize("place", ["", "final_dataset"])
def test_roborefit(tmp_path: Path, place: str) -> None:
    (sample,) = load_samples(write_roborefit(tmp_path) / place, "testA")
    assert [target.expressions for target in sample.targets] == [
        ("pick up the square",),
        ("pick up the disc",),
    ]
    square, disc = masks_of(sample)
    np.testing.assert_array_equal(square, square_mask())
    np.testing.assert_array_equal(disc, disc_mask())
    assert sample.targets[0].box_xywh == (8, 10, 20, 20)
    assert attributes(sample.targets, "scene") == ["shelf", "table"]
    depth = read_depth(sample)
    assert depth is not None
    assert float(depth[0, 0]) == pytest.approx(0.85)
    with pytest.raises(ValueError, match="unknown split 'train'; it has testA"):
        load_samples(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask_path": "final_dataset/../../../secret.png"}, "lies outside the folder"),
        ({"mask_path": "final_dataset/testA/mask/gone.png"}, "gone.png is missing"),
        ({"bbox": [28, 10, 8, 30]}, "is not x0, y0, x1, y1"),
        ({"text": 3}, "its 'text' is int, expected text"),
        ({"rgb_path": "final_dataset/testA/image/9.png"}, "9.png is missing"),
    ],
)
def test_faults_of_roborefit(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    found = problems(write_roborefit(tmp_path, **change), "testA")
    assert found
    assert all(reason in each for each in found)


def test_refspatial_as_raw_files(tmp_path: Path) -> None:
    (sample,) = load_samples(write_refspatial(tmp_path), "Location")
    (target,) = sample.targets
    assert target.expressions == ("the square",)  # without "Please point out"
    np.testing.assert_array_equal(sample.mask(target), square_mask())
    assert target.attributes == (("step", "1"),)
    with pytest.raises(ValueError, match="unknown split 'Unseen'; it has Location"):
        load_samples(tmp_path, "Unseen")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda fields: fields.update(mask_path="../../x.png"), "lies outside the folder"),
        (lambda fields: fields.pop("object"), "does not have the expected form"),
        (lambda fields: fields.update(object=[]), "its 'object' is list, expected text"),
    ],
)
def test_faults_of_refspatial(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    path = write_refspatial(tmp_path) / "Location" / "question.json"
    questions = json.loads(path.read_text())
    bad = dict(questions[0])
    change(bad)
    path.write_text(json.dumps([bad, 7, *questions]))
    first, second = problems(tmp_path, "Location")
    assert reason in first
    assert "question 1: expected an object, found int" in second
    assert len(load_samples(tmp_path, "Location")) == 1


def test_a_label_image_has_one_channel(tmp_path: Path) -> None:
    write_ocid_vlg(tmp_path)
    path = tmp_path / SCENE / "seg_mask_instances_combi" / NAME
    cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    found = problems(tmp_path, "test")
    assert len(found) == 3
    assert "an image of mode RGB; expected is one channel of 8 or 16 bits" in found[0]
    path.write_bytes(png(np.zeros((9, 9), np.bool_)))
    assert "is 9 x 9 px" in problems(tmp_path, "test")[0]
