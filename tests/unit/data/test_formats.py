# SPDX-License-Identifier: Apache-2.0
"""Each format is read as it is meant, and what is wrong in it is named: file, entry, reason."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="needs pycocotools (requirements/train.txt)")

from data_sets import (
    HEIGHT,
    WIDTH,
    disc_mask,
    instances,
    own_entries,
    refcoco_references,
    reference,
    square_mask,
    write_grefcoco,
    write_image,
    write_own,
    write_reason_seg,
    write_refcoco,
)

from mllmseg_ros.data.check import check, contact_sheet
from mllmseg_ros.data.dataset import load_samples, read_samples
from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.region import decode, decode_ignored, encode
from mllmseg_ros.data.sample import Problem, Sample

SIZE = (HEIGHT, WIDTH)


def masks(sample: Sample) -> list[np.ndarray | None]:
    return [
        None if target.region is None else decode(target.region, sample.size_hw)
        for target in sample.targets
    ]


def mostly(mask: np.ndarray | None, truth: np.ndarray) -> bool:
    """A polygon's rim may be rasterised either way."""
    assert mask is not None
    return bool((mask & truth).sum() / (mask | truth).sum() > 0.9)


def problems(folder: Path, split: str | None = None) -> list[str]:
    return [str(each) for each in check(read_samples(folder, split)).problems]


def test_refcoco(tmp_path: Path) -> None:
    (sample,) = load_samples(write_refcoco(tmp_path), "train")
    assert sample.size_hw == SIZE
    assert [target.expressions for target in sample.targets] == [
        ("red square", "the left thing"),
        ("blue disc",),
    ]
    assert sample.targets[0].box_xywh == (8, 10, 20, 20)
    square, disc = masks(sample)
    assert mostly(square, square_mask())
    np.testing.assert_array_equal(disc, disc_mask())
    assert read_rgb(sample).shape == (HEIGHT, WIDTH, 3)
    (other,) = load_samples(tmp_path, "testA")
    assert other.image.name.endswith("2.jpg")


def test_grefcoco_means_several_or_nothing(tmp_path: Path) -> None:
    first, second = load_samples(write_grefcoco(tmp_path), "train")
    both, nothing = masks(first)
    assert mostly(both, square_mask() | disc_mask())
    assert nothing is None
    assert first.targets[0].box_xywh is None
    np.testing.assert_array_equal(masks(second)[0], disc_mask())


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = write_refcoco(tmp_path / "refcoco")
    (folder / "images").rename(tmp_path / "photos")
    with pytest.raises(ValueError, match="name their folder with --images"):
        load_samples(folder)
    assert len(load_samples(folder, images=[tmp_path / "elsewhere", tmp_path / "photos"])) == 1


def test_of_several_reference_files_the_usual_one_is_read(tmp_path: Path) -> None:
    write_refcoco(tmp_path)
    (usual,) = tmp_path.glob("refs(*).p")
    other = tmp_path / "refs(google).p"
    other.write_bytes(pickle.dumps([], protocol=2))
    assert usual.name == "refs(unc).p"
    assert load_samples(tmp_path)
    with pytest.raises(ValueError, match="unknown split 'train'"):
        load_samples(other)  # named itself: it is empty
    usual.rename(tmp_path / "refs(berkeley).p")
    with pytest.raises(ValueError, match=r"found refs\(berkeley\).*name the file itself"):
        load_samples(tmp_path)


def test_what_has_another_form_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = write_own(tmp_path)
    path = folder / "annotations.jsonl"
    n_sound = len(load_samples(folder)[0].targets)
    image = json.loads(path.read_text().splitlines()[0])["image"]
    wrong = (
        {"mask": [[None, 1, 2]]},
        {"mask": {"size": 3, "counts": "x"}},
        {"mask": [[1, 2, 3]]},
    )
    with path.open("a") as file:
        for number, fields in enumerate(wrong):
            line = {"image": image, "expression": f"wrong {number}", **fields}
            file.write(json.dumps(line) + "\n")
    report = check(read_samples(folder))
    n_lines = len(path.read_text().splitlines())
    assert [each.entry for each in report.problems] == [
        f"line {n_lines - 2}",
        f"annotations.jsonl line {n_lines - 1}",
        f"annotations.jsonl line {n_lines}",
    ]
    assert len(report.samples[0].targets) == n_sound


