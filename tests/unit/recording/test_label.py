# SPDX-License-Identifier: Apache-2.0
"""`mllmseg label` and what a person makes of it: only accepted labels are used for training."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
pytest.importorskip("av", reason="needs requirements/recordings.txt")
pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")

from recordings import FRAMES, sample_frames, write_bag

from mllmseg_ros.cli import main
from mllmseg_ros.data.dataset import load_samples
from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.review import LabelledSet, Review
from mllmseg_ros.geometry.instances import locate_instances
from mllmseg_ros.recording.label import split_inputs
from mllmseg_ros.recording.video import VideoWriter
from mllmseg_ros.segmenter import Segmenter, Status

EXPRESSIONS = ["the red mug", "the purple can"]
OPTIONS = ["--device", "cpu", "--dtype", "float32"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A bag of two images, a folder of two images, a video of two frames."""
    folder = tmp_path_factory.mktemp("recordings")
    image_folder = folder / "images"
    image_folder.mkdir()
    for index in (2, 3):
        shutil.copy(FRAMES / f"frame_{index}.png", image_folder)
    with closing(VideoWriter(folder / "video.mp4")) as video:
        for index, rgb in enumerate(sample_frames(2)):
            video.write(rgb, index * 100_000_000)
    return [write_bag(folder / "bag", sample_frames(2)), image_folder, folder / "video.mp4"]


