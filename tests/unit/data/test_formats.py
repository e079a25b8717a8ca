# SPDX-License-Identifier: Apache-2.0
"""Each format is read as it is meant, and what is wrong in it is named: file, entry, reason."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import zlib
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

from mllmseg_ros.cli import main
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


@pytest.mark.parametrize("of", ["images", "annotations", "references"])
def test_identifiers_may_be_text(tmp_path: Path, of: str) -> None:
    """Some programs write them so, in one table or in all: cocodataset/cocoapi#373, cvat#298."""
    references = refcoco_references()
    write_refcoco(tmp_path, references)
    content = json.loads((tmp_path / "instances.json").read_text())
    for each in references if of == "references" else content[of]:
        each.update({key: str(each[key]) for key in ("id", "image_id", "ann_id") if key in each})
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(references, protocol=2))
    assert problems(tmp_path) == []
    (sample,) = load_samples(tmp_path)
    square, disc = masks(sample)
    assert mostly(square, square_mask())
    np.testing.assert_array_equal(disc, disc_mask())


def test_one_file_of_two_images_is_doubtful(tmp_path: Path) -> None:
    """Exports of several videos have it: open-edge-platform/geti#7496."""
    references = [*refcoco_references(), reference(4, 2, 21, "train", "disc")]
    write_refcoco(tmp_path, references)
    with_instances(images=instances((NAMES[0], NAMES[0]))["images"])(tmp_path)
    report = check(read_samples(tmp_path))
    (problem,) = report.problems
    assert problem.is_used
    assert problem.entry == "image 2"
    assert problem.reason == f"its file {NAMES[0]} is also that of image 1"
    assert len(report.samples) == 2


def test_names_of_images_with_backslashes(tmp_path: Path) -> None:
    write_refcoco(tmp_path)
    (tmp_path / "images" / "train").mkdir()
    content = json.loads((tmp_path / "instances.json").read_text())
    for each in content["images"]:
        name = each["file_name"]
        (tmp_path / "images" / name).rename(tmp_path / "images" / "train" / name)
        each["file_name"] = f"train\\{name}"
    (tmp_path / "instances.json").write_text(json.dumps(content))
    assert problems(tmp_path) == []
    content["images"][0]["file_name"] = "..\\instances.json"
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (line,) = problems(tmp_path)
    assert "lies outside the folder" in line


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
        f"annotations.jsonl line {n_lines - 2}",
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
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entries: list, reason: str
) -> None:
    folder = write_own(tmp_path / "set", entries, lines=False)
    write_image(tmp_path / "b.png")
    report = check(read_samples(folder))
    (problem,) = report.problems
    assert (tmp_path / "set").as_posix() in str(problem)
    assert problem.entry
    assert re.search(reason, problem.reason), problem.reason
    assert report.samples or len(entries) < 3
    capsys.readouterr()
    if report.samples:  # the rest is used, and it says so
        assert load_samples(folder) == list(report.samples)
        assert f"the first: {problem} (`mllmseg data check`" in capsys.readouterr().err


def test_a_mask_of_another_size_and_a_broken_one(tmp_path: Path) -> None:
    folder = write_own(tmp_path)
    import cv2

    cv2.imwrite(str(folder / "a_square.png"), np.zeros((10, 12), np.uint8))
    (line,) = problems(folder)
    assert "a.png, annotations.jsonl line " in line
    assert "is 12 x 10 px, its image 64 x 48" in line
    (folder / "a_square.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    assert "a_square.png cannot be read" in problems(folder)[0]


FULL = [HEIGHT * WIDTH]
BAD_ENTRIES = [
    # image
    ({"image": "x" * 5000}, "File name too long"),
    ({"image": "a\0b"}, "is not a valid file name"),
    ({"image": "loop.png"}, "loop"),
    ({"image": "fifo.png"}, "is a FIFO, accepted is a regular file"),
    ({"image": "folder"}, "is a folder, accepted is a regular file"),
    ({"image": "bomb.png"}, "decompression bomb"),
    ({"image": "large.png"}, "9000 x 9000 px, accepted are up to 64000000 px"),
    ({"image": "half.png"}, "cannot be read"),
    ({"image": "program.eps"}, "is not an image that can be read; accepted: PNG, JPEG"),
    ({"image": "out.png"}, "lies outside the folder"),
    # mask
    ({"mask": "bomb.png"}, "decompression bomb"),
    ({"mask": "fifo.png"}, "is a FIFO"),
    ({"mask": "half.png"}, "cannot be read"),
    ({"mask": "x" * 5000}, "File name too long"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": [1.0 * n for n in FULL]}}, "not whole numbers"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": [True, *FULL]}}, "not whole numbers"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": [None]}}, "not whole numbers"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": ["5", *FULL]}}, "not whole numbers"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": 10**12}}, "'counts' is int, expected text"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": None}}, "'counts' is NoneType, expected text"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": {}}}, "'counts' is dict, expected text"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": [2**70, HEIGHT * WIDTH - 2**70]}}, "px in all"),
    ({"mask": {"size": HEIGHT, "counts": FULL}}, "does not have the expected form"),
    ({"mask": {"size": [HEIGHT], "counts": FULL}}, "not enough values"),
    ({"mask": {"size": None, "counts": FULL}}, "does not have the expected form"),
    ({"mask": [[None] * 6]}, "something other than numbers"),
    ({"mask": [[10**400] * 6]}, "a polygon outside the image"),
    ({"mask": [[[[1, 1]]] * 6]}, "something other than numbers"),
    ({"mask": [[float("nan"), 0, 9, 0, 9, 9]]}, "outside the image"),
    ({"mask": [[0, 0, WIDTH, HEIGHT] * 100_000]}, "outline is longer than 4000000 px"),
    # the rest
    ({"expressions": ["disc", 3]}, "it has no 'expression'"),
    ({"review": ["accepted"]}, "'review' is"),
    ({"review": "x" * 5000}, "'review' is 'xxx"),
]


