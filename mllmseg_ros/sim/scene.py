# SPDX-License-Identifier: Apache-2.0
"""Description of a tabletop scene: objects, surroundings, light and camera.

random_scenes.py draws scenes, world.py builds them in MuJoCo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.sim.objects import SceneObject
from mllmseg_ros.sim.sensor import Sensor
from mllmseg_ros.sim.view import MIN_AREA_SHARE

__all__ = ["Scene"]

RGB = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The table top."""

    pattern: str  # one of patterns.PATTERNS, or a key of skins.GROUNDS
    rgb: tuple[RGB, RGB]  # its two colours, [0, 1]
    repeat: float  # of the pattern over a metre
    reflectance: float  # [0, 1], of highlights
    half_size_m: tuple[float, float]
    yaw_rad: float
    seed: int  # of the pattern's noise


@dataclass(frozen=True, kw_only=True)
class Light:
    """A lamp that points at the centre of the table."""

    position_m: tuple[float, float, float]
    rgb: RGB  # [0, 1], times brightness
    shadow: bool


@dataclass(frozen=True, kw_only=True)
class Mat:
    """A flat mat in a dull colour under the objects; part of the background."""

    xy_m: tuple[float, float]
    half_size_m: tuple[float, float]
    yaw_rad: float
    rgb: RGB


@dataclass(frozen=True, kw_only=True)
class Block:
    """A box in the background: a wall, the floor, furniture."""

    position_m: tuple[float, float, float]
    half_size_m: tuple[float, float, float]
    yaw_rad: float
    pattern: str  # a key of skins.GROUNDS
    rgb: tuple[RGB, RGB]
    seed: int


@dataclass(frozen=True, kw_only=True)
class CameraView:
    """Pose and field of view of the camera. Optical frame: x right, y down, z forward (REP 103)."""

    position_m: NDArray[np.float64]  # (3,)
    rotation: NDArray[np.float64]  # (3, 3) world from optical frame
    vertical_fov_rad: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that determines an image. The table top is z = 0."""

    objects: tuple[SceneObject, ...]  # instance ids 1 to N in this order
    surface: Surface
    mats: tuple[Mat, ...]
    lights: tuple[Light, ...]
    ambient: float  # [0, 1]
    sky: tuple[RGB, RGB]  # above and below
    camera: CameraView
    sensor: Sensor | None = None  # None: pixels as rendered
    backdrop: tuple[Block, ...] = ()
    least_area_share: float = MIN_AREA_SHARE  # of the image that a nameable object covers
