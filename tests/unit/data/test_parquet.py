# SPDX-License-Identifier: Apache-2.0
"""Parquet files: columns, splits, images in cells; broken files and bombs."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("pycocotools", reason="needs pycocotools (requirements/train.txt)")
pytest.importorskip("pyarrow", reason="needs pyarrow (requirements/parquet.txt)")

import pyarrow
from benchmark_sets import encoded_image, png, write_pbench, write_refspatial_parquet, write_table
from data_sets import HEIGHT, WIDTH, disc_mask, own_entries, square_mask, write_own

from mllmseg_ros.data import parquet_file, parquet_pages
from mllmseg_ros.data.check import check
from mllmseg_ros.data.dataset import load_samples, read_samples
from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.parquet_file import ParquetCell
from mllmseg_ros.data.region import decode_instances, encode
from mllmseg_ros.data.sample import fingerprint


def problems(folder: Path, split: str | None = None) -> list[str]:
    return [str(each) for each in check(read_samples(folder, split)).problems]


def table(folder: Path, **columns: Any) -> Path:
    """A file with one row about the square, and other columns."""
    folder.mkdir(exist_ok=True)
    usual = {
        "image": [encoded_image(folder)],
        "expression": ["square"],
        "mask": [png(square_mask())],
    }
    merged = {name: each for name, each in {**usual, **columns}.items() if each is not None}
    write_table(folder / "test.parquet", merged)
    return folder


def test_refspatial(tmp_path: Path) -> None:
    folder = write_refspatial_parquet(tmp_path)
    first, second = load_samples(folder, "location")
    assert isinstance(first.image, ParquetCell)
    assert first.targets[0].expressions == ("the square",)  # "object", not "prompt"
    assert [sample.targets[0].attributes for sample in (first, second)] == [
        (("step", "1"),),
        (("step", "2"),),
    ]
    for sample, truth in ((second, disc_mask()), (first, square_mask()), (second, disc_mask())):
        np.testing.assert_array_equal(sample.mask(sample.targets[0]), truth)
        assert read_rgb(sample).shape == (HEIGHT, WIDTH, 3)
    assert first.size_hw == (HEIGHT, WIDTH)
    assert fingerprint([first]) != fingerprint([second])


def test_every_split_at_once(tmp_path: Path) -> None:
    samples = load_samples(write_refspatial_parquet(tmp_path), "all")
    assert [dict(sample.targets[0].attributes)["split"] for sample in samples] == [
        "location",
        "location",
        "placement",
    ]


def test_splits_are_file_names(tmp_path: Path) -> None:
    folder = write_refspatial_parquet(tmp_path)
    reason = "unknown split 'train'; it has location, placement, and 'all' reads every one"
    with pytest.raises(ValueError, match=reason):
        load_samples(folder)
    (sample,) = load_samples(folder / "data" / "placement-00000-of-00001.parquet")
    assert "free space" in sample.targets[0].expressions[0]
    # A data set of one's own may lie beside parquet files.
    write_own(folder, own_entries())
    assert len(load_samples(folder, "train")) == 2


def test_pbench_has_several_instances_or_none(tmp_path: Path) -> None:
    samples = load_samples(write_pbench(tmp_path), "level_1")
    assert [sample.targets[0].kind for sample in samples] == ["several", "one", "none"]
    several, _, none = samples
    np.testing.assert_array_equal(several.mask(several.targets[0]), square_mask() | disc_mask())
    region = several.targets[0].region
    assert region is not None
    assert len(decode_instances(region, several.size_hw) or ()) == 2
    assert none.targets[0].region is None


def test_run_lengths_may_be_text(tmp_path: Path) -> None:
    """As Falcon-Perception's evaluation accepts them."""
    runs = [[json.dumps(encode(square_mask())), json.dumps(encode(disc_mask()))]]
    (sample,) = load_samples(table(tmp_path, mask=None, masks=runs))
    assert sample.targets[0].kind == "several"
    (sample,) = load_samples(table(tmp_path, mask=[json.dumps(encode(disc_mask()))]))
    np.testing.assert_array_equal(sample.mask(sample.targets[0]), disc_mask())


