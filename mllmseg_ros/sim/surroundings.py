# SPDX-License-Identifier: Apache-2.0
"""Random table, mats and lamps of a scene."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mllmseg_ros.sim.objects import SceneObject
from mllmseg_ros.sim.scene import RGB, Light, Mat, Surface

PLAIN_PATTERNS = ("flat", "checker", "gradient", "noise", "planks")


def dull_rgb(rng: np.random.Generator) -> RGB:
    """Draw a colour of any brightness and low saturation."""
    grey = rng.uniform(0.15, 0.95)
    tint = rng.uniform(0.78, 1.0, size=3)
    r, g, b = (float(value) for value in grey * tint)
    return r, g, b


def random_surface(
    objects: tuple[SceneObject, ...],
    rng: np.random.Generator,
    patterns: Sequence[str] = PLAIN_PATTERNS,
) -> Surface:
    """Draw a table top whose colours differ from those of the objects."""
    pattern = str(rng.choice(patterns))
    object_rgb = np.array([thing.rgb for thing in objects])
    clearance = 0.42
    while True:
        if rng.random() < 0.35:  # a coloured table
            first = np.clip(rng.uniform(0.2, 0.8) + rng.uniform(-0.25, 0.25, size=3), 0.05, 0.95)
        else:
            first = np.array(dull_rgb(rng))
        second = np.clip(first * rng.uniform(0.65, 1.35) + rng.uniform(-0.04, 0.04, 3), 0.03, 0.97)
        both = np.stack([first, second])
        if np.linalg.norm(object_rgb[None] - both[:, None], axis=-1).min() > clearance:
            break
        clearance *= 0.99  # many colours leave little room
    (a, b, c), (d, e, f) = both.tolist()
    half = rng.uniform(0.45, 1.1, size=2)
    return Surface(
        pattern=pattern,
        rgb=((a, b, c), (d, e, f)),
        repeat=float(rng.uniform(1.0, 6.0)),
        reflectance=float(rng.uniform(0.0, 0.35)),
        half_size_m=(float(half[0]), float(half[1])),
        yaw_rad=float(rng.uniform(-math.pi, math.pi)),
        seed=int(rng.integers(2**31)),
    )


def random_mats(
    surface: Surface, objects: tuple[SceneObject, ...], rng: np.random.Generator
) -> tuple[Mat, ...]:
    """Draw none to two mats."""
    mats = []
    for _ in range(int(rng.choice(3, p=(0.6, 0.3, 0.1)))):
        x, y = rng.uniform(-0.25, 0.25, size=2)
        width, depth = rng.uniform(0.04, 0.22, size=2)
        # A shade of the table's colour, which differs from the objects' colours.
        shade = np.clip(np.array(surface.rgb[0]) * rng.uniform(0.85, 1.15), 0, 1).tolist()
        mats.append(
            Mat(
                xy_m=(float(x), float(y)),
                half_size_m=(float(width), float(depth)),
                yaw_rad=float(rng.uniform(-math.pi, math.pi)),
                rgb=(shade[0], shade[1], shade[2]),
            )
        )
    return tuple(mats)


def random_lights(
    ambient: float, rng: np.random.Generator, tint: tuple[float, float] = (0.93, 1.05)
) -> tuple[Light, ...]:
    """Draw a lamp with a shadow and often a weaker one without; images are rarely overexposed."""
    lights = []
    brightness = [rng.uniform(0.85, 1.05) - ambient]
    if rng.random() < 0.5:
        brightness.append(rng.uniform(0.1, 0.25))
    for index, value in enumerate(brightness):
        bearing, height = rng.uniform(-math.pi, math.pi), rng.uniform(0.75, 1.45)
        distance = rng.uniform(1.4, 2.6)
        r, g, b = (float(c) for c in value * rng.uniform(*tint, size=3))
        lights.append(
            Light(
                position_m=(
                    float(distance * math.cos(height) * math.cos(bearing)),
                    float(distance * math.cos(height) * math.sin(bearing)),
                    float(distance * math.sin(height)),
                ),
                rgb=(r, g, b),
                shadow=index == 0,
            )
        )
    return tuple(lights)
