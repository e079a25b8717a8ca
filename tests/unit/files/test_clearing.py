# SPDX-License-Identifier: Apache-2.0
"""``--overwrite`` deletes the run in a folder, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mllmseg_ros.cli import main
from mllmseg_ros.files import FolderLock, clear_folder
from mllmseg_ros.sim.samples import FRAMES


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for name in ("model", "scenes"):
        (run / name).mkdir(parents=True)
        (run / name / "file").touch()
    (run / "recipe.json").touch()
    (run / "overlay_1.mp4").touch()
    return run


def clear(run: Path, **options: object) -> None:
    clear_folder(run, "recipe.json", ("model", "overlay*.mp4"), kept=("scenes",), **options)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_what_a_run_writes_is_deleted(run: Path, tmp_path: Path) -> None:
    (run / "model" / "link").symlink_to(tmp_path)
    clear(run, inputs=[tmp_path / "data"])
    assert names(tmp_path) == ["file", "run", "scenes"]
    clear(run.parent / "missing")


@pytest.mark.parametrize("case", ["another file", "no run", "in use", "an input", "a link"])
def test_anything_else_is_left_alone(case: str, run: Path, tmp_path: Path) -> None:
    folder, inputs, held = run, [tmp_path / "data"], None
    if case == "another file":
        (run / "thesis.tex").touch()
    elif case == "no run":
        (run / "recipe.json").unlink()
    elif case == "in use":
        held = FolderLock(run)
    elif case == "an input":
        inputs = [tmp_path / "data", run / "model"]
    else:
        folder = tmp_path / "link"
        folder.symlink_to(run)
    before = names(tmp_path)
    expected = {
        "another file": r"thesis.tex is of no such run; move it",
        "no run": "mllmseg has not written it, there is no recipe.json in it",
        "in use": "is in use by",
        "an input": "model is read from it",
        "a link": "is a symbolic link",
    }
    with pytest.raises(ValueError, match=expected[case]):
        clear(folder, inputs=inputs)
    assert names(tmp_path) == before
    if held is not None:
        held.close()


def test_a_labelled_set_is_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
    pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    shutil.copy(FRAMES / "frame_0.png", "photos")
    label = ["label", "photos", "-o", "set", "--device", "cpu"]
    assert main([*label, "the red mug"]) == 0
    capsys.readouterr()
    assert main([*label, "the bowl"]) == 1
    assert capsys.readouterr().err.endswith(
        "mllmseg: set holds a run with another recipe: expressions 'the red mug' there, "
        "'the bowl' here. Use its settings to resume it, another folder, or --overwrite\n"
    )
    Path("photos/notes.txt").touch()
    assert main([*label, "the bowl", "--overwrite"]) == 0
    assert '"the bowl"' in Path("set/annotations.jsonl").read_text()
    assert main(["label", "set/images", "the mug", "-o", "set", "--overwrite"]) == 1
    assert "set is not overwritten: set/images is read from it" in capsys.readouterr().err