def test_a_fault_of_an_instance_is_that_row_s(tmp_path: Path) -> None:
    small = {"size": [4, 4], "counts": "44"}
    folder = write_pbench(tmp_path, [("a", [encode(disc_mask()), small]), ("b", [])])
    (problem,) = problems(folder, "level_0")
    assert "row 0: the mask is 4 x 4 px" in problem
    assert len(load_samples(folder, "level_0")) == 1


@pytest.mark.parametrize("name", ["sentence", "object", "question", "prompt", "caption"])
def test_texts_under_other_names(tmp_path: Path, name: str) -> None:
    folder = table(tmp_path, expression=None, **{name: ["square"], "question_type": ["free"]})
    (sample,) = load_samples(folder)
    assert sample.targets[0].expressions == ("square",)
    assert sample.targets[0].attributes == (("question_type", "free"),)


def test_several_texts(tmp_path: Path) -> None:
    (sample,) = load_samples(table(tmp_path, expression=None, sentences=[["square", "the box"]]))
    assert sample.targets[0].expressions == ("square", "the box")


def test_null_means_not_there(tmp_path: Path) -> None:
    folder = table(tmp_path, mask=pyarrow.array([None], pyarrow.binary()))
    (sample,) = load_samples(folder)
    assert sample.targets[0].region is None


