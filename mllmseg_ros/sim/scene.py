# SPDX-License-Identifier: Apache-2.0
"""Random tabletop scenes: what stands where, in which light, seen from where.

A scene is a plain description and the same for the same (split, seed) everywhere. Knows neither
MuJoCo nor pixels. Entry point: :func:`random_scene`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.sim.objects import (
    COLORS,
    HELD_OUT,
    KINDS,
    SIZES,
    SceneObject,
    footprint_radius_m,
    height_m,
    random_rgb,
    random_scale,
)

SPLITS = ("train", "validation", "test")
MIN_OBJECTS, MAX_OBJECTS = 3, 10
_HELD_OUT_SHARE = 0.25  # of test scenes that hold one of the HELD_OUT pairs
_GAP_M = 0.008  # at least, between footprints
_NEAREST_M, _FARTHEST_M = 0.5, 1.3  # camera to the middle of the objects

RGB = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The table top."""

    pattern: str  # flat, checker, gradient, noise or planks
    rgb: tuple[RGB, RGB]  # its two colours, [0, 1]
    repeat: float  # of the pattern over a metre
    reflectance: float  # [0, 1], of highlights
    half_size_m: tuple[float, float]
    yaw_rad: float
    seed: int  # of the pattern's noise


@dataclass(frozen=True, kw_only=True)
class Light:
    """A lamp that shines at the middle of the table."""

    position_m: tuple[float, float, float]
    rgb: RGB  # [0, 1], times brightness
    shadow: bool


@dataclass(frozen=True, kw_only=True)
class Mat:
    """A flat thing in a dull colour under the objects; part of the background."""

    xy_m: tuple[float, float]
    half_size_m: tuple[float, float]
    yaw_rad: float
    rgb: RGB


@dataclass(frozen=True, kw_only=True)
class CameraView:
    """Where the camera is. Optical frame: x right, y down, z forward (REP 103)."""

    position_m: NDArray[np.float64]  # (3,)
    rotation: NDArray[np.float64]  # (3, 3) world from optical frame
    vertical_fov_rad: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a picture depends on. The table top is z = 0."""

    objects: tuple[SceneObject, ...]  # instance ids 1 to N in this order
    surface: Surface
    mats: tuple[Mat, ...]
    lights: tuple[Light, ...]
    ambient: float  # [0, 1]
    sky: tuple[RGB, RGB]  # above and below
    camera: CameraView


def random_scene(seed: int, split: str = "train", n_objects: int | None = None) -> Scene:
    """Draw a scene.

    Args:
        seed: 0 or more; scenes of two splits differ whatever their seeds are.
        split: one of SPLITS. Pairs of objects.HELD_OUT occur in test alone.
        n_objects: 3 to 10, drawn where not given.

    Raises:
        ValueError: if split, seed or n_objects is none of these.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more")
    if n_objects is not None and not MIN_OBJECTS <= n_objects <= MAX_OBJECTS:
        raise ValueError(f"n_objects is {n_objects}, expected {MIN_OBJECTS} to {MAX_OBJECTS}")
    rng = np.random.default_rng(np.random.SeedSequence([SPLITS.index(split), seed]))
    n = n_objects or int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1))
    azimuth = float(rng.uniform(-math.pi, math.pi))
    objects = _placed(_random_objects(n, split, azimuth, rng), azimuth, rng)
    surface = _random_surface(objects, rng)
    ambient = float(rng.uniform(0.30, 0.48))
    return Scene(
        objects=objects,
        surface=surface,
        mats=_random_mats(surface, objects, rng),
        lights=_random_lights(ambient, rng),
        ambient=ambient,
        sky=(_dull_rgb(rng), _dull_rgb(rng)),
        camera=_random_camera(objects, azimuth, rng),
    )


def _random_objects(
    n: int, split: str, azimuth: float, rng: np.random.Generator
) -> list[SceneObject]:
    # Few kinds and colours per scene: they repeat, and it takes words to tell things apart.
    kinds = rng.choice(KINDS, size=int(rng.integers(3, 8)), replace=False)
    colors = rng.choice(COLORS, size=int(rng.integers(3, 7)), replace=False)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < n:
        pair = (str(rng.choice(colors)), str(rng.choice(kinds)))
        if pair not in HELD_OUT:
            pairs.append(pair)
    if split == "test" and rng.random() < _HELD_OUT_SHARE:
        pairs[int(rng.integers(n))] = sorted(HELD_OUT)[int(rng.integers(len(HELD_OUT)))]
    return [_random_object(color, kind, azimuth, rng) for color, kind in pairs]


def _random_object(color: str, kind: str, azimuth: float, rng: np.random.Generator) -> SceneObject:
    size_name = str(rng.choice(SIZES, p=(0.45, 0.55)))
    yaw = float(rng.uniform(-math.pi, math.pi))
    if kind == "mug":  # its handle in sight: at most 115 degrees off the side of the camera
        yaw = azimuth + math.pi + float(rng.uniform(-2.0, 2.0))
    return SceneObject(
        kind=kind,
        color=color,
        size_name=size_name,
        scale=random_scale(size_name, rng),
        aspect=float(rng.uniform(0.9, 1.12)),
        rgb=random_rgb(color, rng),
        specular=float(rng.uniform(0.0, 0.6)),
        shininess=float(rng.uniform(0.1, 0.9)),
        xy_m=(0.0, 0.0),
        yaw_rad=yaw,
    )


