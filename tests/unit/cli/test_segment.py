# SPDX-License-Identifier: Apache-2.0
"""``mllmseg segment`` on several images: what it reads, writes and says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mllmseg_ros.cli import main
from mllmseg_ros.cli.inputs import InputImages, split_words
from mllmseg_ros.sim.samples import FRAMES

MUG, BANANA = "the red mug", "the banana"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in ((0, "a.png"), (1, "b.png"), (2, "c.jpg")):
        bgr = cv2.imread(str(FRAMES / f"frame_{number}.png"))
        cv2.imwrite(str(folder / name), cv2.resize(bgr, (320, 240), interpolation=cv2.INTER_AREA))
    return folder


def write_video(path: Path, photos: Path, n_frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (320, 240))
    for number in range(n_frames):
        writer.write(cv2.imread(str(photos / ("a.png" if number < 2 else "b.png"))))
    writer.release()


def test_a_folder_to_masks_overlays_and_run_lengths(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    outputs = ["--masks", "masks", "-o", "overlays", "--json", "results.json"]
    assert main(["segment", "photos", MUG, BANANA, *outputs]) == 0
    printed = capsys.readouterr()
    assert f"photos/c.jpg: '{MUG}': FOUND" in printed.out
    assert "segmenting" in printed.err
    assert "3/3" in printed.err
    results = json.loads(Path("results.json").read_text())
    assert [(each["image"], each["expression"]) for each in results] == [
        (f"photos/{name}", expression)
        for name in ("a.png", "b.png", "c.jpg")
        for expression in (MUG, BANANA)
    ]
    for each in results:
        mask = cv2.imread(each["mask_file"], cv2.IMREAD_UNCHANGED)
        assert mask.shape == (240, 320)
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).sum() == each["area_px"]
        assert each["found"] == (each["expression"] == MUG)
        if each["found"]:
            np.testing.assert_array_equal(coco.decode(each["mask"]), mask > 0)
        else:
            assert each["mask"] is None
    assert sorted(path.name for path in Path("masks").iterdir()) == [
        f"{stem}_{name}.png" for stem in "abc" for name in ("the_banana", "the_red_mug")
    ]
    assert sorted(path.name for path in Path("overlays").iterdir()) == ["a.png", "b.png", "c.png"]


def test_every_kind_of_input(photos: Path) -> None:
    write_video(Path("drive.mp4"), photos, 4)
    words = ["photos/a.png", "photos/*.png", "photos", "drive.mp4", MUG]
    inputs, expressions = split_words(words)
    assert expressions == [MUG]
    images = InputImages(inputs)
    labels = [image.label for image in images]
    assert len(images) == len(labels) == 1 + 2 + 3 + 4
    assert labels[:4] == ["photos/a.png", "photos/a.png", "photos/b.png", "photos/a.png"]
    assert labels[-1] == "drive.mp4 frame 3"
    every = InputImages(inputs, 3)
    assert [image.label for image in every] == labels[::3]
    assert len(every) == len(labels[::3])
    assert InputImages([photos / "a.png"]).is_single
    assert not InputImages([photos]).is_single


def test_a_video_names_its_frames_and_their_times(photos: Path) -> None:
    write_video(Path("drive.mp4"), photos, 5)
    outputs = ["--masks", "masks", "--json", "results.json", "--every", "2"]
    assert main(["segment", "drive.mp4", MUG, *outputs]) == 0
    results = json.loads(Path("results.json").read_text())
    assert [(each["frame"], each["time_s"]) for each in results] == [(0, 0.0), (2, 0.2), (4, 0.4)]
    assert results[1]["mask_file"] == "masks/drive_000002_the_red_mug.png"
    assert results[0]["box_xyxy"] != results[1]["box_xyxy"]  # the scene has changed


def test_images_of_one_name_do_not_replace_each_other(photos: Path) -> None:
    Path("more").mkdir()
    shutil.copy(photos / "b.png", "more/a.png")
    assert main(["segment", "photos/a.png", "more/a.png", MUG, "--masks", "masks"]) == 0
    first, second = (cv2.imread(f"masks/a_the_red_mug{n}.png") for n in ("", "_2"))
    assert not np.array_equal(first, second)


def test_what_cannot_be_read_is_named_and_the_rest_is_done(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b.png").write_text("no image")
    assert main(["segment", "photos", MUG, "--json", "-"]) == 1
    printed = capsys.readouterr()
    assert [each["image"] for each in json.loads(printed.out)] == [
        "photos/a.png",
        "photos/c.jpg",
    ]
    assert "photos/b.png: ignored: photos/b.png is not an image" in printed.err
    assert "mllmseg: 1 images cannot be read, see above" in printed.err
    assert main(["segment", "photos/b.png", "photos/b.png", MUG, "--model", "none"]) == 1
    assert "none of the images can be read" in capsys.readouterr().err


def test_a_bag_is_not_for_this_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "monday.mcap").touch()
    assert main(["segment", str(tmp_path / "monday.mcap"), MUG]) == 1
    assert "a bag; use `mllmseg annotate" in capsys.readouterr().err