def test_reason_seg(tmp_path: Path) -> None:
    (sample,) = load_samples(write_reason_seg(tmp_path), "train")
    assert sample.targets[0].expressions == ("what would you stack?",)
    region = sample.targets[0].region
    assert region is not None
    ignored = decode_ignored(region, SIZE)
    # The outline is painted too, and the smaller shape over the larger one.
    assert ignored.sum() == 7 * 7
    target = decode(region, SIZE)
    assert target.sum() == 21 * 21 - 7 * 7
    assert not (target & ignored).any()


@pytest.mark.parametrize("lines", [True, False], ids=["jsonl", "json"])
def test_own_images(tmp_path: Path, lines: bool) -> None:
    first, second = load_samples(write_own(tmp_path, lines=lines))
    square, disc, nothing = masks(first)
    np.testing.assert_array_equal(square, square_mask())
    np.testing.assert_array_equal(disc, disc_mask())
    assert nothing is None
    assert first.targets[1].expressions == ("disc", "round thing")
    assert mostly(masks(second)[0], square_mask())
    (held_out,) = load_samples(tmp_path, "test")
    assert held_out.image.name == "b.png"
    assert not decode_ignored(first.targets[0].region, SIZE).any()  # type: ignore[arg-type]


def change(**fields: object) -> list[dict]:
    """Own entries, the second of them changed."""
    entries = own_entries()
    entries[1] = {**entries[1], **fields}
    return entries


SMALL = encode(np.zeros((10, 10), np.bool_))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        (change(image="c.png"), r"c\.png is missing"),
        (change(image="../b.png"), "lies outside the folder"),
        (change(image=7), "it has no 'image'"),
        (change(expressions=[]), "it has no 'expression'"),
        (change(expressions=[" . "]), "empty referring expression"),
        (change(mask="nowhere.png"), r"nowhere\.png is missing"),
        (change(mask="../../secret.png"), "lies outside the folder"),
        (change(mask=SMALL), "the mask is 10 x 10 px, its image 64 x 48"),
        (change(mask={"size": [48, 64], "counts": "5"}), "covers 5 px, its image has 3072"),
        (change(mask={"size": [48, 64], "counts": [1, 2]}), "3 px in all"),
        (change(mask=[[0, 0, 90, 0, 90, 20]]), r"outside the image of 64 x 48 px"),
        (change(mask=[[0, 0, 9, 9]]), "a polygon of 4 numbers"),
        (change(mask=[]), "'mask' is neither a PNG file"),
        (change(mask=3), "'mask' is neither a PNG file"),
        (own_entries()[:1] * 2, "the same entry occurs earlier"),
        ([*own_entries(), [1]], "expected an object, found list"),
    ],
)
def test_a_bad_entry_is_named_and_the_rest_is_read(
    tmp_path: Path, entries: list, reason: str
) -> None:
    folder = write_own(tmp_path / "set", entries, lines=False)
    write_image(tmp_path / "b.png")
    report = check(read_samples(folder))
    (problem,) = report.problems
    assert (tmp_path / "set").as_posix() in str(problem)
    assert problem.entry
    assert re.search(reason, problem.reason), problem.reason
    assert report.samples or len(entries) < 3
    if any(isinstance(each, Problem) for each in read_samples(folder)):  # masks are not yet painted
        with pytest.raises(ValueError, match="data check"):
            load_samples(folder)