def write_odd_files(folder: Path) -> None:
    import cv2

    os.mkfifo(folder / "fifo.png")
    (folder / "folder").mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "out.png").symlink_to("/etc/passwd")
    png = (folder / "a.png").read_bytes()
    (folder / "half.png").write_bytes(png[:-60])
    (folder / "program.eps").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EOF\n"
    )
    assert cv2.imwrite(str(folder / "large.png"), np.zeros((9000, 9000), np.uint8))
    header = bytearray(png)
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(header)


@pytest.mark.parametrize("lines", [True, False], ids=["jsonl", "json"])
def test_an_invalid_entry_does_not_affect_others(tmp_path: Path, lines: bool) -> None:
    bad = [{**own_entries()[0], **fields} for fields, _ in BAD_ENTRIES]
    folder = write_own(tmp_path / "set", [*bad, *own_entries()], lines=lines)
    write_odd_files(folder)
    report = check(read_samples(folder))
    assert sum(len(sample.targets) for sample in report.samples) == 4
    problems = {problem.entry.split()[-1]: problem.reason for problem in report.problems}
    assert len(report.problems) == len(problems) == len(bad)
    for index, (fields, reason) in enumerate(BAD_ENTRIES):
        # Those of the whole image are named by it, all others by their place in the file.
        place = str(index + 1) if lines else str(index)
        found = problems.get(place) or problems[str(fields["image"])]
        assert re.search(reason, found), (fields, found)
        assert "\n" not in found
        assert len(found) < 700
    assert "a mask without a pixel" not in str(report)


def test_a_set_of_bad_entries_only_lists_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    float_runs = {"size": [HEIGHT, WIDTH], "counts": [1.0 * n for n in FULL]}
    for entries in (
        [{"image": "no.png", "expression": "x", "mask": None}],
        [{"image": "a.png", "expression": "x", "mask": float_runs}],
        [7],
    ):
        folder = write_own(tmp_path / "set", entries)
        command = ["data", "check", str(folder), "-o", str(tmp_path / "sheet.png")]
        assert main(command) == 1
        printed = capsys.readouterr()
        assert "annotations.jsonl" in printed.out
        assert "0 images, 0 targets" in printed.out
        assert printed.err.strip().endswith(f"{folder}: 1 entries cannot be used")


def test_lines_end_with_a_line_feed_alone_and_each_is_read_on_its_own(tmp_path: Path) -> None:
    folder = write_own(tmp_path)
    named = [{**each, "kind": "a\u2028b\x85c\x0bd"} for each in own_entries()]
    good = [json.dumps(each, ensure_ascii=False).encode() for each in named]
    bad = [b"[" * 100_000, b"\xff", b'{"image": "\\ud800"}', b"1" * 5000, b'"x"', b"nul"]
    text = b"\xef\xbb\xbf" + b"\r\n".join([good[0], *bad, b"", *good[1:]])
    (folder / "annotations.jsonl").write_bytes(text)
    report = check(read_samples(folder))
    assert sum(len(sample.targets) for sample in report.samples) == 4
    assert report.samples[0].targets[0].kind == "a\u2028b\x85c\x0bd"
    assert [each.entry for each in report.problems] == [f"line {n}" for n in range(2, 8)]
    assert "nested deeper than" in report.problems[0].reason
    assert "not UTF-8" in report.problems[1].reason
    assert "surrogate" in report.problems[2].reason


