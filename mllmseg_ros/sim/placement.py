# SPDX-License-Identifier: Apache-2.0
"""Placement of objects on the table, and of a camera that sees them all."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from mllmseg_ros.sim.objects import SceneObject
from mllmseg_ros.sim.scene import CameraView
from mllmseg_ros.sim.shapes import footprint_radius_m, height_m

__all__ = ["place_objects", "random_camera"]

_GAP_M = 0.008  # least distance between footprints
_NEAREST_M, _FARTHEST_M = 0.5, 1.3  # from the camera to the centre of the objects


@dataclass(frozen=True, kw_only=True)
class CameraRange:
    """Ranges of camera poses, drawn uniformly."""

    elevation_rad: tuple[float, float] = (0.45, 1.15)  # of the line of sight above the table
    vertical_fov_rad: tuple[float, float] = (0.65, 0.95)
    roll_rad: float = 0.03  # standard deviation
    farther: tuple[float, float] = (0.9, 1.1)  # times the distance from which the objects fit
    farthest_m: float = _FARTHEST_M
    aim_m: float = 0.015  # standard deviation, off the middle of the objects


def place_objects(
    objects: list[SceneObject],
    azimuth: float,
    rng: np.random.Generator,
    gap_m: float = _GAP_M,
    spread: tuple[float, float] = (1.35, 2.5),
) -> tuple[SceneObject, ...]:
    """Place objects on the table at random, with a gap between their footprints.

    Args:
        objects: not placed yet.
        azimuth: direction in which the camera looks, rad.
        rng: random generator.
        gap_m: least distance between footprints.
        spread: range of the area to place them in, over that of their footprints.
    """
    radii = [footprint_radius_m(thing) * _relative_width(thing) for thing in objects]
    area = math.pi * sum(radius**2 for radius in radii) * rng.uniform(*spread)
    across, deep = math.sqrt(area), math.sqrt(area)
    widening = rng.uniform(1.0, 1.3)
    across, deep = across * widening / 2, deep / widening / 2
    spots: list[tuple[float, float]] = []
    while len(spots) < len(objects):
        radius = radii[len(spots)]
        for _ in range(40):
            spot = (float(rng.uniform(-deep, deep)), float(rng.uniform(-across, across)))
            if all(
                math.dist(spot, other) > radius + radii[k] + gap_m for k, other in enumerate(spots)
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


def _relative_width(thing: SceneObject) -> float:
    """Return the largest width of an object relative to its kind."""
    return 1 + abs(thing.taper) / 2 + abs(thing.bulge) / 2


def random_camera(
    objects: tuple[SceneObject, ...],
    azimuth: float,
    rng: np.random.Generator,
    within: CameraRange = CameraRange(),
) -> CameraView:
    """Draw a camera that looks along the azimuth, so near that the objects fill a 4:3 image."""
    elevation = float(rng.uniform(*within.elevation_rad))
    vertical_fov = float(rng.uniform(*within.vertical_fov_rad))
    roll = float(rng.normal(0, within.roll_rad))
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
    radii = np.array([0.5 * (footprint_radius_m(thing) + height_m(thing) / 2) for thing in objects])
    seen = middles @ rotation  # (N, 3) optical axes, from the world's origin
    aim = rotation[:, :2] @ ((seen[:, :2].min(axis=0) + seen[:, :2].max(axis=0)) / 2)
    aim = aim + rotation[:, :2] @ rng.normal(0, within.aim_m, size=2)
    offset = (middles - aim) @ rotation
    half = math.tan(vertical_fov / 2) * np.array([4 / 3, 1.0])
    # Distance at which each object's outline is just inside the image.
    fits = ((np.abs(offset[:, :2]) + radii[:, None]) / half).max(axis=1) - offset[:, 2]
    distance = float(
        np.clip(fits.max() * rng.uniform(*within.farther), _NEAREST_M, within.farthest_m)
    )
    return CameraView(
        position_m=aim - forward * distance,
        rotation=rotation,
        vertical_fov_rad=vertical_fov,
    )
