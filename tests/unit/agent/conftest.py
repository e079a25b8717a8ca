# SPDX-License-Identifier: Apache-2.0
"""The embedded model, and a folder with one image."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import mllmseg_ros.segmenter
from mllmseg_ros.segmenter import Segmenter

FRAMES = Path(mllmseg_ros.segmenter.__file__).parent / "assets" / "frames"


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained(device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "left").mkdir(parents=True)
    shutil.copy(FRAMES / "frame_0.png", folder / "left" / "1.png")
    return folder
