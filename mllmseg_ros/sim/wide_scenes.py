# SPDX-License-Identifier: Apache-2.0
"""Random scenes of household tables, as wide as can be drawn.

About fifty kinds with random proportions, prints and materials, colours as people use them,
things without a name in any colour, grounds of wood, stone and cloth, a background, several lamps,
near and far cameras, and a sensor with a tone curve, vignetting, blur, noise and JPEG.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np

from mllmseg_ros.language.household import (
    ALWAYS_NATURAL,
    CONFUSABLE,
    HOUSEHOLD_COLORS,
    HOUSEHOLD_KINDS,
    NATURAL_COLORS,
)
from mllmseg_ros.language.vocabulary import CLUTTER, SIZES
from mllmseg_ros.sim.objects import HELD_OUT, SceneObject, random_scale
from mllmseg_ros.sim.placement import CameraRange, place_objects, random_camera
from mllmseg_ros.sim.scene import RGB, Block, Light, Scene, Surface
from mllmseg_ros.sim.sensor import Sensor
from mllmseg_ros.sim.skins import DECORS, GROUNDS, MATERIALS
from mllmseg_ros.sim.surroundings import random_mats
from mllmseg_ros.sim.wide_shapes import Look, random_shape

__all__ = ["random_wide_scene"]

_HELD_OUT_SHARE = 0.25  # of scenes in which held-out pairs are allowed
_CLUTTER_SHARE = 0.6  # of scenes
_COMMON_KINDS = ("mug", "bowl", "plate", "bottle", "book", "can", "box", "glass")
_COMMON_WEIGHT = 3.0
_LEAST_AREA_SHARE = 0.0016
# Of these, most of the surface has the thing's decor.
_DECORATED = frozenset(
    {
        "mug",
        "bowl",
        "plate",
        "can",
        "jar",
        "jug",
        "vase",
        "pot",
        "teapot",
        "tray",
        "book",
        "box",
        "cube",
        "ball",
        "car",
        "hat",
        "bell",
        "cone",
        "bottle",
        "shaker",
    }
)
# Ranges of hue (turns), saturation and value, wider than those of the plain tabletop.
_HSV = {
    "red": ((-0.025, 0.02), (0.65, 1.0), (0.38, 0.92)),
    "orange": ((0.055, 0.09), (0.75, 1.0), (0.78, 1.0)),
    "yellow": ((0.125, 0.17), (0.5, 1.0), (0.78, 1.0)),
    "green": ((0.24, 0.43), (0.38, 1.0), (0.22, 0.8)),
    "blue": ((0.55, 0.68), (0.5, 1.0), (0.25, 0.95)),
    "purple": ((0.72, 0.81), (0.35, 0.9), (0.3, 0.75)),
    "pink": ((0.88, 0.96), (0.25, 0.6), (0.85, 1.0)),
    "white": ((0.0, 1.0), (0.0, 0.06), (0.84, 1.0)),
    "black": ((0.0, 1.0), (0.0, 0.25), (0.02, 0.14)),
    "brown": ((0.03, 0.08), (0.45, 0.8), (0.2, 0.45)),
    "gray": ((0.0, 1.0), (0.0, 0.08), (0.33, 0.62)),
    "beige": ((0.07, 0.125), (0.16, 0.34), (0.76, 0.92)),
    "turquoise": ((0.47, 0.52), (0.5, 1.0), (0.5, 0.9)),
    "silver": ((0.55, 0.65), (0.0, 0.06), (0.55, 0.78)),
    "gold": ((0.105, 0.13), (0.55, 0.75), (0.55, 0.8)),
}
_CAMERA = CameraRange(
    elevation_rad=(0.28, 1.35),
    vertical_fov_rad=(0.45, 1.25),
    roll_rad=0.06,
    farther=(0.8, 1.6),
    farthest_m=3.0,
    aim_m=0.05,
)


def random_wide_scene(rng: np.random.Generator, n_objects: int, *, held_out: bool) -> Scene:
    """Draw a scene with a number of objects, without counting those that have no name."""
    azimuth = float(rng.uniform(-math.pi, math.pi))
    things = _random_things(n_objects, azimuth, rng)
    if held_out and rng.random() < _HELD_OUT_SHARE:
        color, kind = sorted(HELD_OUT)[int(rng.integers(len(HELD_OUT)))]
        things[int(rng.integers(n_objects))] = _random_thing(color, kind, azimuth, rng)
    if rng.random() < _CLUTTER_SHARE:
        for _ in range(int(rng.integers(1, 5))):
            color = str(rng.choice(HOUSEHOLD_COLORS))
            things.append(_random_thing(color, CLUTTER, azimuth, rng))
    order = rng.permutation(len(things))
    spread = (1.3, 3.0) if rng.random() < 0.5 else (2.0, 7.0)
    objects = place_objects([things[k] for k in order], azimuth, rng, spread=spread)
    ambient = float(rng.uniform(0.2, 0.6))
    surface = _random_surface(objects, rng)
    below, above = _ground_rgb(rng), _ground_rgb(rng)
    return Scene(
        objects=objects,
        surface=surface,
        mats=random_mats(surface, objects, rng) if rng.random() < 0.4 else (),
        lights=_random_lights(ambient, rng),
        ambient=ambient,
        sky=(above, below),
        camera=random_camera(objects, azimuth, rng, _CAMERA),
        sensor=_random_sensor(rng),
        backdrop=_random_backdrop(azimuth, rng),
        least_area_share=_LEAST_AREA_SHARE,
    )


def _random_things(n: int, azimuth: float, rng: np.random.Generator) -> list[SceneObject]:
    weights = np.array([_COMMON_WEIGHT if k in _COMMON_KINDS else 1.0 for k in HOUSEHOLD_KINDS])
    kinds = rng.choice(
        HOUSEHOLD_KINDS, size=int(rng.integers(3, 9)), replace=False, p=weights / weights.sum()
    )
    colors = _few_colors(int(rng.integers(3, 7)), rng)
    things: list[SceneObject] = []
    while len(things) < n:
        kind, color = str(rng.choice(kinds)), str(rng.choice(colors))
        natural = NATURAL_COLORS.get(kind)
        if natural and rng.random() < (0.97 if kind in ALWAYS_NATURAL else 0.45):
            color = str(rng.choice(natural))
        used = {thing.color for thing in things}
        if (color, kind) in HELD_OUT or any(frozenset((color, u)) in CONFUSABLE for u in used):
            kinds = np.append(kinds, str(rng.choice(HOUSEHOLD_KINDS)))
            colors = [*colors, str(rng.choice(HOUSEHOLD_COLORS))]
            continue
        things.append(_random_thing(color, kind, azimuth, rng))
    return things


def _few_colors(n: int, rng: np.random.Generator) -> list[str]:
    """Draw colours of which no two are confusable."""
    chosen: list[str] = []
    for color in rng.permutation(HOUSEHOLD_COLORS):
        if not any(frozenset((str(color), other)) in CONFUSABLE for other in chosen):
            chosen.append(str(color))
    return chosen[:n]


def _random_thing(color: str, kind: str, azimuth: float, rng: np.random.Generator) -> SceneObject:
    others = [
        other
        for other in HOUSEHOLD_COLORS
        if other != color and frozenset((color, other)) not in CONFUSABLE
    ]
    accent = str(rng.choice(others))
    rgb, accent_rgb = _random_rgb(color, rng), _random_rgb(accent, rng)
    decor = "plain"
    if (kind in _DECORATED or kind == CLUTTER) and rng.random() < 0.6:
        decor = str(rng.choice([*DECORS, *MATERIALS]))
    second = accent_rgb
    if decor in MATERIALS:
        shade = rng.uniform(0.45, 0.8) if max(rgb) > 0.35 else rng.uniform(1.5, 2.2)
        second = _clipped(shade * np.array(rgb))
        if decor in ("wood", "marble") and kind != CLUTTER:
            # The name of the material fits a few colours only.
            fits = ("brown", "beige") if decor == "wood" else ("white", "gray", "beige", "black")
            decor = decor if color in fits else "worn"
    metallic = color in ("silver", "gold")
    size_name = str(rng.choice(SIZES, p=(0.45, 0.55)))
    look = Look(
        rgb=rgb, accent=accent_rgb, decor=decor, second=second, seed=int(rng.integers(2**31))
    )
    shape = random_shape(kind, look, random_scale(size_name, rng))
    yaw = float(rng.uniform(-math.pi, math.pi))
    if kind in ("mug", "clock"):  # handle or dial visible
        yaw = azimuth + math.pi + float(rng.uniform(-2.0, 2.0) if kind == "mug" else rng.normal())
    return SceneObject(
        kind=kind,
        color=color,
        size_name=size_name,
        scale=10 * (shape.radius_m**2 * shape.height_m) ** (1 / 3),
        aspect=1.0,
        rgb=rgb,
        specular=float(rng.uniform(0.7, 1.0) if metallic else rng.uniform(0.0, 1.0)),
        shininess=float(rng.uniform(0.5, 0.95) if metallic else rng.uniform(0.05, 0.95)),
        xy_m=(0.0, 0.0),
        yaw_rad=yaw,
        shape=shape,
        decor="" if decor == "plain" else decor,
        accent=accent,
    )


def _random_rgb(color: str, rng: np.random.Generator) -> RGB:
    h, s, v = (float(rng.uniform(*span)) for span in _HSV[color])
    return colorsys.hsv_to_rgb(h % 1.0, s, v)


def _clipped(values: np.ndarray) -> RGB:
    r, g, b = (float(value) for value in np.clip(values, 0.02, 1.0))
    return r, g, b


def _ground_rgb(rng: np.random.Generator) -> RGB:
    """Draw a colour of wood, stone, plaster, or any."""
    share = rng.random()
    if share < 0.35:  # wood
        h, s, v = rng.uniform(0.05, 0.11), rng.uniform(0.15, 0.65), rng.uniform(0.25, 0.95)
    elif share < 0.8:  # stone and plaster
        h, s, v = rng.random(), rng.uniform(0.0, 0.15), rng.uniform(0.12, 1.0)
    else:
        h, s, v = rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.15, 0.95)
    return colorsys.hsv_to_rgb(float(h), float(s), float(v))


def _two_ground_rgb(rng: np.random.Generator) -> tuple[RGB, RGB]:
    first = _ground_rgb(rng)
    if rng.random() < 0.25:
        return first, _ground_rgb(rng)
    shade = rng.uniform(0.4, 0.95) if rng.random() < 0.6 else rng.uniform(1.05, 1.6)
    return first, _clipped(shade * np.array(first) * rng.uniform(0.9, 1.1, size=3))


def _random_surface(objects: tuple[SceneObject, ...], rng: np.random.Generator) -> Surface:
    object_rgb = np.array([thing.rgb for thing in objects])
    clearance = 0.08  # a white bowl may stand on a pale table
    while True:
        rgb = _two_ground_rgb(rng)
        if np.linalg.norm(object_rgb - np.mean(rgb, axis=0), axis=1).min() > clearance:
            break
        clearance *= 0.97
    half = rng.uniform(0.45, 1.8, size=2)
    return Surface(
        pattern=str(rng.choice(list(GROUNDS))),
        rgb=rgb,
        repeat=float(rng.uniform(0.5, 5.0)),
        reflectance=float(rng.uniform(0.0, 0.6)),
        half_size_m=(float(half[0]), float(half[1])),
        yaw_rad=float(rng.uniform(-math.pi, math.pi)),
        seed=int(rng.integers(2**31)),
    )


def _random_backdrop(azimuth: float, rng: np.random.Generator) -> tuple[Block, ...]:
    """Draw a floor, often a wall behind the table, and up to five pieces of furniture."""
    blocks = []

    def add(along: float, across: float, z: float, half: tuple[float, float, float]) -> None:
        x = along * math.cos(azimuth) - across * math.sin(azimuth)
        y = along * math.sin(azimuth) + across * math.cos(azimuth)
        blocks.append(
            Block(
                position_m=(x, y, z),
                half_size_m=half,
                yaw_rad=azimuth + float(rng.normal(0, 0.3)),
                pattern=str(rng.choice(list(GROUNDS))),
                rgb=_two_ground_rgb(rng),
                seed=int(rng.integers(2**31)),
            )
        )

    if rng.random() < 0.6:
        add(0.0, 0.0, -0.78, (4.0, 4.0, 0.01))
    wall = float(rng.uniform(2.0, 3.2))
    if rng.random() < 0.6:
        add(wall, 0.0, 0.6, (0.05, 4.0, 1.4))
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 6))):
            half = tuple(float(v) for v in rng.uniform(0.08, 0.5, size=3))
            add(
                float(rng.uniform(1.9, wall + 0.3)),
                float(rng.uniform(-1.6, 1.6)),
                float(rng.uniform(-0.7, 0.5)),
                (half[0] * 0.5, half[1], half[2]),
            )
    return tuple(blocks)


def _random_lights(ambient: float, rng: np.random.Generator) -> tuple[Light, ...]:
    """Draw one to three lamps; some images are dim, some overexposed."""
    n = int(rng.integers(1, 4))
    total = rng.uniform(0.75, 1.6) - ambient
    parts = rng.dirichlet([2.0] * n) * max(0.25, total)
    lights = []
    for index, value in enumerate(sorted(parts, reverse=True)):
        bearing, height = rng.uniform(-math.pi, math.pi), rng.uniform(0.45, 1.5)
        distance = rng.uniform(1.2, 3.5)
        r, g, b = (float(c) for c in value * rng.uniform(0.85, 1.1, size=3))
        lights.append(
            Light(
                position_m=(
                    float(distance * math.cos(height) * math.cos(bearing)),
                    float(distance * math.cos(height) * math.sin(bearing)),
                    float(distance * math.sin(height)),
                ),
                rgb=(r, g, b),
                shadow=bool(rng.random() < (0.8, 0.4, 0.0)[index]),
            )
        )
    return tuple(lights)


def _random_sensor(rng: np.random.Generator) -> Sensor:
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, size=3)
    r, g, b = (float(c) for c in gain)
    return Sensor(
        gain=(r, g, b),
        blur_px=float(rng.uniform(0.5, 2.5)) if rng.random() < 0.3 else 0.0,
        motion_px=float(rng.uniform(3, 12)) if rng.random() < 0.15 else 0.0,
        motion_rad=float(rng.uniform(0, math.pi)),
        noise=float(rng.uniform(2, 14)) if rng.random() < 0.5 else 0.0,
        jpeg_quality=int(rng.integers(40, 98)),
        seed=int(rng.integers(2**31)),
        gamma=float(rng.uniform(0.6, 1.25)),
        saturation=float(rng.uniform(0.65, 1.25)),
        vignette=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.3 else 0.0,
    )