def _placed(
    objects: list[SceneObject], azimuth: float, rng: np.random.Generator
) -> tuple[SceneObject, ...]:
    """Put the objects on the table so that their footprints do not meet."""
    radii = [footprint_radius_m(thing.kind, thing.scale) for thing in objects]
    area = math.pi * sum(radius**2 for radius in radii) * rng.uniform(1.35, 2.5)
    across, deep = math.sqrt(area), math.sqrt(area)
    widening = rng.uniform(1.0, 1.3)
    across, deep = across * widening / 2, deep / widening / 2
    spots: list[tuple[float, float]] = []
    while len(spots) < len(objects):
        radius = radii[len(spots)]
        for _ in range(40):
            spot = (float(rng.uniform(-deep, deep)), float(rng.uniform(-across, across)))
            if all(
                math.dist(spot, other) > radius + radii[k] + _GAP_M for k, other in enumerate(spots)
            ):
                spots.append(spot)
                break
        else:
            across, deep = across * 1.06, deep * 1.06
    cos, sin = math.cos(azimuth), math.sin(azimuth)
    return tuple(
        replace(thing, xy_m=(cos * x - sin * y, sin * x + cos * y))
        for thing, (x, y) in zip(objects, spots, strict=True)
    )


def _dull_rgb(rng: np.random.Generator) -> RGB:
    """Any brightness, little colour."""
    grey = rng.uniform(0.15, 0.95)
    tint = rng.uniform(0.78, 1.0, size=3)
    r, g, b = (float(value) for value in grey * tint)
    return r, g, b


def _random_surface(objects: tuple[SceneObject, ...], rng: np.random.Generator) -> Surface:
    """Draw a table top that swallows none of the objects."""
    pattern = str(rng.choice(("flat", "checker", "gradient", "noise", "planks")))
    own = np.array([thing.rgb for thing in objects])
    clearance = 0.42
    while True:
        if rng.random() < 0.35:  # a coloured table
            first = np.clip(rng.uniform(0.2, 0.8) + rng.uniform(-0.25, 0.25, size=3), 0.05, 0.95)
        else:
            first = np.array(_dull_rgb(rng))
        second = np.clip(first * rng.uniform(0.65, 1.35) + rng.uniform(-0.04, 0.04, 3), 0.03, 0.97)
        both = np.stack([first, second])
        if np.linalg.norm(own[None] - both[:, None], axis=-1).min() > clearance:
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


def _random_mats(
    surface: Surface, objects: tuple[SceneObject, ...], rng: np.random.Generator
) -> tuple[Mat, ...]:
    mats = []
    for _ in range(int(rng.choice(3, p=(0.6, 0.3, 0.1)))):
        x, y = rng.uniform(-0.25, 0.25, size=2)
        width, depth = rng.uniform(0.04, 0.22, size=2)
        # A shade of the table's own colour: it clears the objects as the table does.
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


def _random_lights(ambient: float, rng: np.random.Generator) -> tuple[Light, ...]:
    """One lamp with a shadow, often a weaker one without; well lit, rarely blown out."""
    lights = []
    brightness = [rng.uniform(0.85, 1.05) - ambient]
    if rng.random() < 0.5:
        brightness.append(rng.uniform(0.1, 0.25))
    for index, value in enumerate(brightness):
        bearing, height = rng.uniform(-math.pi, math.pi), rng.uniform(0.75, 1.45)
        distance = rng.uniform(1.4, 2.6)
        r, g, b = (float(c) for c in value * rng.uniform(0.93, 1.05, size=3))
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


def _random_camera(
    objects: tuple[SceneObject, ...], azimuth: float, rng: np.random.Generator
) -> CameraView:
    """Look along the azimuth, from as near as the objects about fill a 4:3 picture."""
    elevation = float(rng.uniform(0.45, 1.15))
    vertical_fov = float(rng.uniform(0.65, 0.95))
    roll = float(rng.normal(0, 0.03))
    forward = np.array(
        [
            math.cos(azimuth) * math.cos(elevation),
            math.sin(azimuth) * math.cos(elevation),
            -math.sin(elevation),
        ]
    )
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    right, down = (
        math.cos(roll) * right + math.sin(roll) * down,
        -math.sin(roll) * right + math.cos(roll) * down,
    )
    rotation = np.stack([right, down, forward], axis=1)

    middles = np.array([(*thing.xy_m, height_m(thing) / 2) for thing in objects])
    radii = np.array(
        [
            0.5 * (footprint_radius_m(thing.kind, thing.scale) + height_m(thing) / 2)
            for thing in objects
        ]
    )
    seen = middles @ rotation  # (N, 3) optical axes, from the world's origin
    aim = rotation[:, :2] @ ((seen[:, :2].min(axis=0) + seen[:, :2].max(axis=0)) / 2)
    aim = aim + rotation[:, :2] @ rng.normal(0, 0.015, size=2)
    offset = (middles - aim) @ rotation
    half = math.tan(vertical_fov / 2) * np.array([4 / 3, 1.0])
    # Distance at which each object's outline just lies within the picture.
    fits = ((np.abs(offset[:, :2]) + radii[:, None]) / half).max(axis=1) - offset[:, 2]
    distance = float(np.clip(fits.max() * rng.uniform(0.9, 1.1), _NEAREST_M, _FARTHEST_M))
    return CameraView(
        position_m=aim - forward * distance,
        rotation=rotation,
        vertical_fov_rad=vertical_fov,
    )