def test_images_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encoded_image(tmp_path))
    (tmp_path / "m.png").write_bytes(png(disc_mask()))
    image, mask = ([{"bytes": None, "path": name}] for name in ("1.png", "m.png"))
    (sample,) = load_samples(table(tmp_path, image=image, mask=mask))
    np.testing.assert_array_equal(sample.mask(sample.targets[0]), disc_mask())


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"image": [{"bytes": None, "path": "../../../etc/passwd"}]}, "lies outside the folder"),
        ({"image": [{"bytes": None, "path": "gone.png"}]}, "gone.png cannot be read"),
        ({"image": [b"GIF89a"]}, "is not an image that can be read"),
        ({"image": [7]}, "its 'image' is int, expected an encoded image"),
        ({"image": pyarrow.array([None], pyarrow.binary())}, "its 'image' is null"),
        ({"expression": [""]}, "empty referring expression"),
        ({"expression": [5]}, "its 'expression' is not a text"),
        ({"mask": [png(np.ones((3, 3), np.bool_))]}, "is 3 x 3 px"),
        ({"mask": [b"\x89PNG"]}, "is not an image that can be read"),
        ({"mask": None, "masks": [[5]]}, "run lengths need 'size' and 'counts'"),
        ({"mask": None, "masks": [[None] * 5000]}, "5000 instances, accepted are up to 4096"),
        ({"mask": ["[" * 99]}, "nested deeper than 64 levels"),
    ],
)
def test_a_fault_is_that_row_s(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    (problem,) = problems(table(tmp_path, **columns))
    assert "test.parquet, row 0: " in problem
    assert reason in problem


def test_text_that_is_not_utf_8_is_that_row_s(tmp_path: Path) -> None:
    data = pyarrow.array([b"square", b"\xff\xfe"], pyarrow.binary())
    texts = pyarrow.Array.from_buffers(pyarrow.string(), 2, data.buffers())
    image = encoded_image(tmp_path)
    columns = {"image": [image] * 2, "expression": texts, "mask": [png(square_mask())] * 2}
    write_table(tmp_path / "test.parquet", columns)
    (problem,) = problems(tmp_path)
    assert "row 1: " in problem
    assert len(load_samples(tmp_path)) == 1


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column with the mask; accepted names: masks, mask"):
        load_samples(table(tmp_path, mask=None))
    with pytest.raises(ValueError, match=r"no column with the text; .* it has image, mask"):
        load_samples(table(tmp_path, expression=None))


def test_a_mask_in_a_cell_may_be_doubtful(tmp_path: Path) -> None:
    (problem,) = problems(table(tmp_path, mask=[png(np.ones((HEIGHT, WIDTH), np.bool_))]))
    assert "it covers 100 % of the image" in problem


def test_a_turned_photograph(tmp_path: Path) -> None:
    """Of stored and displayed size, that of the annotations counts."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    PIL.Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(path, exif=exif)
    data = path.read_bytes()
    path.unlink()
    (sample,) = load_samples(table(tmp_path, image=[data]))
    assert sample.size_hw == (HEIGHT, WIDTH)  # the mask's, which is as the image is stored
    (sample,) = load_samples(table(tmp_path, image=[data], mask=[png(square_mask().T)]))
    assert sample.size_hw == (WIDTH, HEIGHT)


def test_a_column_of_categories(tmp_path: Path) -> None:
    """As pandas writes texts that repeat."""
    texts = pyarrow.array(["square", "disc", "square"]).dictionary_encode()
    columns = {
        "image": [encoded_image(tmp_path)] * 3,
        "text": texts,
        "mask": [png(square_mask())] * 3,
    }
    write_table(tmp_path / "test.parquet", columns)
    assert [each.targets[0].expressions[0] for each in load_samples(tmp_path)] == [
        "square",
        "disc",
        "square",
    ]


@pytest.mark.threat("F2")
def test_large_pages_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    columns = {"image": [bytes(1 << 21)], "expression": ["a"], "mask": [b"x"]}
    write_table(folder / "test.parquet", columns, compression="zstd")
    assert (folder / "test.parquet").stat().st_size < 1 << 12
    (problem,) = problems(folder)
    assert "is not an image that can be read" in problem
    monkeypatch.setattr(parquet_pages, "MAX_PAGE_BYTES", 1 << 20)
    (problem,) = problems(folder)
    assert "row 0 and all after it" in problem
    assert "column image: a page of 2097156 bytes, accepted are up to 1048576" in problem


@pytest.mark.threat("F2")
def test_one_text_cannot_stand_for_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary holds it once, and a list of a row refers to it many times."""
    runs = {"size": [HEIGHT, WIDTH], "counts": "0" * (1 << 16)}
    folder = table(tmp_path, mask=None, masks=[[runs] * 40])
    assert (folder / "test.parquet").stat().st_size < 1 << 13
    (problem,) = problems(folder)
    assert "the run-length code covers" in problem
    monkeypatch.setattr(parquet_file, "MAX_VALUE_BYTES", 1 << 20)
    (problem,) = problems(folder)
    assert "row 0: 'masks' has 26220" in problem


@pytest.mark.threat("F2")
def test_a_page_of_too_many_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = table(tmp_path, mask=None, masks=[[None] * 3000])
    monkeypatch.setattr(parquet_pages, "MAX_PAGE_VALUES", 2999)
    (problem,) = problems(folder)
    assert "a page of 3000 values, accepted are up to 2999" in problem


@pytest.mark.threat("F2", "F3")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PAR1", "not a parquet file, or an incomplete one"),
        (b"PAR1" + bytes(8) + b"PARE", "not a parquet file, or an incomplete one"),
        (b"PAR1" + (1 << 31).to_bytes(4, "little") + b"PAR1", "a footer of 2147483648 bytes"),
        (
            b"PAR1" + b"\x19\xfc\xff\xff\xff\xff\x0f" + b"\x07\0\0\0PAR1",
            "a structure that is cut off",
        ),
        (b"PAR1" + b"\x1c" * 40 + b"\x28\0\0\0PAR1", "a structure that is nested too deep"),
    ],
)
def test_files_that_are_no_parquet(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "test.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        load_samples(tmp_path)
    assert "test.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.threat("F2", "F3")
def test_damaged_files(tmp_path: Path) -> None:
    """Each damage is reported, or does not matter; none ends the process."""
    rng = random.Random(0)
    (path,) = write_pbench(tmp_path / "whole").glob("data/level_0*")
    whole = path.read_bytes()
    damaged = tmp_path / "damaged" / "test.parquet"
    damaged.parent.mkdir()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 10))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(data if rng.random() < 0.8 else data[: rng.randrange(len(data))])
        with contextlib.suppress(ValueError):
            report = check(read_samples(damaged.parent))
            assert report.samples or report.problems
