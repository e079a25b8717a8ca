# SPDX-License-Identifier: Apache-2.0
"""Rendering to disk and reading back. Skips where off-screen GL is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.dataset import SceneCache, render_dataset

SIZE = 56


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        TabletopCamera(16, 16).close()
    except RuntimeError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("scenes")
    render_dataset(folder, "validation", 0, 4, SIZE)
    return folder


def test_what_is_read_is_what_was_rendered(rendered: Path) -> None:
    cache = SceneCache(rendered)
    assert len(cache) == 4
    for index in range(4):
        assert cache.rgb(index).shape == (SIZE, SIZE, 3)
        assert cache.rgb(index).std() > 5
        areas = np.bincount(cache.instances(index).ravel(), minlength=12) / SIZE**2
        for thing in cache.objects(index):
            assert areas[thing.instance_id] == pytest.approx(thing.area_share, abs=0.006)


def test_an_interrupted_run_resumes_with_the_same_result(rendered: Path, tmp_path: Path) -> None:
    render_dataset(tmp_path, "validation", 0, 3, SIZE)
    lines = tmp_path / "00000" / "scenes.jsonl"
    text = lines.read_bytes()
    lines.write_bytes(text[:-40])  # the third scene's line is half written
    assert len(SceneCache(tmp_path)) == 2
    render_dataset(tmp_path, "validation", 0, 4, SIZE)
    whole, resumed = SceneCache(rendered), SceneCache(tmp_path)
    assert len(resumed) == 4
    for index in range(4):
        np.testing.assert_array_equal(whole.rgb(index), resumed.rgb(index))
        assert whole.objects(index) == resumed.objects(index)


def test_bad_use_is_named(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no rendered scenes"):
        SceneCache(tmp_path)
    with pytest.raises(ValueError, match="multiple of 1000"):
        render_dataset(tmp_path, "train", 10, 4)
    with pytest.raises(ValueError, match="expected uint8"):
        render_dataset(rendered, "validation", 0, 5, SIZE * 2)
