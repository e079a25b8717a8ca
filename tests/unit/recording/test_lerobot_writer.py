# SPDX-License-Identifier: Apache-2.0
"""Labels written into a copy of a LeRobot data set: masks as videos, boxes and points as columns.

That the lerobot package reads them: test_lerobot_package.py.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
pytest.importorskip("av", reason="needs requirements/recordings.txt")
pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")
pytest.importorskip("pyarrow", reason="needs requirements/lerobot.txt")

import av
import pyarrow.parquet
from test_lerobot import FRONT, SETS, TOP, WRIST, change_info, change_table, write_version_2
from with_lerobot import FPS

from mllmseg_ros.cli import main
from mllmseg_ros.data.review import LabelledSet, Review
from mllmseg_ros.recording.lerobot import LeRobotSource
from mllmseg_ros.recording.lerobot_features import Label, Statistics, aggregate, make_tracks
from mllmseg_ros.recording.lerobot_video import MaskVideo

MUG, BANANA = EXPRESSIONS = ("the red mug", "the banana")
PREFIXES = {MUG: "mllmseg.front.the_red_mug", BANANA: "mllmseg.front.the_banana"}
OPTIONS = ["--to", "lerobot", "--device", "cpu", "--dtype", "float32"]


def label(original: Path, out: Path, *options: str) -> int:
    arguments = ["label", str(original), *EXPRESSIONS, "-o", str(out), *options, *OPTIONS]
    return main(arguments)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second episode's images are in a video file of their own, from its beginning on."""
    folder = tmp_path_factory.mktemp("original") / "mugs"
    shutil.copytree(SETS / "videos", folder)
    (folder / "README.md").write_text("recorded by hand\n")
    (folder / ".cache").mkdir()
    videos = folder / "videos" / FRONT / "chunk-000"
    frames = list(decode(videos / "file-000.mp4", "rgb24"))[4:]
    with av.open(str(videos / "file-001.mp4"), "w") as file:
        stream: Any = file.add_stream("libx264", rate=FPS, options={"crf": "10"})
        stream.height, stream.width = frames[0].shape[:2]
        for rgb in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        file.mux(stream.encode(None))
    place = {"file_index": 1, "from_timestamp": 0.0, "to_timestamp": 0.3}
    fields = {f"videos/{FRONT}/{name}": value for name, value in place.items()}
    change_table(
        folder / "meta/episodes/chunk-000/file-000.parquet", lambda rows: rows[1].update(fields)
    )
    return folder


@pytest.fixture(scope="module")
def written(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("written") / "masks"
    before = digests(original)
    assert label(original, out, "--cameras", FRONT) == 0
    assert digests(original) == before
    return out


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "masks"))


def decode(path: Path, pixel_format: str) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format=pixel_format) for frame in file.decode(video=0)]


def masks_of(folder: Path, prefix: str) -> list[NDArray[np.bool_]]:
    """The masks in the videos of a feature, each exactly black and white."""
    frames = []
    for path in sorted((folder / "videos" / f"{prefix}.mask").rglob("*.mp4")):
        for rgb in decode(path, "rgb24"):
            assert set(np.unique(rgb)) <= {0, 255}
            assert (rgb == rgb[..., :1]).all()
            frames.append(rgb[..., 0] == 255)
    return frames


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows = pyarrow.parquet.read_table(folder / "data/chunk-000/file-000.parquet").to_pylist()
    return list(rows)


