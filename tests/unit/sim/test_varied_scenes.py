# SPDX-License-Identifier: Apache-2.0
"""Varied scenes: what is drawn, what a sensor makes of an image, patterns."""

from __future__ import annotations

import numpy as np
import pytest

from mllmseg_ros.language.vocabulary import CLUTTER, TOOL_KINDS, VARIED_KINDS
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.objects import HELD_OUT
from mllmseg_ros.sim.patterns import PATTERNS, pattern_mix
from mllmseg_ros.sim.random_scenes import TEST_SPLITS, random_scene
from mllmseg_ros.sim.sensor import Sensor, apply_sensor

CLEAN = {
    "gain": (1.0, 1.0, 1.0),
    "blur_px": 0.0,
    "motion_px": 0.0,
    "motion_rad": 0.0,
    "noise": 0.0,
    "jpeg_quality": 100,
    "seed": 0,
}


def test_kinds_and_held_out_pairs_stay_where_they_belong() -> None:
    for split in ("varied_train", "varied_validation", "varied_test", "workshop"):
        scenes = [random_scene(seed, split) for seed in range(200)]
        kinds = {thing.kind for scene in scenes for thing in scene.objects}
        pairs = {(thing.color, thing.kind) for scene in scenes for thing in scene.objects}
        assert bool(pairs & HELD_OUT) == (split in TEST_SPLITS), split
        if split == "workshop":
            assert kinds >= set(TOOL_KINDS)
        else:
            assert kinds == {*VARIED_KINDS, CLUTTER}


def test_a_step_edge_after_each_fault() -> None:
    rgb = np.zeros((480, 640, 3), np.uint8)
    rgb[:, 320:] = 200
    same = apply_sensor(rgb, Sensor(**CLEAN))
    assert np.abs(same.astype(int) - rgb).max() <= 3

    def edge(**fault: float) -> int:
        """Columns that are neither dark nor bright any more."""
        row = apply_sensor(rgb, Sensor(**{**CLEAN, **fault}))[240, :, 1]
        return int(np.sum((row > 20) & (row < 180)))

    assert edge(blur_px=2.0) >= 4
    assert 8 <= edge(motion_px=12.0) <= 14
    assert edge(motion_px=12.0, motion_rad=np.pi / 2) <= 1  # along the edge
    dim = apply_sensor(rgb, Sensor(**{**CLEAN, "gain": (0.5, 0.5, 1.0)}))[240, 500]
    np.testing.assert_allclose(dim, (100, 100, 200), atol=4)
    noisy = apply_sensor(rgb, Sensor(**{**CLEAN, "noise": 10.0}))[:, 400:].astype(float)
    assert 6 < noisy.std() < 12


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_mix_two_colours(pattern: str) -> None:
    mix = pattern_mix(pattern, 32, 1)
    assert mix.shape == (32, 32)
    assert mix.min() >= 0
    assert mix.max() <= 1
    assert (mix.std() > 0.05) == (pattern != "flat")


@pytest.mark.parametrize("split", ["varied_test", "workshop"])
def test_clutter_is_in_the_image_and_has_no_name(split: str) -> None:
    try:
        camera = TabletopCamera(160, 120)
    except RuntimeError as error:
        pytest.skip(str(error))
    with camera:
        for seed in range(6):
            camera.load(random_scene(seed, split))
            view = camera.render()
            assert view.rgb.std() > 5
            for thing in view.objects:
                assert not (thing.nameable and thing.kind == CLUTTER)
                if thing.nameable:
                    assert (view.instances == thing.instance_id).any()
