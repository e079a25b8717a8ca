# SPDX-License-Identifier: Apache-2.0
"""Data sets as tools export them and as they are published; faults from reports of their users.

The image is the packaged frame 0; its red mug covers 5.5 %, the rectangle around it 7.1 %.
"""

from __future__ import annotations

import contextlib
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("pycocotools", reason="needs pycocotools (requirements/train.txt)")

from data_sets import own_entries, write_grefcoco, write_own, write_reason_seg, write_refcoco

from mllmseg_ros.cli import main
from mllmseg_ros.data.check import check
from mllmseg_ros.data.dataset import load_samples, read_samples
from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.region import Coco, decode
from mllmseg_ros.data.review import LabelledSet
from mllmseg_ros.data.sample import Sample, Skipped, fingerprint
from mllmseg_ros.sim.samples import load_sample

FRAME = load_sample(0)
RGB = FRAME.rgb
MUG = FRAME.instances == 2
BOX = [482, 293, 630, 293, 630, 440, 482, 440]
PAIRS = [[x, y] for x, y in zip(BOX[::2], BOX[1::2], strict=True)]
MUG_PERCENT, BOX_PERCENT = 5.54, 7.08


def own(folder: Path, *entries: Any, image: str = "1.jpg") -> Path:
    """A folder of frame 0, with entries about the red mug."""
    folder.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(RGB).save(folder / image, quality=95)
    text = "".join(json.dumps({**entry_of(image), **fields}) + "\n" for fields in entries)
    (folder / "annotations.jsonl").write_text(text)
    return folder


def entry_of(image: str = "1.jpg") -> dict[str, Any]:
    return {"image": image, "expression": "the red mug", "mask": [BOX]}


def percent(sample: Sample) -> list[float]:
    return [round(100 * float(sample.mask(target).mean()), 2) for target in sample.targets]


