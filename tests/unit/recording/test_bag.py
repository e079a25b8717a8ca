# SPDX-License-Identifier: Apache-2.0
"""`mllmseg annotate`: what the bag says is what the model says, whatever happens on the way."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
pytest.importorskip("av", reason="needs requirements/recordings.txt")
pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")

from recordings import DISTANCE_M, FIRST_NS, FRAME_ID, FRAMES, STEP_NS, sample_frames, write_bag
from rosbags.rosbag2 import Reader

from mllmseg_ros.cli import main
from mllmseg_ros.codecs.images import nanoseconds, rgb_from_compressed
from mllmseg_ros.codecs.segmentations import segmentation_from_message
from mllmseg_ros.geometry.instances import locate_instances
from mllmseg_ros.recording.bag import BagSource
from mllmseg_ros.recording.bag_types import typestore
from mllmseg_ros.recording.source import open_source
from mllmseg_ros.segmenter import Segmenter, Status

ROOT = Path(__file__).parents[3]
CAMERA = "/camera/color/image_raw"
ASKED = ["pick: the red mug", "the green bowl", "the purple can"]
EXPRESSIONS = ["the red mug", "the green bowl", "the purple can"]
OPTIONS = ["--device", "cpu", "--dtype", "float32"]
N = 5


def messages(bag: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Time and bytes of every message, by topic."""
    found = defaultdict(list)
    with Reader(bag) as reader:
        for connection, recorded_ns, data in reader.messages():
            found[connection.topic].append((recorded_ns, bytes(data)))
    return found


def read(kind: str, data: bytes) -> Any:
    return typestore().deserialize_cdr(data, kind)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "answers.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bag") / "kitchen", sample_frames(N))


