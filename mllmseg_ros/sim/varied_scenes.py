# SPDX-License-Identifier: Apache-2.0
"""Random scenes with more variation than the plain tabletop, and scenes of an unseen domain.

Varied: nine more kinds, other proportions, patterns on objects, clutter without a name, coloured
and dim light, steeper and farther cameras, and a sensor with blur, motion blur and noise. Workshop:
tools that no training scene has, seen from above by a wide-angle camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mllmseg_ros.language.vocabulary import CLUTTER, COLORS, SIZES, TOOL_KINDS, VARIED_KINDS
from mllmseg_ros.sim.objects import HELD_OUT, SceneObject, random_object, random_scale
from mllmseg_ros.sim.patterns import PATTERNS
from mllmseg_ros.sim.placement import CameraRange, place_objects, random_camera
from mllmseg_ros.sim.scene import Scene
from mllmseg_ros.sim.sensor import Sensor
from mllmseg_ros.sim.surroundings import dull_rgb, random_lights, random_mats, random_surface

__all__ = ["random_varied_scene", "random_workshop_scene"]

_HELD_OUT_SHARE = 0.25  # of scenes in which held-out pairs are allowed
_CLUTTER_SHARE = 0.5  # of scenes
_WORKSHOP_KINDS = (*TOOL_KINDS, "mug", "can", "box", "plate", "duck")

_VARIED_CAMERA = CameraRange(
    elevation_rad=(0.38, 1.3), vertical_fov_rad=(0.6, 1.1), roll_rad=0.06, farther=(0.9, 1.3)
)
_WORKSHOP_CAMERA = CameraRange(
    elevation_rad=(1.25, 1.5), vertical_fov_rad=(1.1, 1.3), roll_rad=0.1, farther=(1.0, 1.2)
)


def random_varied_scene(rng: np.random.Generator, n_objects: int, *, held_out: bool) -> Scene:
    """Draw a varied scene with a number of objects, without counting clutter."""
    azimuth = float(rng.uniform(-math.pi, math.pi))
    things = _random_objects(n_objects, VARIED_KINDS, azimuth, rng)
    if held_out and rng.random() < _HELD_OUT_SHARE:
        color, kind = sorted(HELD_OUT)[int(rng.integers(len(HELD_OUT)))]
        things[int(rng.integers(n_objects))] = _random_object(color, kind, azimuth, rng)
    if rng.random() < _CLUTTER_SHARE:
        things += [_random_clutter(rng) for _ in range(int(rng.integers(1, 4)))]
    return _build_scene(things, azimuth, rng, _VARIED_CAMERA, tint=(0.82, 1.08))


def random_workshop_scene(rng: np.random.Generator, n_objects: int) -> Scene:
    """Draw a scene of tools and of household objects under other names."""
    azimuth = float(rng.uniform(-math.pi, math.pi))
    things = _random_objects(n_objects, _WORKSHOP_KINDS, azimuth, rng)
    return _build_scene(things, azimuth, rng, _WORKSHOP_CAMERA, tint=(0.85, 1.0))


def _build_scene(
    things: Sequence[SceneObject],
    azimuth: float,
    rng: np.random.Generator,
    cameras: CameraRange,
    *,
    tint: tuple[float, float],
) -> Scene:
    objects = place_objects(list(things), azimuth, rng)
    ambient = float(rng.uniform(0.24, 0.5))
    surface = random_surface(objects, rng, PATTERNS)
    return Scene(
        objects=objects,
        surface=surface,
        mats=random_mats(surface, objects, rng),
        lights=random_lights(ambient, rng, tint),
        ambient=ambient,
        sky=(dull_rgb(rng), dull_rgb(rng)),
        camera=random_camera(objects, azimuth, rng, cameras),
        sensor=_random_sensor(rng),
    )


def _random_objects(
    n: int, kinds: Sequence[str], azimuth: float, rng: np.random.Generator
) -> list[SceneObject]:
    few_kinds = rng.choice(kinds, size=int(rng.integers(3, 8)), replace=False)
    few_colors = rng.choice(COLORS, size=int(rng.integers(3, 7)), replace=False)
    things: list[SceneObject] = []
    while len(things) < n:
        color, kind = str(rng.choice(few_colors)), str(rng.choice(few_kinds))
        if (color, kind) not in HELD_OUT:
            things.append(_random_object(color, kind, azimuth, rng))
    return things


def _random_object(color: str, kind: str, azimuth: float, rng: np.random.Generator) -> SceneObject:
    plain = random_object(color, kind, azimuth, rng, aspect=(0.82, 1.2), most_specular=0.8)
    return replace(
        plain,
        taper=float(rng.uniform(-0.14, 0.2)),
        bulge=float(rng.uniform(-0.1, 0.14)),
        pattern=str(rng.choice(PATTERNS)) if rng.random() < 0.4 else "flat",
        seed=int(rng.integers(2**31)),
    )


def _random_clutter(rng: np.random.Generator) -> SceneObject:
    size_name = str(rng.choice(SIZES))
    light = float(rng.uniform(0.35, 0.6))  # a dull brown: neither white, black nor orange
    return SceneObject(
        kind=CLUTTER,
        color=CLUTTER,
        size_name=size_name,
        scale=random_scale(size_name, rng),
        aspect=float(rng.uniform(0.8, 1.2)),
        rgb=(light, 0.88 * light, 0.74 * light),
        specular=float(rng.uniform(0.0, 0.6)),
        shininess=float(rng.uniform(0.1, 0.9)),
        xy_m=(0.0, 0.0),
        yaw_rad=float(rng.uniform(-math.pi, math.pi)),
        seed=int(rng.integers(2**31)),
    )


def _random_sensor(rng: np.random.Generator) -> Sensor:
    """Draw an exposure, mostly of daylight, with each defect in a share of the images."""
    light = rng.uniform(0.7, 1.1) if rng.random() < 0.7 else rng.uniform(0.55, 0.7)
    r, g, b = (float(c) for c in light * rng.uniform(0.94, 1.06, size=3))
    return Sensor(
        gain=(r, g, b),
        blur_px=float(rng.uniform(0.5, 2.5)) if rng.random() < 0.3 else 0.0,
        motion_px=float(rng.uniform(3, 14)) if rng.random() < 0.25 else 0.0,
        motion_rad=float(rng.uniform(0, math.pi)),
        noise=float(rng.uniform(2, 14)) if rng.random() < 0.6 else 0.0,
        jpeg_quality=int(rng.integers(45, 97)),
        seed=int(rng.integers(2**31)),
    )