def write_tree(folder: Path, files: dict[str, Any]) -> Path:
    """Files by path: None is frame 0, bytes are as they are, the rest is JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            PIL.Image.fromarray(RGB).save(path, quality=95)
        else:
            path.write_bytes(
                content if isinstance(content, bytes) else json.dumps(content).encode()
            )
    return folder


# --- masks ---

GREY = MUG.astype(np.uint8)
WHITE = GREY * 255
RIM = cv2.dilate(GREY, np.ones((11, 11), np.uint8)) - GREY
OPAQUE = np.full_like(WHITE, 255)


def palette(numbers: np.ndarray, *colors: tuple[int, int, int]) -> PIL.Image.Image:
    image = PIL.Image.fromarray(numbers.astype(np.uint8), "P")
    flat = [n for color in colors for n in color]
    image.putpalette(flat + [0] * (768 - len(flat)))
    return image


def bands(*planes: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.dstack(planes))


MASKS = {
    "grey": PIL.Image.fromarray(WHITE),
    "0 and 1": PIL.Image.fromarray(GREY),
    "1 bit": PIL.Image.fromarray(WHITE).convert("1"),
    "16 bits": PIL.Image.fromarray(MUG.astype(np.uint16) * 65535),
    "16 bits, 0 and 1": PIL.Image.fromarray(MUG.astype(np.uint16)),
    "LA": bands(WHITE, OPAQUE),
    "LA, cut out": bands(OPAQUE, WHITE),
    "LA, black, cut out": bands(np.zeros_like(WHITE), WHITE),
    "RGB": bands(WHITE, WHITE, WHITE),
    "red": bands(GREY * 128, GREY * 0, GREY * 0),
    "RGBA": bands(WHITE, WHITE, WHITE, OPAQUE),
    "RGBA, transparent white background": bands(OPAQUE, OPAQUE, OPAQUE, WHITE),
    "cut out of the photograph": bands(RGB, WHITE),
    "palette of VOC": palette(GREY, (0, 0, 0), (128, 0, 0)),
    "palette, white first": palette(~MUG, (255, 255, 255), (0, 0, 0)),
    "rim that is void": palette(
        GREY + 255 * RIM, (0, 0, 0), (128, 0, 0), *[(0, 0, 0)] * 253, (224, 224, 192)
    ),
    "background 3": PIL.Image.fromarray(np.where(MUG, 255, 3).astype(np.uint8)),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_means_what_it_shows(tmp_path: Path, name: str) -> None:
    own(tmp_path, {"mask": "m.png"})
    MASKS[name].save(tmp_path / "m.png")
    report = check(read_samples(tmp_path))
    assert not report.problems
    np.testing.assert_array_equal(report.samples[0].mask(report.samples[0].targets[0]), MUG)


def test_of_a_soft_edge_half_and_over_is_the_target(tmp_path: Path) -> None:
    own(tmp_path, {"mask": "m.png"})
    cv2.imwrite(str(tmp_path / "m.png"), cv2.GaussianBlur(WHITE, (31, 31), 0))
    report = check(read_samples(tmp_path))
    assert not report.problems
    assert percent(report.samples[0]) == pytest.approx([MUG_PERCENT], abs=0.05)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (FRAME.instances.astype(np.uint8), "6 values beside 0, of several objects"),
        ((FRAME.instances * 40).astype(np.uint8), "6 values beside 0, of several objects"),
        (GREY + 255 * RIM, "2 values beside 0"),
        (255 - WHITE, "covers 94 % of the image; is it inverted"),
        (cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY), "neither black nor white"),
        (np.dstack([WHITE, 255 * RIM, GREY * 0]), "2 values beside 0"),
    ],
    ids=["numbers", "grey numbers", "void", "inverted", "photograph", "colours"],
)
def test_a_doubtful_mask_is_named_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mask: np.ndarray, reason: str
) -> None:
    own(tmp_path, {"mask": "m.png"})
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    (problem,) = check(read_samples(tmp_path)).problems
    assert problem.is_used
    assert problem.entry == "annotations.jsonl line 1"
    assert "m.png is doubtful: " in problem.reason
    assert reason in problem.reason
    assert len(load_samples(tmp_path)) == 1
    assert "0 entries cannot be used and are skipped, 1 are doubtful" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path)]) == 0
    assert "1 problems" in capsys.readouterr().out


# --- polygons ---


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([BOX], BOX_PERCENT),
        (PAIRS, BOX_PERCENT),
        ([PAIRS], BOX_PERCENT),
        (BOX, BOX_PERCENT),
        ([[str(n) for n in BOX]], BOX_PERCENT),
        ([[482, 293, 646, 293, 646, 440, 482, 440]], 7.56),  # 6 px over the border: cut there
        ([[-6, -6, 20, -6, 20, 20, -6, 20]], 0.13),
    ],
    ids=["numbers", "points", "lists of points", "flat", "text", "right", "top left"],
)
def test_polygons_in_the_form_of_other_tools(tmp_path: Path, mask: Any, expected: float) -> None:
    (sample,) = (report := check(read_samples(own(tmp_path, {"mask": mask})))).samples
    assert not report.problems
    assert percent(sample) == [expected]


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ([[n / (640, 480)[i % 2] for i, n in enumerate(BOX)]], "are within 0 and 1; expected are"),
        ([[2 * n for n in BOX]], "reaches from (964, 586) to (1260, 880), outside the image"),
        ([{"x": 482, "y": 293}, {"x": 630, "y": 293}, {"x": 630, "y": 440}], "than numbers"),
        ([[482, 293, 630, 293]], "a polygon of 4 numbers"),
        ([[]], "a polygon of 0 numbers"),
        ([[482, 293, float("nan"), 293, 630, 440]], "outside the image"),
        ("", "'mask' is empty"),
    ],
    ids=["shares", "of a larger image", "objects", "two points", "none", "NaN", "no name"],
)
def test_polygons_that_cannot_be_meant_are_named(tmp_path: Path, mask: Any, reason: str) -> None:
    own(tmp_path, {}, {"expression": "the cup", "mask": mask})
    report = check(read_samples(tmp_path))
    (problem,) = report.problems
    assert reason in problem.reason
    assert problem.entry.endswith("line 2")
    assert not problem.is_used
    assert [percent(sample) for sample in load_samples(tmp_path)] == [[BOX_PERCENT]]


@pytest.mark.parametrize("bad", [[288.0, 288.0], [], None, "x", [1, 2, 3, None, 5, 6], 288.0])
def test_sound_polygons_stay_and_the_other_is_named(tmp_path: Path, bad: Any) -> None:
    own(tmp_path / "own", {"mask": [BOX, bad]})
    content = coco()
    content["annotations"][0]["segmentation"] = [BOX, bad]
    write_tree(
        tmp_path / "refs",
        {"instances.json": content, "grefs(unc).json": [ref(1)], "images/1.jpg": None},
    )
    for folder in (tmp_path / "own", tmp_path / "refs"):
        report = check(read_samples(folder))
        (problem,) = report.problems
        assert problem.is_used
        assert "a polygon" in problem.reason
        assert percent(report.samples[0]) == [BOX_PERCENT]


def test_what_reaches_far_over_the_border_is_cut_and_named(tmp_path: Path) -> None:
    own(tmp_path, {"mask": [[482, 293, 740, 293, 740, 440, 482, 440]]})
    (problem,) = check(read_samples(tmp_path)).problems
    assert problem.is_used
    assert problem.reason.endswith("it is clipped at the border")
    assert percent(load_samples(tmp_path)[0]) == [7.56]


def test_a_redrawn_mask_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    labelled = LabelledSet(own(tmp_path, {}))
    before = (tmp_path / "annotations.jsonl").read_bytes()
    for bad in ([1, 2], [482, 293, 740, 293, 740, 440]):
        with pytest.raises(ValueError, match="a polygon"):
            labelled.redraw(0, [BOX, bad])
    assert (tmp_path / "annotations.jsonl").read_bytes() == before
    assert labelled.mask(0).mean() == pytest.approx(BOX_PERCENT / 100, abs=1e-4)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-63, 126), min_size=6, max_size=12))
def test_a_polygon_over_the_border_is_what_a_larger_image_shows_of_it(numbers: list[float]) -> None:
    numbers = numbers[: len(numbers) // 2 * 2]
    shifted = [n + (64, 48)[i % 2] for i, n in enumerate(numbers)]
    try:
        mask = decode(Coco(polygons=(tuple(numbers),)), (48, 64))
        larger = decode(Coco(polygons=(tuple(shifted),)), (144, 192))
    except ValueError:
        return  # too far outside
    shown = larger[48:96, 64:128]
    # The outline itself may be rasterised either way.
    assert cv2.erode((mask != shown).astype(np.uint8), np.ones((3, 3), np.uint8)).sum() == 0


# --- images ---


@pytest.mark.parametrize(("orientation", "turns"), [(6, 1), (3, 2), (8, 3)])
def test_a_phone_photo_is_upright(tmp_path: Path, orientation: int, turns: int) -> None:
    own(tmp_path, {})
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = PIL.Image.fromarray(np.ascontiguousarray(np.rot90(RGB, turns)))
    stored.save(tmp_path / "1.jpg", quality=95, exif=exif)
    (sample,) = load_samples(tmp_path)
    assert sample.size_hw == (480, 640)
    assert np.abs(read_rgb(sample).astype(int) - RGB).mean() < 3
    assert percent(sample) == [BOX_PERCENT]


def test_16_bits_are_scaled(tmp_path: Path) -> None:
    own(tmp_path, {"image": "1.png"})
    grey = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "1.png"), grey)
    (sample,) = load_samples(tmp_path)
    assert read_rgb(sample).mean() == pytest.approx(116.8, abs=0.1)


def test_broken_images_are_skipped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("half.jpg", "half.png", "empty.jpg", "float.tiff", "1.JPG", "my%20mug.jpg")
    own(tmp_path, {}, *({"image": name} for name in names))
    for name in names[:2]:
        PIL.Image.fromarray(RGB).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.jpg").touch()
    PIL.Image.fromarray(RGB[..., 0].astype(np.float32) / 255).save(tmp_path / "float.tiff")
    (tmp_path / "my mug.jpg").symlink_to("1.jpg")
    problems = [str(problem) for problem in check(read_samples(tmp_path)).problems]
    assert len(problems) == len(names)
    for text in (
        "half.jpg cannot be read as an image: image file is truncated",
        "half.png cannot be read as an image: image file is truncated",
        "empty.jpg is not an image that can be read",
        "float.tiff is not an image that can be read; accepted: PNG",
        "1.JPG is missing; the folder has 1.jpg",
        "my%20mug.jpg is missing; the folder has my mug.jpg",
    ):
        assert any(text in problem for problem in problems), text
    capsys.readouterr()
    assert [sample.image.name for sample in load_samples(tmp_path)] == ["1.jpg"]
    assert "6 entries cannot be used and are skipped" in capsys.readouterr().err


def test_names_of_other_systems_are_found(tmp_path: Path) -> None:
    on_disk = unicodedata.normalize("NFD", "tasse_é.jpg")
    in_file = unicodedata.normalize("NFC", on_disk)
    own(tmp_path, {"image": in_file}, {"image": "pics\\1.jpg"}, image=on_disk)
    (tmp_path / "pics").mkdir()
    PIL.Image.fromarray(RGB).save(tmp_path / "pics" / "1.jpg")
    found = [sample.image.relative_to(tmp_path).as_posix() for sample in load_samples(tmp_path)]
    assert found == [on_disk, "pics/1.jpg"]
    own(tmp_path / "set", {}, {"image": "..\\pics\\1.jpg"})
    (problem,) = check(read_samples(tmp_path / "set")).problems
    assert "lies outside the folder" in problem.reason


# --- JSON ---

LINE = json.dumps(entry_of()).encode()


@pytest.mark.parametrize(
    ("data", "n_targets", "reason"),
    [
        (b"\xef\xbb\xbf" + LINE, 1, ""),
        (LINE + b"\n" + bytes(4096), 1, "not valid JSON"),
        (LINE + b'\n{"image": ' + b"[" * 100_000, 1, "nested deeper than"),
        (LINE + b'\n{"expression": "caf\xe9"}', 1, "not UTF-8 text (byte 19 of the line)"),
        (LINE + b'\n{"expression": "the \\ud83d mug"}', 1, "an unpaired surrogate"),
        (LINE + b",", 0, "not valid JSON"),
        (b"[" + LINE + b"]", 0, "expected an object, found list"),
        (json.dumps(LINE.decode()).encode(), 0, "expected an object, found str"),
    ],
    ids=["BOM", "NUL", "deep", "cp1252", "surrogate", "comma", "list", "text"],
)
def test_lines_are_read_one_by_one(
    tmp_path: Path, data: bytes, n_targets: int, reason: str
) -> None:
    own(tmp_path)
    (tmp_path / "annotations.jsonl").write_bytes(data)
    report = check(read_samples(tmp_path))
    assert report.n_targets == n_targets
    assert [reason in problem.reason for problem in report.problems] == [True] * bool(reason)
    if n_targets:
        assert len(load_samples(tmp_path)) == 1
    else:
        with pytest.raises(ValueError, match=r"no entry can be used; .*annotations\.jsonl, line 1"):
            load_samples(tmp_path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "annotations.jsonl: no entry in it"),
        (LINE.decode().encode("utf-16"), "annotations.jsonl is UTF-16 text; accepted is UTF-8"),
    ],
)
def test_files_that_hold_no_lines(tmp_path: Path, data: bytes, reason: str) -> None:
    own(tmp_path)
    (tmp_path / "annotations.jsonl").write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        load_samples(tmp_path)


# --- layouts ---


def coco() -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 480, "width": 640}],
        "annotations": [
            {"id": 1, "image_id": 1, "segmentation": [BOX], "bbox": [482, 293, 148, 147]}
        ],
        "categories": [{"id": 1, "name": "red mug"}],
    }


def ref(ref_id: Any, *sentences: Any, **fields: Any) -> dict[str, Any]:
    return {
        "ref_id": ref_id,
        "image_id": 1,
        "ann_id": [1],
        "split": "train",
        "sentences": [{"sent": text} for text in sentences or ("red mug",)],
        **fields,
    }


LABELME = {
    "shapes": [{"label": "mug", "points": PAIRS, "shape_type": "polygon"}],
    "imageData": None,
}


@pytest.mark.parametrize(
    ("files", "name", "kind"),
    [
        ({"annotations/instances_default.json": coco()}, "instances_default.json", "COCO"),
        ({"train/_annotations.coco.json": coco()}, "_annotations.coco.json", "COCO"),
        ({"annotations.json": coco()}, "annotations.json", "COCO"),
        ({"instances.json": coco()}, "instances.json", "COCO"),
        ({"1.json": LABELME}, "1.json", "LabelMe"),
        ({"train/1.json": LABELME, "train/2.json": LABELME}, "1.json", "LabelMe"),
    ],
    ids=["CVAT", "Roboflow", "annotations.json", "instances.json", "LabelMe", "LabelMe folders"],
)
def test_exports_without_expressions_are_named(
    tmp_path: Path, files: dict[str, Any], name: str, kind: str
) -> None:
    write_tree(tmp_path, {**files, "images/1.jpg": None})
    with pytest.raises(
        ValueError, match=rf"{name} is a .*{kind}.* no expressions; accepted: annotations.jsonl"
    ):
        load_samples(tmp_path)


REASON: dict[str, Any] = {"text": ["the red mug"], "shapes": [{"label": "target", "points": PAIRS}]}


def shape(kind: str, points: list[list[float]]) -> dict[str, Any]:
    return {"label": "target", "shape_type": kind, "points": points}


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([shape("polygon", PAIRS)], 7.18),
        ([shape("rectangle", [[630, 440], [482, 293]])], 7.18),
        ([shape("rectangle", PAIRS)], 7.18),
        ([shape("circle", [[556, 366], [620, 366]])], 100 * np.pi * 64.5**2 / (640 * 480)),
        ([shape("polygon", PAIRS), shape("point", [[10, 10]])], 7.18),
        ([shape("polygon", PAIRS), shape("line", [[10, 10], [20, 20]])], 7.18),
    ],
    ids=["polygon", "rectangle", "rectangle of four", "circle", "point", "line"],
)
def test_shapes_of_reason_seg(tmp_path: Path, shapes: list[Any], expected: float) -> None:
    write_tree(tmp_path, {"train/1.json": {**REASON, "shapes": shapes}, "train/1.jpg": None})
    report = check(read_samples(tmp_path))
    assert not report.problems
    assert percent(report.samples[0]) == [pytest.approx(expected, abs=0.03)]


@pytest.mark.parametrize(
    "bad",
    [
        shape("mask", [[482, 293], [630, 440]]),
        shape("polygon", [[1, 2], [3, 4]]),
        shape("polygon", [[1, 2], [3, None], [5, 6]]),
        shape("polygon", [[9001, 9001], [9002, 9001], [9002, 9002]]),
        7,
    ],
    ids=["mask", "two points", "null", "outside", "number"],
)
def test_a_shape_that_cannot_be_used_does_not_cost_the_image(tmp_path: Path, bad: Any) -> None:
    files = {
        "train/1.json": {**REASON, "shapes": [*REASON["shapes"], bad]},
        "train/2.json": {**REASON, "shapes": [bad]},
    }
    write_tree(tmp_path, {**files, "train/1.jpg": None, "train/2.jpg": None})
    report = check(read_samples(tmp_path))
    assert [problem.is_used for problem in report.problems] == [True, False]
    assert [percent(sample) for sample in report.samples] == [[7.18]]


def test_shapes_without_an_area_are_not_a_target(tmp_path: Path) -> None:
    shapes = [shape("point", [[10, 10]])]
    write_tree(tmp_path, {"train/1.json": {**REASON, "shapes": shapes}, "train/1.jpg": None})
    (problem,) = check(read_samples(tmp_path)).problems
    assert "points and lines" in problem.reason


def test_hidden_files_belong_to_other_programs(tmp_path: Path) -> None:
    apple_double = b"\0\5\26\7" + bytes(100)
    write_tree(
        tmp_path,
        {
            "train/1.json": REASON,
            "train/1.jpg": None,
            "train/._1.json": apple_double,
            "train/._1.jpg": apple_double,
            ".ipynb_checkpoints/x.json": REASON,
            ".vscode/settings.json": {},
        },
    )
    report = check(read_samples(tmp_path))
    assert (report.n_targets, report.problems) == (1, ())
    with pytest.raises(ValueError, match=r"unknown split 'val'; it has train$"):
        load_samples(tmp_path, "val")


# --- references ---


def write_refs(folder: Path, references: list[Any], content: Any = None) -> Path:
    content = coco() if content is None else content
    return write_tree(
        folder,
        {"instances.json": content, "grefs(unc).json": references, "images/1.jpg": None},
    )


def test_references_without_a_sentence_are_counted_and_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = {**ref(2), "sentences": []}
    no_target = ref(3, "the black keyboard", ann_id=[-1], no_target=True)
    write_refs(tmp_path, [ref(1, "red mug", " ", ""), silent, no_target])
    report = check(read_samples(tmp_path))
    assert (report.n_targets, report.n_expressions, report.problems) == (2, 2, ())
    assert report.skipped == (Skipped(n=1, what="references without a sentence"),)
    assert "1 references without a sentence skipped" in str(report)
    capsys.readouterr()
    (sample,) = load_samples(tmp_path)
    assert percent(sample) == [BOX_PERCENT, 0]
    assert "1 references without a sentence skipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda content, refs: content["annotations"].append(None),
        lambda content, refs: content["images"].append(None),
        lambda content, refs: content["annotations"].append(
            {**coco()["annotations"][0], "id": [2]}
        ),
        lambda content, refs: content["images"].append({**coco()["images"][0], "id": {}}),
        lambda content, refs: refs.append(None),
        lambda content, refs: refs.append(ref(2, None)),
        lambda content, refs: refs.append({**ref(2), "sentences": None}),
        lambda content, refs: refs.append(ref(2, image_id=[1])),
        lambda content, refs: refs.append(ref([2])),
    ],
)
def test_a_hole_is_one_problem_and_the_rest_is_used(
    tmp_path: Path, change: Callable[[Any, Any], None]
) -> None:
    content, references = coco(), [ref(1)]
    change(content, references)
    report = check(read_samples(write_refs(tmp_path, references, content)))
    assert len(report.problems) == 1
    assert [percent(sample) for sample in report.samples] == [[BOX_PERCENT]]
    assert len(load_samples(tmp_path)) == 1


@pytest.mark.parametrize("height", [None, "tall", 480.5, float("nan"), float("inf")])
def test_an_image_of_unknown_size_is_a_problem(tmp_path: Path, height: Any) -> None:
    content = coco()
    content["images"][0]["height"] = height
    (problem,) = check(read_samples(write_refs(tmp_path, [ref(1)], content))).problems
    assert problem.entry == "image 1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 700) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_value_in_any_field_is_at_most_a_problem(tmp_path: Path, data: st.DataObject) -> None:
    content, references = coco(), [ref(1), ref(2, "mug")]
    tables = [content["images"], content["annotations"], references]
    table = data.draw(st.sampled_from(tables))
    place = data.draw(st.sampled_from([None, *table[0]]))
    value = data.draw(JSON)
    if place is None:
        table[0] = value
    else:
        table[0][place] = value
    (tmp_path / "images").mkdir(exist_ok=True)
    if not (tmp_path / "images" / "1.jpg").exists():
        PIL.Image.new("RGB", (640, 480)).save(tmp_path / "images" / "1.jpg")
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (tmp_path / "grefs(unc).json").write_text(json.dumps(references))
    with contextlib.suppress(ValueError):  # no reference of the split is left
        assert all("\n" not in str(each) for each in check(read_samples(tmp_path)).problems)


def test_fingerprints_are_of_what_is_annotated(tmp_path: Path) -> None:
    """Recipes of earlier runs hold them."""
    entries = [each for each in own_entries() if not isinstance(each["mask"], str)]
    for folder, expected in (
        (write_own(tmp_path / "own", entries), "77d5f33641867dbc"),
        (write_refcoco(tmp_path / "refcoco"), "1edb4702bbaa2e90"),
        (write_grefcoco(tmp_path / "grefcoco"), "648e0dab606cb71c"),
        (write_reason_seg(tmp_path / "reason_seg"), "924fec15e207df52"),
    ):
        assert fingerprint(load_samples(folder)) == expected
