# SPDX-License-Identifier: Apache-2.0
"""A prepared folder cannot make the programs write anything outside of it.

Each program runs in a folder with symbolic links under all names that it, or an earlier version of
it, writes. The files that the links point to stay as they are, whether the program succeeds or says
in one line what is wrong. Of two programs in one folder, the second gets an error that names the
first.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("pycocotools", reason="needs requirements/train.txt")

from mllmseg_ros.checkpoints.conversion import convert_checkpoint
from mllmseg_ros.checkpoints.integrity import read_sums, write_sums
from mllmseg_ros.checkpoints.loading import load_model, save_model
from mllmseg_ros.cli import main
from mllmseg_ros.data.region import encode
from mllmseg_ros.data.review import LabelledSet
from mllmseg_ros.data.run_folder import check_resume_config
from mllmseg_ros.drawing.image_file import write_image
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.train.adapt.rehearsal import render_rehearsal_set
from mllmseg_ros.train.feature_cache import FeatureCache
from mllmseg_ros.train.run_state import RunState
from mllmseg_ros.train.tabletop.embedded import new_checkpoint
from mllmseg_ros.train.training_log import TrainingLog

pytestmark = pytest.mark.threat("F4", "F5")

ROOT = Path(__file__).parents[2]
FRAME = ROOT / "mllmseg_ros" / "assets" / "frames" / "frame_2.png"
OPTIONS = ["--device", "cpu", "--dtype", "float32"]


@dataclass(frozen=True)
class Home:
    """What belongs to the user, outside the folder: a file, and a folder with files."""

    file: Path
    folder: Path
    nothing: Path  # where no file is

    def link(self, folder: Path, *names: str) -> None:
        """Put links to the file into a folder, and dangling ones with "?" before the name."""
        for name in names:
            path = folder / name.removeprefix("?")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(self.nothing if name.startswith("?") else self.file)

    def is_untouched(self) -> bool:
        contents = {path.name: path.read_text() for path in self.folder.iterdir()}
        return (
            self.file.read_text() == "mine"
            and not self.nothing.exists()
            and contents == {"config.json": "{}", "model.safetensors": "", "done.txt": "mine"}
        )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    (folder / "done.txt").write_text("mine")
    home = Home(tmp_path / "bashrc", folder, tmp_path / "authorized_keys")
    home.file.write_text("mine")
    yield home
    assert home.is_untouched()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    new_checkpoint(folder, ["the red mug left of the bowl:"] * 20, seed=3)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A labelled set of two images, one entry each."""
    folder = tmp_path / "set"
    folder.mkdir()
    lines = []
    for name in ("0.png", "1.png"):
        image = np.full((24, 32, 3), 90, np.uint8)
        image[4:20, 6:20] = (40, 40, 200)
        cv2.imwrite(str(folder / name), image)
        mask = (image == (40, 40, 200)).all(axis=2)
        entry = {"image": name, "expression": "the mug", "mask": encode(mask), "review": "sure"}
        lines.append(json.dumps(entry) + "\n")
    (folder / "annotations.jsonl").write_text("".join(lines))
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """The last line on stderr says what is wrong, and there is no traceback."""
    err = capsys.readouterr().err
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("mllmseg: "), err
    assert all(word in last for word in words), last


# Review


def test_review_replaces_links(home: Home, data: Path) -> None:
    home.link(data, "annotations.jsonl.partial", ".annotations.jsonl.partial", "?x.partial")
    assert main(["review", str(data), "--accept-sure"]) == 0
    assert LabelledSet(data).counts()["accepted"] == 2
    assert not (data / "annotations.jsonl").is_symlink()


