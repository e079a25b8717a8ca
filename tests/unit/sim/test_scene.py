# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mllmseg_ros.language.vocabulary import COLORS, KINDS
from mllmseg_ros.sim.expressions import draw_expressions
from mllmseg_ros.sim.objects import HELD_OUT
from mllmseg_ros.sim.random_scenes import SPLITS, random_scene
from mllmseg_ros.sim.samples import FRAMES, N_SAMPLES
from mllmseg_ros.sim.scene import Scene
from mllmseg_ros.sim.shapes import footprint_radius_m
from mllmseg_ros.sim.view import VisibleObject


def pairs(scene: Scene) -> set[tuple[str, str]]:
    return {(thing.color, thing.kind) for thing in scene.objects}


def test_a_seed_gives_one_scene_and_splits_never_share_one() -> None:
    assert random_scene(7, "train").objects == random_scene(7, "train").objects
    first = {split: random_scene(7, split).objects for split in SPLITS}
    assert len({str(objects) for objects in first.values()}) == len(SPLITS)


@pytest.mark.parametrize("index", range(N_SAMPLES))
def test_the_plain_test_split_stays_what_it_was(index: int) -> None:
    """The frames of the package are of it: drawn once, scenes and words must come out again."""
    fields = json.loads((FRAMES / f"frame_{index}.json").read_text())
    scene = random_scene(fields["seed"], "test")
    shown = [VisibleObject.from_dict(each) for each in fields["objects"]]
    assert [(each.kind, each.color, round(each.scale, 4)) for each in scene.objects] == [
        (each.kind, each.color, each.scale) for each in shown
    ]
    said = draw_expressions(shown, np.random.default_rng(fields["seed"]), 8)
    assert [(each.text, list(each.targets)) for each in said] == [
        (each["text"], each["targets"]) for each in fields["expressions"]
    ]


def test_held_out_pairs_occur_in_test_alone() -> None:
    assert all(color in COLORS and kind in KINDS for color, kind in HELD_OUT)
    for split in ("train", "validation"):
        assert not any(pairs(random_scene(seed, split)) & HELD_OUT for seed in range(300))
    share = np.mean([bool(pairs(random_scene(seed, "test")) & HELD_OUT) for seed in range(400)])
    assert 0.15 < share < 0.35


def test_objects_do_not_meet_and_stand_before_the_camera() -> None:
    for seed in range(60):
        scene = random_scene(seed)
        assert 3 <= len(scene.objects) <= 10
        for index, a in enumerate(scene.objects):
            for b in scene.objects[:index]:
                apart = math.dist(a.xy_m, b.xy_m)
                assert apart > footprint_radius_m(a) + footprint_radius_m(b)
            offset = np.array([*a.xy_m, 0.05]) - scene.camera.position_m
            assert (offset @ scene.camera.rotation)[2] > 0.15
        rotation = scene.camera.rotation
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert rotation[2, 1] < 0  # y points down


def test_two_sizes_of_a_kind_can_be_told_apart() -> None:
    scales: dict[str, list[float]] = {"small": [], "large": []}
    for seed in range(100):
        for thing in random_scene(seed).objects:
            scales[thing.size_name].append(thing.scale)
    assert min(scales["large"]) / max(scales["small"]) > 1.35


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 0, "split": "dev"}, "split is 'dev'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0, "n_objects": 11}, "n_objects is 11"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_scene(**arguments)