def test_a_mask_of_another_size_and_a_broken_one(tmp_path: Path) -> None:
    folder = write_own(tmp_path)
    import cv2

    cv2.imwrite(str(folder / "a_square.png"), np.zeros((10, 12), np.uint8))
    (line,) = problems(folder)
    assert "a.png, annotations.jsonl line " in line
    assert "is 12 x 10 px, its image 64 x 48" in line
    (folder / "a_square.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    assert "a_square.png cannot be read as an image" in problems(folder)[0]


def test_half_a_line_is_named(tmp_path: Path) -> None:
    folder = write_own(tmp_path)
    path = folder / "annotations.jsonl"
    path.write_text(path.read_text()[:-40])
    (line,) = problems(folder)
    assert "annotations.jsonl, line 5: not complete, valid JSON" in line


def without(field: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        references = refcoco_references()
        del references[1][field]
        write_refcoco(folder, references)

    return damage


def with_reference(*extra: dict) -> Callable[[Path], None]:
    return lambda folder: void(write_refcoco(folder, [*refcoco_references(), *extra]))


def void(_: object) -> None:
    return None


def with_instances(**fields: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "instances.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return damage


NAMES = ("COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.jpg")
TWICE = instances(NAMES)["annotations"]


@pytest.mark.parametrize(
    ("damage", "entry", "reason"),
    [
        (without("sentences"), "reference 2", "it has no 'sentences'"),
        (with_reference(reference(2, 1, 10, "train", "x")), "reference 2", "occurs earlier"),
        (with_reference(reference(9, 7, 10, "train", "x")), "reference 9", "image 7 is not in"),
        (with_reference(reference(9, 1, 99, "train", "x")), "reference 9", "annotation 99 is not"),
        (with_reference(reference(9, 1, 20, "train", "x")), "reference 9", "is of image 2"),
        (with_reference(reference(9, 1, 10, "train", " ")), "reference 9", "empty referring"),
        (with_reference(reference(9, 1, 10, "train")), "reference 9", "it has no sentence"),
        (with_instances(annotations=TWICE + TWICE[:1]), "annotations[4]", "id 10 occurs earlier"),
        (
            lambda folder: (folder / "images" / NAMES[0]).unlink(),
            "image 1",
            "000000000001.jpg is missing",
        ),
    ],
)
def test_a_bad_reference_is_named(
    tmp_path: Path, damage: Callable[[Path], None], entry: str, reason: str
) -> None:
    damage(write_refcoco(tmp_path))
    (problem,) = [each for each in read_samples(tmp_path, "train") if isinstance(each, Problem)]
    assert problem.entry == entry
    assert reason in problem.reason


def test_a_image_of_another_size_is_named(tmp_path: Path) -> None:
    images = instances(NAMES)["images"]
    images[0]["width"] = 65
    with_instances(images=images, annotations=TWICE[:1])(write_refcoco(tmp_path))
    assert any(
        "is 64 x 48 px, its annotations are for 65 x 48" in each for each in problems(tmp_path)
    )


def test_no_target_and_annotations_must_agree(tmp_path: Path) -> None:
    wrong = {**reference(1, 1, [10], "train", "it"), "no_target": True}
    folder = write_grefcoco(tmp_path, [wrong])
    assert "no_target is True, but ann_id names [10]" in problems(folder)[0]


class Runs:
    """Runs a command when it is unpickled by a careless reader."""

    def __reduce__(self) -> tuple:
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps([{"split": "train", "x": Runs()}]), r"system; only plain containers"),
        (pickle.dumps([{"split": "train", "x": np.float32(1)}]), "only plain containers"),
        (pickle.dumps(refcoco_references())[:-30], "not a complete pickle"),
        (b"", "not a complete pickle"),
        (pickle.dumps({"a": 1}), "expected a list of references"),
    ],
    ids=["code", "numpy", "truncated", "empty", "no list"],
)
def test_only_plain_pickles_are_read(tmp_path: Path, content: bytes, reason: str) -> None:
    folder = write_refcoco(tmp_path)
    (folder / "refs(unc).p").write_bytes(content)
    with pytest.raises(ValueError, match=rf"refs\(unc\)\.p: .*{reason}"):
        load_samples(folder)


@pytest.mark.parametrize(
    ("write", "there"),
    [
        (write_refcoco, "testA, train"),
        (write_grefcoco, "train"),
        (write_reason_seg, "train"),
        (write_own, "test, train"),
    ],
)
def test_an_unknown_split_is_answered_with_those_there(
    tmp_path: Path, write: Callable[[Path], Path], there: str
) -> None:
    folder = write(tmp_path)
    with pytest.raises(ValueError, match=f"unknown split 'testC'; it has {there}$"):
        load_samples(folder, "testC")


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        load_samples(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no data set in a known format"):
        load_samples(tmp_path)
    folder = write_refcoco(tmp_path / "one")
    (folder / "instances.json").write_text('{"images": [')
    with pytest.raises(ValueError, match="not complete, valid JSON"):
        load_samples(folder)


def test_the_report_counts_and_the_sheet_shows(tmp_path: Path) -> None:
    report = check(read_samples(write_own(tmp_path)))
    assert (len(report.samples), report.n_targets, report.n_expressions) == (2, 4, 5)
    assert (report.n_no_target, report.n_empty) == (1, 0)
    assert report.area_percent[1] == pytest.approx(100 * 400 / (HEIGHT * WIDTH), abs=2)
    assert "2 images, 4 targets, 5 expressions, 1 of them name nothing; 0 problems" in str(report)
    sheet = contact_sheet(report.samples)
    assert sheet.shape == (240, 640, 3)
    # The square is tinted in the colour of an answer, so it is no longer what the file has.
    assert sheet[100, 90].tolist() != [200, 30, 30]
    with pytest.raises(ValueError, match="no sample to draw"):
        contact_sheet([])