def test_review_of_a_linked_file_writes_a_file_of_its_own(
    home: Home, data: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared.jsonl"
    (data / "annotations.jsonl").rename(shared)
    before = shared.read_bytes()
    (data / "annotations.jsonl").symlink_to(shared)
    assert main(["review", str(data), "--accept-sure"]) == 0
    assert shared.read_bytes() == before
    assert LabelledSet(data).counts()["accepted"] == 2


def test_a_lock_that_is_a_link_is_named(
    home: Home, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.link(data, ".mllmseg.lock")
    assert main(["review", str(data), "--accept-sure"]) == 1
    refusal(capsys, ".mllmseg.lock is a symbolic link")


# Recordings


def label(out: Path, source: Path, checkpoint: Path) -> int:
    pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
    command = ["label", str(source), "the mug", "-o", str(out), "--model", str(checkpoint)]
    return main([*command, *OPTIONS])


def annotate(out: Path, source: Path, checkpoint: Path) -> int:
    pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
    pytest.importorskip("av", reason="needs requirements/recordings.txt")
    command = ["annotate", str(source), "the mug", "-o", str(out), "--model", str(checkpoint)]
    return main([*command, *OPTIONS])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "walk"
    folder.mkdir()
    shutil.copy(FRAME, folder)
    return folder


def test_label_replaces_links(home: Home, tmp_path: Path, source: Path, checkpoint: Path) -> None:
    out = tmp_path / "out"
    home.link(out, "annotations.jsonl.partial", "recipe.json.partial", "?recipe.json")
    home.link(out, "?annotations.jsonl", "images/000_000000.png", "?images/000_000000.jpg")
    assert label(out, source, checkpoint) == 0
    assert (out / "images" / "000_000000.png").read_bytes() == FRAME.read_bytes()
    for name in ("annotations.jsonl", "recipe.json", "images/000_000000.png"):
        assert not (out / name).is_symlink()


@pytest.mark.parametrize("name", ["answers.jsonl", "?answers.jsonl"])
def test_a_journal_is_never_a_link(
    home: Home,
    tmp_path: Path,
    source: Path,
    checkpoint: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for run in (label, annotate):
        out = tmp_path / run.__name__
        home.link(out, name)
        assert run(out, source, checkpoint) == 1
        refusal(capsys, "answers.jsonl is a symbolic link")


def test_images_are_not_labelled_into_another_folder(
    home: Home, tmp_path: Path, source: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "images").symlink_to(home.folder)
    assert label(tmp_path / "out", source, checkpoint) == 1
    refusal(capsys, "images is a symbolic link, accepted is a folder")


def test_annotate_replaces_links(
    home: Home, tmp_path: Path, source: Path, checkpoint: Path
) -> None:
    out = tmp_path / "out"
    home.link(out, "recipe.json.partial", "overlay.mp4", "?answers.csv", "?recipe.json")
    (out / "partial").symlink_to(home.folder)  # where an earlier version wrote
    assert annotate(out, source, checkpoint) == 0
    for name in ("overlay.mp4", "answers.csv", "bag/bag.mcap", "recipe.json"):
        assert (out / name).stat().st_size
        assert not (out / name).is_symlink()


# Training


def adapt(run: Path, data: Path, checkpoint: Path) -> int:
    pytest.importorskip("peft", reason="needs requirements/train.txt")
    keep = data.with_name("keep")
    shutil.copytree(data, keep, dirs_exist_ok=True)
    command = ["adapt", str(data), str(run), "--keep", str(keep), "--steps", "1", "--accept-worse"]
    return main([*command, "--model", str(checkpoint), "--device", "cpu"])


def test_adapt_replaces_links(home: Home, data: Path, tmp_path: Path, checkpoint: Path) -> None:
    LabelledSet(data).accept_sure()
    run = tmp_path / "run"
    home.link(run, "recipe.json.partial", "best.json.partial", "state.partial", "?best.json")
    home.link(run, "report.json", "?before_after.png", "best/model.safetensors.partial")
    home.link(run, "best/config.json", "best/tokenizer.json", "?best/model.safetensors")
    home.link(run, "before_after/0000_the_mug.png", "?state.safetensors", "?recipe.json")
    (run / "model.partial").symlink_to(home.folder)  # where an earlier version wrote
    assert adapt(run, data, checkpoint) == 0
    assert Segmenter.from_pretrained(run / "model", device="cpu") is not None
    for name in ("report.json", "before_after.png", "best/config.json", "best.json"):
        assert (run / name).stat().st_size
        assert not (run / name).is_symlink(), name


@pytest.mark.parametrize("name", ["best", "model", "before_after", "tensorboard"])
def test_adapt_writes_into_no_linked_folder(
    home: Home,
    data: Path,
    tmp_path: Path,
    checkpoint: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name == "tensorboard":
        pytest.importorskip("tensorboard", reason="needs requirements/train.txt")
    LabelledSet(data).accept_sure()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(home.folder)
    assert adapt(tmp_path / "run", data, checkpoint) == 1
    refusal(capsys, f"{name} is a symbolic link, accepted is a folder")


def test_a_log_is_never_a_link(home: Home, tmp_path: Path) -> None:
    for name in ("log.jsonl", "?log.jsonl"):
        home.link(tmp_path / name[0], name)
        with pytest.raises(ValueError, match=r"log\.jsonl is a symbolic link"):
            TrainingLog(tmp_path / name[0]).write({"loss": 1.0})


@pytest.mark.parametrize("name", ["", "train"])
def test_rehearsal_deletes_nothing_elsewhere(home: Home, tmp_path: Path, name: str) -> None:
    pytest.importorskip("mujoco", reason="needs requirements/sim.txt")
    simulated = tmp_path / "run" / "simulated"
    (simulated / name).parent.mkdir(parents=True, exist_ok=True)
    (simulated / name).symlink_to(home.folder)
    with pytest.raises(ValueError, match="is a symbolic link, accepted is a folder"):
        render_rehearsal_set(simulated)


def test_checkpoints_of_a_run_replace_links(home: Home, tmp_path: Path, checkpoint: Path) -> None:
    class NoOptimisers:
        def tensors(self) -> dict[str, torch.Tensor]:
            return {}

    home.link(tmp_path, "state.partial", "?state.safetensors")
    state = RunState(tmp_path / "state.safetensors", {"a": torch.ones(2)}, NoOptimisers())  # type: ignore[arg-type]
    state.save(3)
    assert torch.equal(load_file(tmp_path / "state.safetensors")["trained.a"], torch.ones(2))
    model = load_model(checkpoint, torch.device("cpu"), torch.float32)
    home.link(tmp_path / "model", "model.safetensors.partial", "model.safetensors")
    save_model(model, tmp_path / "model", torch.float16)
    assert len(load_file(tmp_path / "model" / "model.safetensors")) > 100
    (tmp_path / "linked").symlink_to(home.folder)
    with pytest.raises(ValueError, match="linked is a symbolic link"):
        save_model(model, tmp_path / "linked", torch.float16)


def test_feature_caches_replace_links(home: Home, tmp_path: Path, checkpoint: Path) -> None:
    model = Segmenter.from_pretrained(checkpoint, device="cpu", dtype="float32").model
    squares = torch.full((1, 224, 224, 3), 7, dtype=torch.uint8)
    cache = FeatureCache(tmp_path / "features", model, torch.float32)
    wanted = cache.encode_vision(squares)
    (path,) = cache.folder.rglob("*.safetensors")
    home.link(path.parent, f"{path.stem}.{os.getpid()}.partial")
    for content in (None, b"", b"not safetensors"):  # lost, or broken
        path.unlink()
        if content is None:
            path.symlink_to(home.nothing)
        else:
            path.write_bytes(content)
        again = cache.encode_vision(squares)
        assert all(torch.equal(a, b) for a, b in zip(wanted, again, strict=True))
        assert not path.is_symlink()
    shutil.rmtree(path.parent)
    path.parent.symlink_to(home.folder)
    with pytest.raises(ValueError, match="is a symbolic link, accepted is a folder"):
        cache.encode_vision(squares)


def test_recipes_replace_links(home: Home, tmp_path: Path) -> None:
    home.link(tmp_path / "run", "recipe.json.partial", "?recipe.json")
    check_resume_config(tmp_path / "run", {"seed": 1})
    assert json.loads((tmp_path / "run" / "recipe.json").read_text()) == {"seed": 1}
    assert not (tmp_path / "run" / "recipe.json").is_symlink()


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", "{", "\xff"])
def test_a_broken_recipe_is_one_line(
    data: Path, tmp_path: Path, content: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LabelledSet(data).accept_sure()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(content, encoding="latin-1")
    assert adapt(tmp_path / "run", data, checkpoint) == 1
    refusal(capsys, "recipe.json")


def test_rendered_scenes_are_not_links(home: Home, tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="needs requirements/sim.txt")
    from mllmseg_ros.sim.dataset import render_dataset

    for name in ("rgb.npy", "?rgb.npy", "?instances.npy", "scenes.jsonl", "?scenes.jsonl"):
        out = tmp_path / f"scenes{name}"
        home.link(out / "00000", name)
        try:
            with pytest.raises(ValueError, match=f"{name.strip('?')} is a symbolic link"):
                render_dataset(out, "train", 0, 1)
        except RuntimeError:
            pytest.skip("no off-screen OpenGL")


# Checkpoints


def test_convert_replaces_links(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    home.link(folder, "model.partial", "model.safetensors", "?model-00002-of-00002.safetensors")
    home.link(folder, "model.safetensors.index.json", "model-00002-of-00002.partial")
    for name in ("pytorch_model", "pytorch_model-00002-of-00002"):
        torch.save({name: torch.ones(3)}, folder / f"{name}.bin")
    for path in convert_checkpoint(folder):
        assert not path.is_symlink()
        assert path.stat().st_mode & 0o077 == 0o066 & ~umask() & 0o077  # for other users too


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_checksums_replace_links(home: Home, tmp_path: Path) -> None:
    home.link(tmp_path / "model", "SHA256SUMS.partial", "?SHA256SUMS")
    write_sums(tmp_path / "model", {"a": "0" * 64}, "owner/name@commit")
    assert read_sums(tmp_path / "model" / "SHA256SUMS") == {"a": "0" * 64}


# Files that the user names


def test_outputs_replace_links(home: Home, data: Path, tmp_path: Path) -> None:
    LabelledSet(data).accept_sure()
    home.link(data, "sheet.png", "?other.png")
    for name in ("sheet.png", "other.png"):
        assert main(["data", "check", str(data), "-o", str(data / name)]) == 0
        assert cv2.imread(str(data / name)) is not None
        assert not (data / name).is_symlink()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("sheet.xyz", "sheet.xyz: not the name of an image"),
        ("no/folder.png", "no/folder.png: there is no folder"),
        ("folder.png", "folder.png is a folder; name a file in it"),
    ],
)
def test_an_output_that_cannot_be_written_is_named(
    data: Path, path: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    LabelledSet(data).accept_sure()
    (data / "folder.png").mkdir()
    assert main(["data", "check", str(data), "-o", str(data / path)]) == 1
    refusal(capsys, said)
    assert [name for name in os.listdir(data) if "partial" in name] == []


def test_an_image_is_written_whole(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", rgb)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], rgb)


# Two programs in one folder


@pytest.fixture
def hold() -> Iterator[object]:
    """Starts another process that holds a folder; returns its process id."""
    holders: list[subprocess.Popen[str]] = []

    @functools.cache
    def start(folder: Path) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        code = (
            "import sys; from pathlib import Path; from mllmseg_ros.files import FolderLock\n"
            f"lock = FolderLock(Path({str(folder)!r}))\n"
            "print('held', flush=True); sys.stdin.read()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        return holder.pid

    yield start
    for holder in holders:
        holder.kill()
        holder.wait()


def test_the_second_program_gets_an_error_that_names_the_first(
    hold,
    data: Path,
    source: Path,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("accelerate", reason="needs requirements/train.txt")
    LabelledSet(data).accept_sure()
    run = tmp_path / "run"
    shutil.copytree(checkpoint, tmp_path / "pickled")
    torch.save({"a": torch.ones(1)}, tmp_path / "pickled" / "pytorch_model.bin")
    tabletop = ["train", "tabletop", str(run), "--scenes", str(tmp_path)]
    res = ["train", "res", str(run), "--from", str(checkpoint), "--data", str(data)]
    for folder, command in (
        (data, lambda: main(["review", str(data), "--accept-sure"])),
        (data, lambda: main(["review", str(data), "--port", "0"])),
        (tmp_path / "labelled", lambda: label(tmp_path / "labelled", source, checkpoint)),
        (tmp_path / "annotated", lambda: annotate(tmp_path / "annotated", source, checkpoint)),
        (tmp_path / "adapted", lambda: adapt(tmp_path / "adapted", data, checkpoint)),
        (run, lambda: main(tabletop)),
        (run, lambda: main(res)),
        (tmp_path / "pickled", lambda: main(["convert", str(tmp_path / "pickled")])),
    ):
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        process = hold(folder)
        assert command() == 1
        refusal(capsys, f"{folder} is in use by '-c' (process {process})")
        after = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        assert after.keys() - before.keys() <= {folder / ".mllmseg.lock"}
        assert all(after[path] == before[path] for path in before)


def test_the_second_renderer_gets_an_error_that_names_the_first(
    hold, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mujoco", reason="needs requirements/sim.txt")
    for folder, command in (
        (tmp_path / "exported", ["sim", "export", str(tmp_path / "exported"), "--scenes", "1"]),
        (tmp_path / "out" / "train", ["sim", "render", str(tmp_path / "out"), "--scenes", "1"]),
    ):
        process = hold(folder)
        assert main(command) == 1
        refusal(capsys, f"{folder} is in use by '-c' (process {process})")
    process = hold(tmp_path / "simulated")
    with pytest.raises(ValueError, match=rf"in use by '-c' \(process {process}\)"):
        render_rehearsal_set(tmp_path / "simulated")


def test_a_killed_program_holds_nothing(hold, data: Path) -> None:
    holder = hold(data)
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert main(["review", str(data), "--accept-sure"]) == 0
    assert sorted(path.name for path in data.iterdir()) == ["0.png", "1.png", "annotations.jsonl"]


def test_a_second_review_of_a_set_gets_an_error_that_names_the_first(data: Path) -> None:
    pytest.importorskip("aiohttp", reason="needs requirements/console.txt")
    command = [sys.executable, "-m", "mllmseg_ros.cli", "review", str(data), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert "http://" in first.stdout.readline()
        second = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        assert second.returncode == 1
        assert f"{data} is in use by '__main__.py review' (process {first.pid})" in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1
    finally:
        first.kill()
        first.wait()