@pytest.mark.parametrize(
    "change",
    [
        {"id": [1]}, {"id": {}}, {"height": "tall"}, {"height": None}, {"height": 10**400},
        {"height": float("inf")}, {"width": [64]}, {"file_name": "x" * 5000}, {"file_name": "a\0b"},
        {"file_name": "../secret.jpg"}, {"file_name": "/etc/passwd"}, {"height": 10**9},
    ],
)  # fmt: skip
def test_a_bad_image_of_coco_is_its_own_problem(tmp_path: Path, change: dict) -> None:
    images = instances(NAMES)["images"]
    images[0] = {**images[0], **change}
    references = [*refcoco_references(), reference(4, 2, 21, "train", "disc")]
    write_refcoco(tmp_path, references)
    with_instances(images=images)(tmp_path)
    report = check(read_samples(tmp_path, "train"))
    (sample,) = report.samples
    assert sample.image.name == NAMES[1]
    assert 1 <= len(report.problems) <= 3
    for problem in report.problems:
        assert len(str(problem)) < 700
        assert "\n" not in str(problem)


@pytest.mark.parametrize("field", ["images", "annotations"])
def test_an_invalid_coco_object_does_not_affect_others(tmp_path: Path, field: str) -> None:
    write_refcoco(tmp_path)
    good = instances(NAMES)[field]
    with_instances(**{field: [*good, 7, None, "id image_id segmentation", [], {"id": 1}]})(tmp_path)
    report = check(read_samples(tmp_path, "train"))
    assert len(report.problems) == 5
    assert [len(sample.targets) for sample in report.samples] == [2]


def test_a_bad_file_of_reason_seg_is_its_own_problem(tmp_path: Path) -> None:
    folder = write_reason_seg(tmp_path)
    (folder / "train" / "001.json").write_text("[" * 100_000)
    (folder / "train" / "002.json").write_text("{")
    os.mkfifo(folder / "train" / "003.json")
    (folder / "train" / "004.json").mkdir()
    (folder / "train" / "005.json").write_text('{"text": ["x"], "shapes": [7]}')
    report = check(read_samples(folder, "train"))
    assert [problem.file.stem for problem in report.problems] == [f"00{n}" for n in range(1, 6)]
    assert len(report.samples) == 1


def test_a_list_and_an_object_per_line_have_names_of_their_own(tmp_path: Path) -> None:
    folder = write_own(tmp_path)
    lines, whole = folder / "annotations.jsonl", folder / "annotations.json"
    text = lines.read_text()
    lines.write_text("\n" + json.dumps([json.loads(line) for line in text.splitlines()], indent=1))
    with pytest.raises(ValueError, match=r"it is one list.*name it annotations\.json$"):
        load_samples(folder)
    lines.rename(whole)
    assert len(load_samples(folder)) == 2
    whole.write_text(text)
    with pytest.raises(ValueError, match=r"not valid JSON.*name it annotations\.jsonl if"):
        load_samples(folder)


def test_half_a_line_is_named(tmp_path: Path) -> None:
    folder = write_own(tmp_path)
    path = folder / "annotations.jsonl"
    path.write_text(path.read_text()[:-40])
    (line,) = problems(folder)
    assert "annotations.jsonl, line 5: not valid JSON" in line


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
        (with_reference(reference(9, 1, 10, "train", " . ")), "reference 9", "empty referring"),
        (with_reference(reference(9, 1, 10, "train", None)), "reference 9", "is not text"),
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


def test_an_image_of_another_size_is_reported(tmp_path: Path) -> None:
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
@pytest.mark.threat("F1")
def test_only_plain_pickles_are_read(tmp_path: Path, content: bytes, reason: str) -> None:
    folder = write_refcoco(tmp_path)
    (folder / "refs(unc).p").write_bytes(content)
    with pytest.raises(ValueError, match=rf"refs\(unc\)\.p: .*{reason}"):
        load_samples(folder)


def test_a_small_pickle_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "refs(unc).p").write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")  # a list, numbered 2**31
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from mllmseg_ros.data.plain_pickle import load_plain_pickle\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "print(load_plain_pickle(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "refs(unc).p")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout == "[]\n", done.stderr


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


def test_a_folder_that_is_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        load_samples(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no data set in a known format"):
        load_samples(tmp_path)
    folder = write_refcoco(tmp_path / "one")
    (folder / "instances.json").write_text('{"images": [')
    with pytest.raises(ValueError, match="not valid JSON"):
        load_samples(folder)


def test_the_report_counts_and_the_sheet_shows(tmp_path: Path) -> None:
    report = check(read_samples(write_own(tmp_path)))
    assert (len(report.samples), report.n_targets, report.n_expressions) == (2, 4, 5)
    assert (report.n_no_target, report.n_empty) == (1, 0)
    assert report.area_percent[1] == pytest.approx(100 * 400 / (HEIGHT * WIDTH), abs=2)
    assert "2 images, 4 targets, 5 expressions (1 without a target); 0 problems" in str(report)
    sheet = contact_sheet(report.samples)
    assert sheet.shape[1] > 2 * 320
    assert (sheet == (255, 140, 0)).all(axis=2).any()  # the outline of a mask
    with pytest.raises(ValueError, match="no sample to draw"):
        contact_sheet([])
