# SPDX-License-Identifier: Apache-2.0
"""The lerobot package makes the data sets that are read here, and reads those that are written.

It runs in an environment of its own, whose Python MLLMSEG_LEROBOT_PYTHON names: ``make lerobot``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")
pytest.importorskip("pyarrow", reason="needs requirements/lerobot.txt")

import with_lerobot
from with_lerobot import EPISODES, SIZES_PX, TASKS, image

from mllmseg_ros.cli import main
from mllmseg_ros.data.review import LabelledSet
from mllmseg_ros.recording.lerobot import LeRobotSource

PYTHON = os.environ.get("MLLMSEG_LEROBOT_PYTHON", "")
EXPRESSIONS = ("the red mug", "the banana")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="needs the lerobot package: make lerobot"),
]


def run_package(*arguments: str | Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "LD_PRELOAD"))
    }
    command = [PYTHON, with_lerobot.__file__, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["videos", "images"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / request.param
    run_package("make", folder, request.param)
    return folder


def test_what_the_package_records_is_read(original: Path) -> None:
    sizes_px = SIZES_PX[original.name]
    source = LeRobotSource(original, [f"observation.images.{name}" for name in sizes_px])
    assert source.tasks == list(TASKS)
    numbers = [number for episode in EPISODES for number in episode]
    images = iter(source.images(1))
    for number in numbers:
        for shift, size_px in enumerate(sizes_px.values()):
            rgb = next(images).decode().rgb
            assert np.abs(rgb.astype(int) - image(number + shift, size_px)).mean() < 6
    assert next(images, None) is None


def test_the_package_reads_what_is_written(original: Path, tmp_path: Path) -> None:
    out, cameras = tmp_path / "masks", list(SIZES_PX[original.name])
    keys = [f"observation.images.{name}" for name in cameras]
    arguments = ["label", str(original), *EXPRESSIONS, "--cameras", *keys, "-o", str(out)]
    assert main([*arguments, "--to", "lerobot", "--device", "cpu", "--dtype", "float32"]) == 0
    labels = LabelledSet(out)
    labels.redraw(0, [[10, 10, 50, 10, 50, 40]])
    assert main([*arguments, "--to", "lerobot", "--device", "cpu", "--dtype", "float32"]) == 0

    for folder in (original, out):
        run_package("read", folder, tmp_path / f"{folder.name}.npz")
    before = np.load(tmp_path / f"{original.name}.npz")
    after = np.load(tmp_path / "masks.npz")
    for key in before.files:
        np.testing.assert_array_equal(after[key], before[key])
    labels = LabelledSet(out)
    assert len(labels) == 7 * len(cameras) * len(EXPRESSIONS)
    for number in range(len(labels)):
        entry, mask = labels[number], labels.mask(number)
        row, camera = divmod(int(Path(entry["image"]).stem[-6:]), len(cameras))
        prefix = f"mllmseg.{cameras[camera]}.{entry['expression'].replace(' ', '_')}"
        np.testing.assert_array_equal(after[f"{prefix}.mask"][row], [mask] * 3)
        assert after[f"{prefix}.found"][row] == mask.any()
        assert after[f"{prefix}.review"][row] == entry["review"]
        v, u = np.nonzero(mask)
        box = (u.min(), v.min(), u.max() + 1, v.max() + 1) if len(u) else (-1,) * 4
        np.testing.assert_array_equal(after[f"{prefix}.box"][row], box)
    assert labels[0]["review"] == "accepted"