def check_holds(folder: Path, labels: LabelledSet) -> None:
    """Check that masks and columns are what the labels say, of one camera."""
    rows = rows_of(folder)
    masks = {expression: masks_of(folder, prefix) for expression, prefix in PREFIXES.items()}
    assert len(labels) == 2 * len(rows) == 2 * len(masks[MUG]) == 2 * len(masks[BANANA])
    for number in range(len(labels)):
        entry = labels[number]
        prefix, row = PREFIXES[entry["expression"]], number // 2
        rejected = labels.review(number) is Review.REJECTED
        expected = labels.mask(number) & (not rejected)
        np.testing.assert_array_equal(masks[entry["expression"]][row], expected)
        values = {name: rows[row][f"{prefix}.{name}"] for name in ("box", "point", "found")}
        assert values["found"] == expected.any()
        assert rows[row][f"{prefix}.review"] == entry["review"]
        assert rows[row][f"{prefix}.score"] == pytest.approx(entry["score"])
        if not expected.any():
            assert values["box"] == [-1] * 4
            assert values["point"] == [-1] * 2
            continue
        v, u = np.nonzero(expected)
        assert values["box"] == [u.min(), v.min(), u.max() + 1, v.max() + 1]
        assert expected[int(values["point"][1]), int(values["point"][0])]


def test_masks_and_columns_are_the_labels(written: Path) -> None:
    labels = LabelledSet(written)
    check_holds(written, labels)
    assert sum(labels.mask(number).any() for number in range(len(labels))) > 3


def test_everything_else_is_as_in_the_original(original: Path, written: Path) -> None:
    before, after = digests(original), digests(written)
    for name, digest in before.items():
        if name.startswith("videos/") or name in ("meta/tasks.parquet", "README.md"):
            assert after[name] == digest, name
    for row, new in zip(rows_of(original), rows_of(written), strict=True):
        assert {key: new[key] for key in row} == row
    info, new_info = (json.loads((f / "meta/info.json").read_text()) for f in (original, written))
    features = new_info.pop("features")
    assert {key: features[key] for key in info["features"]} == info.pop("features")
    assert new_info == info