@pytest.fixture(scope="module")
def labelled(recordings: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labelled") / "set"
    inputs = [str(path) for path in recordings]
    assert main(["label", *inputs, *EXPRESSIONS, "-o", str(out), *OPTIONS]) == 0
    return out


@pytest.fixture
def data(labelled: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(labelled, tmp_path / "set"))


def test_nothing_is_learnt_from_before_somebody_accepted_it(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"none of its 12 entries is accepted.*mllmseg review"):
        load_samples(data)
    assert main(["review", str(data), "--accept-sure"]) == 0
    entries = LabelledSet(data)
    n_accepted = entries.counts()["accepted"]
    assert n_accepted > 0
    assert sum(len(each.targets) for each in load_samples(data)) == n_accepted
    entries.reject(next(n for n in range(12) if entries.review(n) is Review.ACCEPTED))
    assert sum(len(each.targets) for each in load_samples(data)) == n_accepted - 1
    assert main(["data", "check", str(data)]) == 0
    assert "0 problems" in capsys.readouterr().out


def test_what_was_accepted_can_be_taught(
    data: Path, tmp_path: Path, random_checkpoint: Path
) -> None:
    pytest.importorskip("peft", reason="needs requirements/train.txt")
    from mllmseg_ros.train.adapt.adapt import adapt
    from mllmseg_ros.train.adapt.recipe import AdaptRecipe
    from mllmseg_ros.train.recipe import read_recipe

    LabelledSet(data).accept_sure()
    recipe = read_recipe(
        AdaptRecipe, "adapt", steps=1, images=2, expressions=2, evaluate_every=1, precision="fp32"
    )
    samples, run = load_samples(data), tmp_path / "run"
    adapt(run, random_checkpoint, samples, None, recipe, device="cpu", accept_worse=True)
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_labels_are_what_the_model_says(data: Path, embedded: Segmenter) -> None:
    entries = LabelledSet(data)
    for number in range(len(entries)):
        entries.accept(number)
    samples = load_samples(data)
    assert len(samples) == 6
    for sample, rgb in zip(samples, sample_frames(2), strict=False):  # the bag's
        for target, said in zip(sample.targets, embedded(rgb, EXPRESSIONS), strict=True):
            assert target.expressions == (said.expression,)
            assert (target.region is None) == (said.status is Status.NO_TARGET)
            if target.region is not None:
                parts = [one.segmentation.mask for one in locate_instances([said])]
                np.testing.assert_array_equal(sample.mask(target), np.any(parts, axis=0))
    stored = cv2.imread(str(samples[2].image))  # an image file is kept as it was
    np.testing.assert_array_equal(stored, cv2.imread(str(FRAMES / "frame_2.png")))


def test_a_reviewed_set_is_not_labelled_over(
    data: Path, recordings: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    LabelledSet(data).reject(0)
    before = (data / "annotations.jsonl").read_bytes()
    inputs = [str(path) for path in recordings]
    assert main(["label", *inputs, *EXPRESSIONS, "-o", str(data), *OPTIONS]) == 0
    assert main(["label", inputs[0], *EXPRESSIONS, "-o", str(data), *OPTIONS]) == 1
    assert "another recipe" in capsys.readouterr().err
    (data / "recipe.json").unlink()  # as if somebody else had made the set
    assert main(["label", *inputs, *EXPRESSIONS, "-o", str(data), *OPTIONS]) == 1
    assert "name another folder" in capsys.readouterr().err
    assert (data / "annotations.jsonl").read_bytes() == before


GARBAGE = [
    b"",
    b"\xff\xfe\n",
    b"0 0 {\n",
    b"0 0 " + b"[" * 100_000 + b"\n",
    b"0 0 []\n",
    b"-1 x {}\n",
    b"0 0 \x00\x00\x00\n",
]


def test_a_journal_survives_garbage_and_lost_images(
    labelled: Path,
    recordings: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As after a power cut or a bad sector: what is left of a run is used, the rest is redone."""
    out = tmp_path / "set"
    shutil.copytree(labelled, out)
    (out / "annotations.jsonl").unlink()  # it had not got that far
    journal = out / "answers.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6
    fields = json.loads(lines[1].split(b" ", 2)[2])
    fewer = {**fields, "located": [{**fields["located"][0], "instances": []}]}
    huge = {**fields, "size_hw": [10**6, 10**6]}
    other = {**fields, "stamp_ns": "soon"}
    garbage = [
        *GARBAGE,
        *(b"0 1 %s\n" % json.dumps(each).encode() for each in (fewer, huge, other)),
    ]
    unknown = [b"0 777 " + lines[1].split(b" ", 2)[2]]  # a result of an image that does not exist
    journal.write_bytes(b"".join([lines[0], *garbage, *unknown, *lines[2:5], lines[5][:50]]))
    images = sorted((out / "images").iterdir())
    images[2].unlink()
    images[3].write_bytes(b"")
    images[4].unlink()
    images[4].symlink_to(images[0])
    inputs = [str(path) for path in recordings]
    assert main(["label", *inputs, *EXPRESSIONS, "-o", str(out), *OPTIONS]) == 0
    assert f"{len(garbage) - 1} lines are not results of this run" in capsys.readouterr().err
    for path in (labelled / "annotations.jsonl", *(labelled / "images").iterdir()):
        assert (out / path.relative_to(labelled)).read_bytes() == path.read_bytes(), path
    n_lines = journal.read_bytes().count(b"\n")
    assert n_lines == 1 + len(garbage) - 1 + 1 + 3 + 5  # all but the first were redone or lost


def test_what_exists_is_an_input_and_all_else_an_expression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cup").mkdir()
    long = "the cup " * 40
    assert split_inputs(["cup", "the cup", "salt/pepper mill", long]) == (
        [Path("cup")],
        ["the cup", "salt/pepper mill", long],
    )
    for missing in ("walk.mcap", "images/today", "walk.mp4"):
        with pytest.raises(ValueError, match="no such file"):
            split_inputs([missing, "the cup"])


def test_a_person_redraws_and_takes_back(data: Path) -> None:
    entries = LabelledSet(data)
    first = entries[0]
    entries.redraw(0, [[10, 10, 50, 10, 50, 40], [60, 60, 70, 60, 70, 70]])
    there = LabelledSet(data)
    assert there.review(0) is Review.ACCEPTED
    mask = there.mask(0)
    assert mask[15, 40]
    assert not mask[35, 15]
    assert mask[62, 68]
    entries.redraw(0, [])
    assert LabelledSet(data)[0]["mask"] is None
    assert (entries.undo(), entries.undo(), entries.undo()) == (0, 0, None)
    assert LabelledSet(data)[0] == first


def test_a_person_keeps_one_piece_of_a_mask(data: Path) -> None:
    entries = LabelledSet(data)
    entries.redraw(0, [[10, 10, 50, 10, 50, 40, 10, 40], [60, 60, 90, 60, 90, 90, 60, 90]])
    before = (data / "annotations.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"there is no mask at \(55, 50\)"):
        entries.keep_piece(0, (55, 50))
    assert (data / "annotations.jsonl").read_bytes() == before
    entries.keep_piece(0, (20.7, 15.2))
    kept = LabelledSet(data)
    assert kept.review(0) is Review.ACCEPTED
    mask = kept.mask(0)
    assert mask[15, 20]
    assert not mask[55:, :].any()
    entries.undo()
    assert LabelledSet(data).mask(0)[70, 70]


@pytest.mark.parametrize(
    ("polygons", "said"),
    [
        ([[1, 1, 5, 5]], "a polygon of 4 numbers"),
        ([[0, 0, 9999, 0, 10, 10]], "outside the image"),
        ([[0, 0, float("nan"), 0, 10, 10]], "outside the image"),
        ([[1, 1, 9, 1, 5, 5]] * 65, "65 polygons"),
    ],
)
def test_an_invalid_polygon_changes_nothing(
    polygons: list[list[float]], said: str, data: Path
) -> None:
    before = (data / "annotations.jsonl").read_bytes()
    with pytest.raises(ValueError, match=said):
        LabelledSet(data).redraw(0, polygons)
    assert (data / "annotations.jsonl").read_bytes() == before


def test_a_review_that_nobody_knows_is_named(data: Path) -> None:
    path = data / "annotations.jsonl"
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([json.dumps({**json.loads(lines[0]), "review": "maybe"}), *lines[1:]])
    )
    with pytest.raises(ValueError, match=r"line 1.*'review' is 'maybe', accepted: sure, unsure"):
        load_samples(data)


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes a minute: MLLMSEG_SLOW=1")
def test_a_cluster_that_loses_a_worker_gives_what_one_process_gives(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs requirements/ray.txt")
    psutil = pytest.importorskip("psutil", reason="needs psutil, to find a worker")
    bag = write_bag(tmp_path / "long", sample_frames(6) * 24, depth=False)
    # Ray gives each worker one thread: the last bits of a sum depend on their number.
    import torch

    torch.set_num_threads(1)
    alone, together = tmp_path / "alone", tmp_path / "together"
    command = ["label", str(bag), *EXPRESSIONS, *OPTIONS]
    assert main([*command, "-o", str(alone)]) == 0
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        status: list[int] = []
        labelling = threading.Thread(
            target=lambda: status.append(main([*command, "-o", str(together), "--ray", "auto"]))
        )
        labelling.start()
        journal = together / "answers.jsonl"
        while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 40):
            assert labelling.is_alive()
            time.sleep(0.02)
        ours = psutil.Process().children(recursive=True)
        workers = [each for each in ours if "ClusterWorker" in " ".join(each.cmdline())]
        assert len(workers) == 2
        workers[0].kill()
        n_before = journal.read_bytes().count(b"\n")
        labelling.join(240)
        assert status == [0]
        assert n_before < 144 == journal.read_bytes().count(b"\n")
    finally:
        ray.shutdown()
    for name in ["annotations.jsonl", *(f"images/{p.name}" for p in (alone / "images").iterdir())]:
        assert (alone / name).read_bytes() == (together / name).read_bytes()


def test_a_phone_photo_is_labelled_and_redrawn_upright(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    upright = np.asarray(PIL.Image.open(FRAMES / "frame_0.png").convert("RGB"))
    (tmp_path / "phone").mkdir()
    PIL.Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(
        tmp_path / "phone" / "a.jpg", quality=95, exif=exif
    )
    out = tmp_path / "set"
    assert main(["label", str(tmp_path / "phone"), "the red mug", "-o", str(out), *OPTIONS]) == 0
    entries = LabelledSet(out)
    assert entries[0]["mask"]["size"] == [480, 640]
    rows, columns = np.nonzero(entries.mask(0))
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_allclose(box, (480, 291, 640, 441), atol=3)
    entries.redraw(0, [[482, 293, 630, 293, 630, 440, 482, 440]])
    (sample,) = load_samples(out)
    assert sample.mask(sample.targets[0]).mean() == pytest.approx(0.0708, abs=1e-4)
    assert np.abs(read_rgb(sample).astype(int) - upright).mean() < 5
