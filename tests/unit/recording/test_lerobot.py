# SPDX-License-Identifier: Apache-2.0
"""LeRobot data sets as recordings. The lerobot package 0.4.4 has made those of lerobot_sets/."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
pytest.importorskip("av", reason="needs requirements/recordings.txt")
pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")
pytest.importorskip("pyarrow", reason="needs requirements/lerobot.txt")

import pyarrow
import pyarrow.parquet
from with_lerobot import EPISODES, FPS, TASKS, image

from mllmseg_ros.cli import main
from mllmseg_ros.cli.inputs import InputImages
from mllmseg_ros.recording.lerobot import LeRobotSource
from mllmseg_ros.recording.recorded_image import RecordedImage
from mllmseg_ros.recording.source import open_source

SETS = Path(__file__).parent / "lerobot_sets"
FRONT, WRIST, TOP = (f"observation.images.{name}" for name in ("front", "wrist", "top"))
NUMBERS = [number for episode in EPISODES for number in episode]
OPTIONS = ["--device", "cpu", "--dtype", "float32"]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SETS / "videos", tmp_path / "videos"))


def change_info(folder: Path, **fields: Any) -> None:
    path = folder / "meta" / "info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_table(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    table = pyarrow.parquet.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, table.schema), path)


def check_shows(images: list[RecordedImage], numbers: list[int], atol: float) -> None:
    """Check that images show the sample frames of these numbers, as their video has them."""
    for recorded, number in zip(images, numbers, strict=True):
        rgb = recorded.decode().rgb
        expected = image(number, (rgb.shape[1], rgb.shape[0]))
        assert np.abs(rgb.astype(int) - expected).mean() <= atol


def decoded(source: LeRobotSource, every: int = 1) -> list[RecordedImage]:
    """Images whose frames are decoded while they can be."""
    images = []
    for each in source.images(every):
        frame = each.decode()
        images.append(
            RecordedImage(
                camera=each.camera,
                stamp_ns=each.stamp_ns,
                frame_id=each.frame_id,
                recorded_ns=each.recorded_ns,
                decode=lambda frame=frame: frame,
                find_depth=each.find_depth,
                encoded=each.encoded,
            )
        )
    return images


def test_frames_of_all_episodes_and_cameras_in_order() -> None:
    source = LeRobotSource(SETS / "videos", [FRONT, WRIST])
    images = decoded(source)
    assert source.expect_images(1) == len(images) == 14
    assert source.tasks == list(TASKS)
    check_shows(images[::2], NUMBERS, atol=6)
    check_shows(images[1::2], [number + 1 for number in NUMBERS], atol=6)
    assert {each.camera for each in images[::2]} == {"/observation/images/front"}
    assert {each.frame_id for each in images[1::2]} == {"wrist"}
    stamps = [each.stamp_ns for each in images[::2]]
    np.testing.assert_allclose(np.diff(stamps), 1e9 / FPS)
    assert all(each.decode().stamp_ns == each.stamp_ns for each in images)


def test_every_nth_frame_without_decoding_the_others() -> None:
    source = LeRobotSource(SETS / "videos", [WRIST, FRONT])
    images = decoded(source, every=3)
    assert source.expect_images(3) == len(images) == 6
    check_shows(images[1::2], NUMBERS[::3], atol=6)
    assert len(list(source.images(1))) == 14  # none is decoded


def test_images_of_tables_as_they_are_stored() -> None:
    images = decoded(LeRobotSource(SETS / "images"))
    check_shows(images, NUMBERS, atol=0)
    assert {each.encoded[1] for each in images if each.encoded} == {".png"}


def test_an_image_is_read_again_out_of_order() -> None:
    """As by the workers of a cluster, which take batches of images."""
    images = LeRobotSource(SETS / "videos", [FRONT]).images(1)
    first = next(images)
    frames = [each.decode().rgb for each in images]
    check_shows([first], [NUMBERS[0]], atol=6)
    assert len(frames) == 6


def write_version_2(folder: Path, version: str = "v2.1") -> Path:
    """Lay a data set out as before v3.0: a table and a video of its own for each episode."""
    source = LeRobotSource(SETS / "videos", [FRONT, WRIST])
    shutil.copytree(SETS / "videos" / "meta", folder / "meta")
    shutil.rmtree(folder / "meta" / "episodes")
    change_info(
        folder,
        codebase_version=version,
        data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    )
    table = pyarrow.parquet.read_table(SETS / "videos/data/chunk-000/file-000.parquet")
    lines = []
    for episode in source.episodes:
        first = 0 if episode.index == 0 else source.episodes[0].n_frames
        path = folder / f"data/chunk-000/episode_{episode.index:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(table.slice(first, episode.n_frames), path)
        for camera in (FRONT, WRIST):
            path = folder / f"videos/chunk-000/{camera}/episode_{episode.index:06d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            frames = [
                each.decode().rgb
                for each in LeRobotSource(SETS / "videos", [camera]).images(1)
                if first <= round((each.stamp_ns / 1e9 - 1) * FPS) < first + episode.n_frames
            ]
            write_video(path, frames)
        fields = {"episode_index": episode.index, "tasks": list(episode.tasks)}
        lines.append(json.dumps({**fields, "length": episode.n_frames}))
    (folder / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    import av

    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for rgb in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        file.mux(stream.encode(None))


@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
def test_data_sets_from_before_version_3(tmp_path: Path, version: str) -> None:
    source = LeRobotSource(write_version_2(tmp_path / "old", version), [FRONT, WRIST])
    images = decoded(source)
    assert source.tasks == list(TASKS)
    check_shows(images[::2], NUMBERS, atol=8)
    check_shows(images[1::2], [number + 1 for number in NUMBERS], atol=8)


def test_the_cache_of_the_hub_is_read_through_its_links(tmp_path: Path) -> None:
    """There, every file is a link into a folder beside the data set."""
    blobs, revision = tmp_path / "blobs", tmp_path / "snapshots" / "4f2a"
    blobs.mkdir()
    for number, path in enumerate(sorted((SETS / "videos").rglob("*.*"))):
        if path.is_file():
            link = revision / path.relative_to(SETS / "videos")
            link.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, blobs / f"{number}")
            link.symlink_to(blobs / f"{number}")
    check_shows(decoded(LeRobotSource(revision, [FRONT])), NUMBERS, atol=6)


def test_cameras_are_chosen_by_their_keys(videos: Path) -> None:
    with pytest.raises(ValueError, match=f"several cameras.*--cameras from: {FRONT}, {WRIST}"):
        open_source(videos)
    with pytest.raises(ValueError, match=f"no camera 'front'; available: {FRONT}, {WRIST}"):
        open_source(videos, cameras=["front"])
    with pytest.raises(ValueError, match="--topics is only for bags"):
        open_source(videos, topics=["/image"])
    with pytest.raises(ValueError, match="--cameras is only for LeRobot"):
        open_source(videos / "meta", cameras=[FRONT])
    with pytest.raises(ValueError, match="a LeRobot data set; use `mllmseg annotate"):
        InputImages([videos])
    features = json.loads((videos / "meta" / "info.json").read_text())["features"]
    features[WRIST]["info"] = {"video.is_depth_map": True}
    change_info(videos, features=features)
    assert open_source(videos).cameras == (FRONT,)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"codebase_version": "v1.6"}, r"'v1.6'; accepted: v2.0, v2.1 and v3.0"),
        ({"codebase_version": None}, r"'codebase_version' is 'None'"),
        ({"fps": 0}, "'fps' is 0.0; accepted: more than 0"),
        ({"fps": "fast"}, "'fps' is fast"),
        ({"features": []}, "'features' is no object"),
        ({"features": {"a": {"dtype": "video", "shape": [3]}}}, "feature 'a': 'shape'"),
        (
            {"features": {"a": {"dtype": "video", "shape": [10**6, 10**6, 3]}}},
            "images of 1000000 x 1000000 px",
        ),
        ({"features": {"../a": {"dtype": "video"}}}, "'../a' cannot be the name"),
        ({"features": {"action": {"dtype": "float32"}}}, "no feature with colour images"),
        ({"data_path": None}, "'data_path' is no template"),
        ({"data_path": "/etc/passwd"}, "'/etc/passwd', which leaves the folder"),
        ({"data_path": "data/../../{chunk_index}"}, "which leaves the folder"),
        ({"data_path": "{chunk_index:>999999999}"}, "which is no template"),
        ({"data_path": "{chunk_index.__class__}"}, "which is no template"),
        ({"video_path": "{secret}.mp4"}, r"'video_path' has \{secret\} in it"),
    ],
)
def test_what_the_metadata_may_not_say(videos: Path, fields: dict[str, Any], reason: str) -> None:
    change_info(videos, **fields)
    with pytest.raises(ValueError, match=reason) as caught:
        LeRobotSource(videos, [FRONT])
    assert "info.json" in str(caught.value) or "videos" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metadata_that_cannot_be_read(videos: Path) -> None:
    episodes = videos / "meta/episodes/chunk-000/file-000.parquet"
    whole = episodes.read_bytes()
    for content, reason in ((whole[:-8], "file-000.parquet: "), (b"", "file-000.parquet: ")):
        episodes.write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            LeRobotSource(videos, [FRONT])
    episodes.write_bytes(whole)
    change_table(episodes, lambda rows: rows[0].update(length=-4))
    with pytest.raises(ValueError, match="'length' is -4"):
        LeRobotSource(videos, [FRONT])
    shutil.copy(videos / "data/chunk-000/file-000.parquet", episodes)
    with pytest.raises(ValueError, match="no column 'data/chunk_index', 'data/file_index'"):
        LeRobotSource(videos, [FRONT])
    episodes.unlink()
    with pytest.raises(ValueError, match="no parquet file in meta/episodes"):
        LeRobotSource(videos, [FRONT])
    (videos / "meta/info.json").write_text("[" * 100)
    with pytest.raises(ValueError, match=r"info\.json: nested deeper than 64 levels"):
        LeRobotSource(videos, [FRONT])


def errors_of(source: LeRobotSource) -> list[str]:
    errors = []
    for each in source.images(1):
        try:
            each.decode()
            errors.append("")
        except ValueError as error:
            errors.append(str(error))
    return errors


def test_a_damaged_video_costs_its_own_frames(videos: Path) -> None:
    source = LeRobotSource(videos, [FRONT, WRIST])
    wrist = videos / f"videos/{WRIST}/chunk-000/file-000.mp4"
    whole = wrist.read_bytes()
    for content in (whole[:200], b"", b"#EXTM3U\n/etc/passwd\n", None):
        if content is None:
            wrist.unlink()
        else:
            wrist.write_bytes(content)
        errors = errors_of(source)
        assert errors[::2] == [""] * 7
        assert all("file-000.mp4" in error for error in errors[1::2])
    outside = videos.parent / "elsewhere.mp4"
    outside.write_bytes(whole)
    wrist.symlink_to(outside)
    assert "a link to a file outside the data set" in errors_of(source)[1]


def test_a_damaged_table_costs_its_own_episodes(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = videos / "data/chunk-000/file-000.parquet"
    change_table(table, lambda rows: rows[2].update(timestamp=7.5))
    errors = errors_of(LeRobotSource(videos, [FRONT]))
    assert [bool(error) for error in errors] == [number == 2 for number in range(7)]
    assert "no frame at 7.500 s" in errors[2]
    change_table(table, lambda rows: rows[3].update(episode_index=None))
    errors = errors_of(LeRobotSource(videos, [FRONT]))
    assert len(errors) == 7
    assert "column 'episode_index' lacks 1 values" in errors[6]
    table.write_bytes(b"PAR1" * 100)
    errors = errors_of(LeRobotSource(videos, [FRONT]))
    assert len(errors) == 7
    assert all("file-000.parquet: " in error for error in errors)
    table.unlink()
    with pytest.raises(ValueError, match=r"file-000\.parquet: no such file"):
        LeRobotSource(videos, [FRONT])


def test_episodes_that_were_not_downloaded_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_version_2(tmp_path / "old")
    (folder / "data/chunk-000/episode_000000.parquet").unlink()
    source = LeRobotSource(folder, [FRONT])
    assert "1 of 2 episodes are not there" in capsys.readouterr().err
    assert source.expect_images(1) == 3
    check_shows(decoded(source), NUMBERS[4:], atol=8)


def test_images_that_a_table_does_not_hold(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SETS / "images", tmp_path / "images"))

    def change(rows: list[dict[str, Any]]) -> None:
        rows[1][TOP] = {"bytes": None, "path": "/etc/passwd"}
        rows[2][TOP] = {"bytes": b"GIF89a", "path": None}

    change_table(folder / "data/chunk-000/file-000.parquet", change)
    errors = errors_of(LeRobotSource(folder))
    assert [bool(error) for error in errors] == [number in (1, 2) for number in range(7)]
    assert f"the image of {TOP!r} is not stored in the table" in errors[1]


def test_annotate_takes_the_tasks_for_expressions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen"
    arguments = ["annotate", str(SETS / "videos"), "--cameras", FRONT, WRIST, "-o", str(out)]
    assert main([*arguments, "--every", "4", *OPTIONS]) == 0
    assert "understood as 'pick: the red mug'" in capsys.readouterr().err
    assert (out / "overlay_observation_images_front.mp4").stat().st_size
    assert (out / "overlay_observation_images_wrist.mp4").stat().st_size
    with (out / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    asked = {"the red mug", "the banana", "the green bowl"}
    assert {row["expression"] for row in rows} == asked
    assert {row["camera"] for row in rows} == {
        "/observation/images/front",
        "/observation/images/wrist",
    }
    assert "FOUND" in {row["status"] for row in rows if row["expression"] == "the red mug"}


def test_too_many_tasks_to_look_for(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episodes = videos / "meta/episodes/chunk-000/file-000.parquet"
    change_table(episodes, lambda rows: rows[0].update(tasks=[f"the mug {n}" for n in range(17)]))
    assert main(["label", str(videos), "--cameras", FRONT, "-o", str(videos.parent / "out")]) == 1
    assert "18 tasks in the data set" in capsys.readouterr().err
