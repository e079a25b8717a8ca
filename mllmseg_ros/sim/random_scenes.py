# SPDX-License-Identifier: Apache-2.0
"""Random scenes of the splits; the same (split, seed) gives the same scene everywhere.

``train``, ``validation`` and ``test`` are the plain tabletop; for the ``varied_`` splits and
``workshop`` see :mod:`mllmseg_ros.sim.varied_scenes`, for the ``wide_`` ones
:mod:`mllmseg_ros.sim.wide_scenes`.
"""

from __future__ import annotations

import math

import numpy as np

from mllmseg_ros.language.vocabulary import COLORS, KINDS
from mllmseg_ros.sim.objects import HELD_OUT, SceneObject, random_object
from mllmseg_ros.sim.placement import place_objects, random_camera
from mllmseg_ros.sim.scene import Scene
from mllmseg_ros.sim.surroundings import dull_rgb, random_lights, random_mats, random_surface
from mllmseg_ros.sim.varied_scenes import random_varied_scene, random_workshop_scene
from mllmseg_ros.sim.wide_scenes import random_wide_scene

__all__ = ["add_surroundings", "random_scene"]

SPLITS = (
    "train",
    "validation",
    "test",
    "varied_train",
    "varied_validation",
    "varied_test",
    "workshop",
    "wide_train",
    "wide_validation",
    "wide_test",
)
TEST_SPLITS = ("test", "varied_test", "wide_test")  # only these have pairs of objects.HELD_OUT
MIN_OBJECTS, MAX_OBJECTS = 3, 10
_HELD_OUT_SHARE = 0.25  # of test scenes that have one of the HELD_OUT pairs


def random_scene(seed: int, split: str = "train", n_objects: int | None = None) -> Scene:
    """Draw a scene.

    Args:
        seed: 0 or more; splits have different scenes for the same seed.
        split: one of SPLITS. Pairs of objects.HELD_OUT occur only in TEST_SPLITS.
        n_objects: 3 to 10; None for a random number.

    Raises:
        ValueError: if an argument is out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more")
    if n_objects is not None and not MIN_OBJECTS <= n_objects <= MAX_OBJECTS:
        raise ValueError(f"n_objects is {n_objects}, expected {MIN_OBJECTS} to {MAX_OBJECTS}")
    rng = np.random.default_rng(np.random.SeedSequence([SPLITS.index(split), seed]))
    n = n_objects or int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1))
    if split.startswith("varied"):
        return random_varied_scene(rng, n, held_out=split in TEST_SPLITS)
    if split.startswith("wide"):
        return random_wide_scene(rng, n, held_out=split in TEST_SPLITS)
    if split == "workshop":
        return random_workshop_scene(rng, n)
    azimuth = float(rng.uniform(-math.pi, math.pi))
    return add_surroundings(
        place_objects(_random_objects(n, split, azimuth, rng), azimuth, rng), azimuth, rng
    )


def add_surroundings(
    objects: tuple[SceneObject, ...], azimuth: float, rng: np.random.Generator
) -> Scene:
    """Add the plain tabletop's surroundings and a camera at an azimuth to placed objects."""
    surface = random_surface(objects, rng)
    ambient = float(rng.uniform(0.30, 0.48))
    return Scene(
        objects=objects,
        surface=surface,
        mats=random_mats(surface, objects, rng),
        lights=random_lights(ambient, rng),
        ambient=ambient,
        sky=(dull_rgb(rng), dull_rgb(rng)),
        camera=random_camera(objects, azimuth, rng),
    )


def _random_objects(
    n: int, split: str, azimuth: float, rng: np.random.Generator
) -> list[SceneObject]:
    # Few kinds and colours per scene, so that they repeat and objects must be told apart by words.
    kinds = rng.choice(KINDS, size=int(rng.integers(3, 8)), replace=False)
    colors = rng.choice(COLORS, size=int(rng.integers(3, 7)), replace=False)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < n:
        pair = (str(rng.choice(colors)), str(rng.choice(kinds)))
        if pair not in HELD_OUT:
            pairs.append(pair)
    if split == "test" and rng.random() < _HELD_OUT_SHARE:
        pairs[int(rng.integers(n))] = sorted(HELD_OUT)[int(rng.integers(len(HELD_OUT)))]
    return [random_object(color, kind, azimuth, rng) for color, kind in pairs]
