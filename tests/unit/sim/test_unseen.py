# SPDX-License-Identifier: Apache-2.0
"""The split of another renderer: its solids, its scenes and its sentences."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import mllmseg_ros
from mllmseg_ros.sim.random_scenes import SPLITS
from mllmseg_ros.sim.unseen.scenes import UNSEEN_FORMS, n_unseen_scenes, unseen_scene
from mllmseg_ros.sim.unseen.solids import ball, box, build_thing, rod, turned

SCENES = Path(mllmseg_ros.__file__).parent / "assets" / "unseen" / "scenes.json"


def test_the_sentences_are_frozen() -> None:
    # Do not change this hash with the file: figures would no longer be comparable.
    assert (
        hashlib.sha256(SCENES.read_bytes()).hexdigest()
        == "8986c1bb4513ef2f16101ac759049a71bfa7aef10c660d51181310852489e14a"
    )
    assert "unseen" not in SPLITS  # so nothing can be trained on it


def test_distances_to_solids() -> None:
    points = np.array([(0.1, 0, 0.05), (0, 0, 0.05), (0, 0.03, 0.2)], np.float32)
    cylinder = turned([(0, 0), (0.04, 0), (0.04, 0.1), (0, 0.1)])
    np.testing.assert_allclose(cylinder(points), [0.06, -0.04, 0.1], atol=1e-6)
    cube = box((0, 0, 0.05), (0.05, 0.05, 0.05), rounding=0.0)
    np.testing.assert_allclose(cube(points), [0.05, -0.05, 0.1], atol=1e-6)
    stick = rod((0, 0, 0), (0, 0, 0.1), 0.01)
    np.testing.assert_allclose(stick(points), [0.09, -0.01, np.hypot(0.03, 0.1) - 0.01], atol=1e-6)
    sphere = ball((0, 0, 0.05), (0.04, 0.04, 0.04))
    assert sphere(points)[0] > 0.03
    assert sphere(points)[2] > 0
    assert sphere(points[1:2] + np.float32(0.01))[0] < 0


def test_a_larger_thing_is_larger() -> None:
    small, large = (build_thing("cube", "red", "", "", size) for size in (1.0, 2.0))
    corner = np.array([(0.05, 0.0, 0.02)], np.float32)
    assert small.distance(corner)[0] > 0 > large.distance(corner)[0]
    assert large.height == 2 * small.height


def test_every_sentence_means_something_in_its_scene() -> None:
    scene = unseen_scene(0)
    assert scene.rgb.shape == (300, 400, 3)
    visible = set(np.unique(scene.instances)) - {0}
    assert visible == {1, 2, 3, 4}
    red = scene.rgb[scene.instances == 1].mean(axis=0)
    assert red[0] > 2 * max(red[1], red[2])
    by_text = {each.text: each for each in scene.sentences}
    assert by_text["red cup"].targets == (1,)
    assert by_text["everything except the plate"].targets == (1, 2, 4)
    assert by_text["a blue plate"].form == "no color"
    assert {each.form for each in scene.sentences} == set(UNSEEN_FORMS)
    assert all(bool(each.targets) == (each.form == "there") for each in scene.sentences)
    deep = scene.depth_m[scene.instances > 0]
    assert 0.5 < deep.min() < deep.max() < 2.0


def test_a_missing_scene_is_named() -> None:
    with pytest.raises(ValueError, match=f"scene is {n_unseen_scenes()}, expected 0 to 25"):
        unseen_scene(n_unseen_scenes())
