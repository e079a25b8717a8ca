# SPDX-License-Identifier: Apache-2.0
"""Scenes written as a data set are read back as what they are."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="needs pycocotools (requirements/train.txt)")

from mllmseg_ros.data.dataset import load_samples
from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.region import decode
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.export import export_scenes
from mllmseg_ros.sim.random_scenes import random_scene


def test_what_is_exported_is_the_scene(tmp_path: Path) -> None:
    try:
        n = export_scenes(tmp_path / "out", "validation", 3, 2, n_expressions=8)
    except RuntimeError as error:
        pytest.skip(str(error))
    samples = load_samples(tmp_path / "out", "validation")
    assert len(samples) == 2
    assert n == sum(len(sample.targets) for sample in samples)
    with TabletopCamera() as camera:
        camera.load(random_scene(4, "validation"))
        view = camera.render()
    second = samples[1]
    np.testing.assert_array_equal(read_rgb(second), view.rgb)
    depth = cv2.imread(str(tmp_path / "out" / "depth" / "000004.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(depth / 1000, view.depth_m, atol=5.1e-4)
    instances = {thing.instance_id: view.instances == thing.instance_id for thing in view.objects}
    for target in second.targets:
        if target.region is not None:
            mask = decode(target.region, second.size_hw)
            inside = [one for one in instances.values() if (mask & one).any()]
            np.testing.assert_array_equal(mask, np.any(inside, axis=0))
    truth = [json.loads(line) for line in (tmp_path / "out" / "truth.jsonl").open()]
    assert truth[1]["objects"] == json.loads(json.dumps([o.to_dict() for o in view.objects]))
    np.testing.assert_allclose(truth[1]["K"], view.K)
    with pytest.raises(ValueError, match="is not empty"):
        export_scenes(tmp_path / "out", "validation", 0, 1)


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of train, validation, test"):
        export_scenes(tmp_path, "tests", 0, 1)
    with pytest.raises(ValueError, match="expected 1 or more"):
        export_scenes(tmp_path, "test", 0, 0)