def test_features_places_and_statistics_are_declared(written: Path) -> None:
    features = json.loads((written / "meta/info.json").read_text())["features"]
    mask = features[f"{PREFIXES[MUG]}.mask"]
    assert (mask["dtype"], mask["shape"]) == ("video", [240, 320, 3])
    assert mask["info"]["mllmseg.expression"] == MUG
    assert mask["info"]["video.codec"] == "h264"
    box = features[f"{PREFIXES[MUG]}.box"]
    assert (box["dtype"], box["shape"], box["names"]) == ("float32", [4], ["x0", "y0", "x1", "y1"])
    episodes = pyarrow.parquet.read_table(written / "meta/episodes/chunk-000/file-000.parquet")
    key = f"{PREFIXES[MUG]}.mask"
    names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    places = [[row[f"videos/{key}/{name}"] for name in names] for row in episodes.to_pylist()]
    assert places == [[0, 0, 0.0, 0.4], [0, 1, 0.0, 0.3]]  # as in the original
    masks = np.array(masks_of(written, PREFIXES[MUG]))
    stats = json.loads((written / "meta/stats.json").read_text())[key]
    assert stats["count"] == [7]
    assert np.shape(stats["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(stats["mean"]), masks.mean())
    np.testing.assert_allclose(np.ravel(stats["std"]), masks.std())
    of_first = episodes.to_pylist()[0]
    np.testing.assert_allclose(np.ravel(of_first[f"stats/{key}/mean"]), masks[:4].mean())
    boxes = np.array([row[f"{PREFIXES[MUG]}.box"] for row in rows_of(written)])[:4]
    np.testing.assert_allclose(of_first[f"stats/{PREFIXES[MUG]}.box/max"], boxes.max(axis=0))


def test_the_masks_are_no_cameras_of_the_new_data_set(written: Path) -> None:
    source = LeRobotSource(written, [FRONT])
    assert set(source.metadata.sizes_hw) == {FRONT, WRIST}
    assert len(list(source.images(1))) == 7


def test_what_a_person_decides_is_written_by_the_same_command(
    original: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = LabelledSet(copy)
    mugs = [n for n in range(len(labels)) if labels[n]["expression"] == MUG]
    labels.reject(mugs[0])
    labels.redraw(mugs[1], [[10, 10, 50, 10, 50, 40]])
    labels.redraw(mugs[2], [])
    results = (copy / "answers.jsonl").read_bytes()
    assert label(original, copy, "--cameras", FRONT) == 0
    assert "then this command again" in capsys.readouterr().out
    assert (copy / "answers.jsonl").read_bytes() == results
    check_holds(copy, LabelledSet(copy))
    reviews = [row[f"{PREFIXES[MUG]}.review"] for row in rows_of(copy)]
    assert reviews[:3] == ["rejected", "accepted", "accepted"]


def test_a_data_set_without_labels_is_not_reviewed(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", str(copy), "--accept-sure"]) == 0
    assert "newly accepted" in capsys.readouterr().out
    assert main(["review", str(SETS / "videos")]) == 1
    assert "a LeRobot data set without labels; `mllmseg label" in capsys.readouterr().err


def test_frames_without_a_label_are_named(
    original: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (copy / "annotations.jsonl").read_text().splitlines()
    broken = json.loads(lines[2])
    broken["mask"] = {"size": [5, 5], "counts": "0"}
    kept = [lines[0], lines[1], json.dumps(broken), *lines[4:]]
    (copy / "annotations.jsonl").write_text("\n".join(kept) + "\n")
    assert label(original, copy, "--cameras", FRONT) == 0
    assert "images/000_000001, 'the red mug': " in capsys.readouterr().err
    row = rows_of(copy)[1]
    assert [row[f"{prefix}.review"] for prefix in PREFIXES.values()] == ["missing"] * 2
    assert row[f"{PREFIXES[MUG]}.found"] is False
    assert not masks_of(copy, PREFIXES[MUG])[1].any()
    assert rows_of(copy)[2][f"{PREFIXES[MUG]}.review"] != "missing"


def test_an_incomplete_copy_is_no_data_set(
    original: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = Path(shutil.copytree(original, tmp_path / "changed" / "mugs"))
    table = changed / "data/chunk-000/file-000.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[:-20])
    before = digests(copy)
    assert label(changed, copy, "--cameras", FRONT) == 1
    assert digests(copy) == before
    table.write_bytes(whole)
    change_table(table, lambda rows: rows.__delitem__(slice(0, 4)))
    assert label(changed, copy, "--cameras", FRONT) == 1
    assert digests(copy) == before
    assert "no row of episode 0 in it" in capsys.readouterr().err
    table.write_bytes(whole)
    (tmp_path / "secret").write_text("secret")
    (changed / "README.md").unlink()
    (changed / "README.md").symlink_to(tmp_path / "secret")
    assert label(changed, copy, "--cameras", FRONT) == 1
    assert "secret" not in (copy / "README.md").read_text()
    assert not (copy / "meta/info.json").exists()
    (changed / "README.md").unlink()
    assert label(changed, copy, "--cameras", FRONT) == 0
    check_holds(copy, LabelledSet(copy))
    assert not list(copy.glob(".*.partial"))


def test_links_in_the_output_are_not_followed(original: Path, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = copy / "videos" / f"{PREFIXES[MUG]}.mask"
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path / "elsewhere")
    assert label(original, copy, "--cameras", FRONT) == 1
    assert not list((tmp_path / "elsewhere").iterdir())


def test_images_in_tables_get_masks_too(tmp_path: Path) -> None:
    out = tmp_path / "masks"
    assert label(SETS / "images", out, "--cameras", TOP) == 0
    for row, new in zip(rows_of(SETS / "images"), rows_of(out), strict=True):
        assert {key: new[key] for key in row} == row
    labels = LabelledSet(out)
    masks = masks_of(out, "mllmseg.top.the_red_mug")
    mugs = [n for n in range(len(labels)) if labels[n]["expression"] == MUG]
    for number, mask in zip(mugs, masks, strict=True):
        np.testing.assert_array_equal(mask, labels.mask(number))


def test_what_cannot_be_written(
    original: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(inputs: Path, out: Path, reason: str, *options: str) -> None:
        assert label(inputs, out, *options, *(() if "--cameras" in options else CAMERA)) == 1
        assert reason in capsys.readouterr().err

    CAMERA = ("--cameras", FRONT)
    out = tmp_path / "out"
    frames = Path(__file__).parents[3] / "mllmseg_ros" / "assets" / "frames"
    refuse(frames, out, "--to lerobot accepts one input, a LeRobot data set")
    refuse(original, out, "--every is 2; --to lerobot labels every frame", "--every", "2")
    refuse(original, original / "masks", "the original is not changed; name another folder")
    refuse(original, original.parent, "the original is not changed; name another folder")
    old = write_version_2(tmp_path / "old")
    refuse(old, out, "format v2.1; --to lerobot needs v3.0: convert a copy with `python -m lerobot")
    refuse(original, old, "meta was not written by mllmseg; name another folder")
    part = Path(shutil.copytree(SETS / "videos", tmp_path / "part"))
    change_info(part, data_path="rows/file-{file_index:03d}.parquet")
    shutil.copytree(part / "data/chunk-000", part / "rows")
    refuse(part, out, "--to lerobot expects this file in data/")
    assert not out.exists()


def test_overwrite_deletes_the_copy_and_nothing_else(original: Path, copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    assert label(original, copy, "--cameras", FRONT, "--overwrite") == 1
    assert (copy / "meta/info.json").is_file()
    (copy / "notes.txt").unlink()
    (copy / "videos" / "old").mkdir()
    assert label(original, copy, "--cameras", FRONT, "--overwrite") == 0
    assert not (copy / "videos" / "old").exists()
    check_holds(copy, LabelledSet(copy))


def test_names_of_features_are_short_and_unique() -> None:
    expressions = ["The red mug!", "the red  mug", "杯子", "die Tür", "a" * 100]
    tracks = make_tracks({FRONT: (4, 6)}, expressions, ["mllmseg.front.die_t_r.mask"])
    assert [track.prefix for track in tracks] == [
        "mllmseg.front.the_red_mug",
        "mllmseg.front.the_red_mug_2",
        "mllmseg.front.expression",
        "mllmseg.front.die_t_r_2",
        f"mllmseg.front.{'a' * 40}",
    ]


@pytest.mark.parametrize("size_hw", [(48, 64), (33, 75), (1, 1)])
def test_videos_of_masks_are_lossless(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    masks = np.random.default_rng(0).random((25, *size_hw)) < 0.5
    masks[3], masks[4] = False, True
    with closing(MaskVideo(tmp_path / "a.mp4", size_hw, 29.97)) as video:
        for mask in masks:
            video.write(mask)
    frames = decode(tmp_path / "a.mp4", "rgb24")
    np.testing.assert_array_equal(frames, np.repeat(masks[..., None], 3, axis=-1) * np.uint8(255))


def test_statistics_of_masks_are_those_of_their_pixels() -> None:
    (track,) = make_tracks({FRONT: (20, 30)}, [MUG], [])
    masks = np.random.default_rng(1).random((9, 20, 30)) < 0.4
    statistics = Statistics(track)
    for number, mask in enumerate(masks):
        one = Label(mask=mask, score=0.5, review="sure")
        statistics.add(number // 4, one, one.columns())
    statistics.finish()
    assert [statistics.episodes[n][track.mask_key]["count"] for n in range(3)] == [[4], [4], [1]]
    first = statistics.episodes[0][track.mask_key]
    for name, quantile in (("q10", 0.1), ("q50", 0.5), ("q90", 0.9)):
        assert np.ravel(first[name])[0] == np.quantile(masks[:4], quantile, method="nearest")
    whole = aggregate([each[track.mask_key] for each in statistics.episodes.values()])
    assert whole["count"] == [9]
    np.testing.assert_allclose(np.ravel(whole["mean"]), masks.mean())
    np.testing.assert_allclose(np.ravel(whole["std"]), masks.std())
    boxes = [each[f"{track.prefix}.box"] for each in statistics.episodes.values()]
    assert aggregate(boxes)["max"] == np.max([each["max"] for each in boxes], axis=0).tolist()