@pytest.fixture(scope="module")
def run(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    assert main(["annotate", str(bag), *ASKED, "-o", str(out), *OPTIONS]) == 0
    return out


def test_every_answer_is_the_models_and_the_old_messages_are_kept(
    bag: Path, run: Path, embedded: Segmenter
) -> None:
    old, new = messages(bag), messages(run / "bag")
    assert {topic: new[topic] for topic in old} == old
    answers = new[f"{CAMERA}/mllmseg/segmentations"]
    masks = new[f"{CAMERA}/mllmseg/mask/compressed"]
    assert [recorded_ns for recorded_ns, _ in answers] == [ns for ns, _ in old[CAMERA]]
    for index, ((_, data), (_, mask_data), rgb) in enumerate(
        zip(answers, masks, sample_frames(N), strict=True)
    ):
        message = read("mllmseg_ros/msg/SegmentationArray", data)
        assert nanoseconds(message.header.stamp) == FIRST_NS + index * STEP_NS
        assert (message.header.frame_id, message.intent) == (FRAME_ID, "pick")
        truth = locate_instances(embedded(rgb, EXPRESSIONS))
        size_hw = rgb.shape[:2]
        union = np.zeros(size_hw, np.bool_)
        assert len(message.segmentations) == len(truth)
        for entry, said in zip(message.segmentations, truth, strict=True):
            expected = said.segmentation
            there = segmentation_from_message(entry, size_hw)
            assert (there.expression, there.status) == (expected.expression, expected.status)
            assert there.score == pytest.approx(expected.score, abs=1e-6)
            assert entry.role == ("pick" if said.expression_index == 0 else "")
            if expected.status is not Status.NO_TARGET:
                np.testing.assert_array_equal(there.mask, expected.mask)
                union |= expected.mask
            has_depth = expected.status is Status.FOUND and index < N - 1
            assert entry.has_position == has_depth
            assert not has_depth or entry.position.z == pytest.approx(DISTANCE_M)
        drawn = rgb_from_compressed(read("sensor_msgs/msg/CompressedImage", mask_data))
        np.testing.assert_array_equal(drawn[..., 0] > 0, union)
    assert "no depth image has the stamp" in message.text  # the last one's was not recorded


def test_the_table_and_the_video_show_the_same(run: Path) -> None:
    rows = table(run)
    assert {row["number"] for row in rows} == {str(index) for index in range(N)}
    found = [row for row in rows if row["status"] == "FOUND"]
    assert {row["z_m"] for row in found if row["number"] != str(N - 1)} == {f"{DISTANCE_M:.4f}"}
    assert all(row["track_id"] for row in found)
    assert all(float(row["distance_m"]) > DISTANCE_M for row in found if row["z_m"])
    video = cv2.VideoCapture(str(run / "overlay.mp4"))
    shown = []
    while True:
        there, bgr = video.read()
        if not there:
            break
        shown.append(bgr[..., ::-1])
    assert len(shown) == N
    (_, data), *_ = messages(run / "bag")[f"{CAMERA}/mllmseg/overlay/compressed"]
    overlay = rgb_from_compressed(read("sensor_msgs/msg/CompressedImage", data))
    assert np.abs(shown[0].astype(int) - overlay).mean() < 8


def test_the_table_and_the_bag_say_why_something_is_not_found(bag: Path, tmp_path: Path) -> None:
    out, reason = tmp_path / "out", "mllmseg-tabletop was not trained on 'zyzzyva'"
    assert main(["annotate", str(bag), "the zyzzyva", "-o", str(out), *OPTIONS]) == 0
    rows = table(out)
    assert rows
    assert all(reason in row["note"] for row in rows)
    (_, data), *_ = messages(out / "bag")[f"{CAMERA}/mllmseg/segmentations"]
    message = read("mllmseg_ros/msg/SegmentationArray", data)
    assert [entry.doubt for entry in message.segmentations] == [reason]


def test_a_killed_run_resumes_to_the_same_files(bag: Path, run: Path, tmp_path: Path) -> None:
    """Killed while the model looks, in the middle of a line, and while the outputs are written."""
    out = tmp_path / "out"
    command = ["annotate", str(bag), *ASKED, "-o", str(out), *OPTIONS]
    killed = subprocess.Popen(
        [sys.executable, "-m", "mllmseg_ros.cli", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    journal, deadline = out / "answers.jsonl", time.monotonic() + 60
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 2):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[0][: len(lines[0]) // 2])
    shutil.rmtree(out / "bag", ignore_errors=True)
    left = out / f".bag.{'0' * 16}.partial" / "bag"
    left.mkdir(parents=True)
    (left / "bag.mcap").write_bytes(b"half")
    assert main(command) == 0
    assert files(out) == files(run)
    assert main(command) == 0  # nothing to do
    assert files(out) == files(run)


def test_a_journal_with_garbage_gives_the_same_files(
    bag: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(run, out)
    shutil.rmtree(out / "bag")
    journal = out / "answers.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[1], lines[3] = b"\0" * 4096 + b"\n", b"0 3 {}\n"
    journal.write_bytes(b"".join(lines))
    assert main(["annotate", str(bag), *ASKED, "-o", str(out), *OPTIONS]) == 0
    assert "2 lines are not results of this run" in capsys.readouterr().err
    for path in (out, run):
        assert (path / "bag" / "metadata.yaml").is_file()
    different = {name for name, content in files(run).items() if files(out)[name] != content}
    assert different <= {"answers.jsonl"}


def test_another_question_is_not_mixed_into_a_run(
    bag: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(run)
    assert main(["annotate", str(bag), "the spoon", "-o", str(run), *OPTIONS]) == 1
    assert "another recipe" in capsys.readouterr().err
    assert files(run) == before


def test_sqlite_compressed_images_and_two_models(
    tmp_path: Path, random_checkpoint: Path, embedded: Segmenter
) -> None:
    bag = write_bag(
        tmp_path / "old", sample_frames(4), storage="sqlite3", compressed=True, depth=False
    )
    out = tmp_path / "out"
    options = ["--every", "3", "--compare", str(random_checkpoint), *OPTIONS]
    assert main(["annotate", str(bag), *EXPRESSIONS, "-o", str(out), *options]) == 0
    assert (out / "bag" / "bag.db3").is_file()
    new = messages(out / "bag")
    assert len(new[f"{CAMERA}/mllmseg/segmentations"]) == 2
    assert len(new[f"{CAMERA}/mllmseg_compare/segmentations"]) == 2
    rows = table(out)
    assert [row["expression"] for row in rows] == EXPRESSIONS * 2
    other = Segmenter.from_pretrained(random_checkpoint, device="cpu", dtype="float32")
    (_, data), *_ = messages(bag)[f"{CAMERA}/compressed"]
    rgb = rgb_from_compressed(read("sensor_msgs/msg/CompressedImage", data))
    both = [each(rgb, EXPRESSIONS[:1])[0] for each in (embedded, other)]
    parts = [locate_instances([each]) for each in both]
    a, b = (
        np.any([one.segmentation.mask for one in own], axis=0)
        & (said.status is not Status.NO_TARGET)
        for own, said in zip(parts, both, strict=True)
    )
    iou = (a & b).sum() / (a | b).sum() if (a | b).any() else 1.0
    assert float(rows[0]["iou"]) == pytest.approx(iou, abs=1e-4)
    # Its own answers are no further cameras, and are not kept beside new ones.
    assert [each.name for each in BagSource(out / "bag").cameras] == [CAMERA]
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_WIDTH) == 2 * rgb.shape[1]


def test_of_a_truncated_mcap_what_is_readable_is_used(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (bag / "kitchen.mcap").read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    images = list(open_source(cut).images(1))
    assert 0 < len(images) < N
    np.testing.assert_array_equal(images[0].decode().rgb, sample_frames(1)[0])
    assert "truncated" in capsys.readouterr().err


@pytest.mark.parametrize("every", [1, 2])
def test_a_recording_tells_how_many_images_there_will_be(
    bag: Path, run: Path, tmp_path: Path, every: int
) -> None:
    """What the time left is computed from."""
    for number in range(3):
        shutil.copy(FRAMES / "frame_0.png", tmp_path / f"{number}.png")
    for path in (bag, run / "overlay.mp4", tmp_path):
        source = open_source(path)
        assert source.expect_images(every) == len(list(source.images(every))) > 1


def test_depth_of_another_frame_is_brought_over_by_the_bags_transforms(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", sample_frames(3), depth_frame_id="depth_frame")
    image = next(BagSource(bag).images(1))
    depth = image.find_depth(image.decode())
    assert depth is not None
    # The depth camera is 0.1 m behind the colour camera.
    assert np.nanmedian(depth.metres) == pytest.approx(DISTANCE_M - 0.1, abs=1e-3)


def test_transforms_stamped_years_ahead_do_not_hold_up_those_that_follow(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", sample_frames(4), depth_frame_id="depth_frame", moves=True)
    for index, image in enumerate(list(BagSource(bag).images(1))[:3]):
        depth = image.find_depth(image.decode())
        assert depth is not None
        expected_m = DISTANCE_M - 0.1 * (index + 1)
        assert np.nanmedian(depth.metres) == pytest.approx(expected_m, abs=1e-3)


def broken(tmp_path: Path, kind: str) -> list[str]:
    """Arguments that name a recording which cannot be used."""
    path = tmp_path / kind
    if kind == "nothing":
        return [str(path)]
    if kind == "ros1.bag":
        path.write_bytes(b"#ROSBAG V2.0\n")
    elif kind in ("text.mcap", "text.mp4", "notes.txt"):
        path.write_text("these are words\n" * 20)
    elif kind == "empty_folder":
        path.mkdir()
    elif kind == "cut.db3":
        write_bag(tmp_path / "bag", sample_frames(2), storage="sqlite3")
        whole = (tmp_path / "bag" / "bag.db3").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "no_images":
        write_bag(path, [])
    else:
        write_bag(path, sample_frames(1))
        return [str(path), "--topics", "/elsewhere"]
    return [str(path)]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nothing", "no such file"),
        ("ros1.bag", "rosbags-convert"),
        ("text.mcap", "not a complete ROS 2 bag"),
        ("text.mp4", "not a video"),
        ("notes.txt", "accepted: a rosbag2 folder"),
        ("empty_folder", "no image in it"),
        ("cut.db3", ".recover"),
        ("no_images", "no topic with colour images; /camera/color/image_raw has no message"),
        ("other_topic", f"no colour images on /elsewhere; available: {CAMERA}"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_can(
    kind: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = broken(tmp_path, kind)
    arguments = ["annotate", where[0], "the red mug", *where[1:], "-o", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert said in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
