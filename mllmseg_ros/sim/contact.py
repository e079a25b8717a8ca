# SPDX-License-Identifier: Apache-2.0
"""Collision shapes and masses of objects, beside their visible parts.

MuJoCo collides the convex hull of a mesh, which would fill a mug. Walls are therefore rings of
boxes, which leave the inside empty; every other visible part is its own collision shape. For the
kinds of ``vocabulary.KINDS``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mllmseg_ros.language.vocabulary import KINDS
from mllmseg_ros.sim.objects import SceneObject
from mllmseg_ros.sim.shapes import add_shape

__all__ = ["CONTAINER_RADIUS_M", "add_solid_object"]

HIDDEN_GROUP = 3  # of geoms that are not rendered
FRICTION = (1.0, 0.01, 0.001)  # sliding; m, spinning; m, rolling
CONDIM, ROUND_CONDIM = 4, 6  # rolling friction, or else round objects roll away
_DENSITY = 400.0  # kg/m^3: a small cube weighs 100 g, a small carton 300 g
_SIDES = 16  # of a ring of boxes

# At scale 1, m: cylinders (radius, bottom, top, x, y), and walls (line of (radius, z), thickness).
_Cylinder = tuple[float, float, float, float, float]
_Wall = tuple[Sequence[tuple[float, float]], float]
_SOLIDS: dict[str, tuple[_Cylinder, ...]] = {
    "mug": ((0.046, 0.0, 0.0075, 0.0, 0.0),),
    "bowl": ((0.036, 0.0, 0.015, 0.0, 0.0),),
    "plate": ((0.064, 0.0, 0.005, 0.0, 0.0),),
    "can": ((0.040, 0.0, 0.122, 0.0, 0.0),),
    "bottle": (
        (0.038, 0.0, 0.118, 0.0, 0.0),
        (0.030, 0.118, 0.143, 0.0, 0.0),
        (0.0145, 0.143, 0.216, 0.0, 0.0),
    ),
    # Feet, or else round objects would rock.
    "duck": ((0.026, 0.0, 0.008, 0.0, 0.0),),
    "banana": tuple(
        (0.010, 0.0, 0.020, x, y) for x, y in ((-0.069, -0.006), (0.069, -0.006), (0.0, 0.025))
    ),
}
_BOWL_TURN = (0.42, 0.80, 1.18, math.pi / 2)
_WALLS: dict[str, _Wall] = {
    "mug": (((0.0455, 0.004), (0.0455, 0.105)), 0.005),
    "bowl": (
        tuple((0.082 * math.sin(t), 0.0115 + 0.0585 * (1 - math.cos(t))) for t in _BOWL_TURN),
        0.006,
    ),
    "plate": (((0.064, 0.0035), (0.071, 0.0145), (0.102, 0.022)), 0.005),
}
CONTAINER_RADIUS_M = {"bowl": 0.079, "mug": 0.043}  # at scale 1, inside, at the rim


def add_solid_object(spec: Any, name: str, thing: SceneObject) -> None:
    """Add an object as a free body that falls, slides and can be gripped.

    Args:
        spec: a ``mujoco.MjSpec``.
        name: of the body, and prefix of the names of its parts.
        thing: the object.

    Raises:
        ValueError: if its kind is not one of ``vocabulary.KINDS``.
    """
    import mujoco as mj

    if thing.kind not in KINDS:
        raise ValueError(f"a {thing.kind} has no solid form, expected one of {', '.join(KINDS)}")
    half = thing.yaw_rad / 2
    body = spec.worldbody.add_body(
        name=name, pos=[*thing.xy_m, 0.0], quat=[math.cos(half), 0.0, 0.0, math.sin(half)]
    )
    body.add_freejoint()
    add_shape(spec, body, name, thing)
    for geom in body.geoms:
        if geom.type == mj.mjtGeom.mjGEOM_MESH:
            geom.mass = 0.0
            continue
        geom.contype = geom.conaffinity = 1
        geom.density, geom.friction = _DENSITY, FRICTION
        geom.condim = ROUND_CONDIM if geom.type == mj.mjtGeom.mjGEOM_ELLIPSOID else CONDIM
    solid = {
        "contype": 1,
        "conaffinity": 1,
        "condim": CONDIM,
        "friction": FRICTION,
        "density": _DENSITY,
        "group": HIDDEN_GROUP,
    }
    stretch = np.array([1.0, 1.0, thing.aspect]) * thing.scale
    for radius, low, high, x, y in _SOLIDS.get(thing.kind, ()):
        body.add_geom(
            type=mj.mjtGeom.mjGEOM_CYLINDER,
            size=[radius * stretch[0], (high - low) / 2 * stretch[2], 0.0],
            pos=[x * stretch[0], y * stretch[1], (low + high) / 2 * stretch[2]],
            **solid,
        )
    line, thickness = _WALLS.get(thing.kind, ((), 0.0))
    points = [(r * stretch[0], z * stretch[2]) for r, z in line]
    for start, end in itertools.pairwise(points):
        for turn in np.linspace(0, 2 * math.pi, _SIDES, endpoint=False):
            body.add_geom(
                type=mj.mjtGeom.mjGEOM_BOX,
                **_wall_box(start, end, thickness * thing.scale, float(turn)),
                **solid,
            )


def _wall_box(
    start: tuple[float, float], end: tuple[float, float], thickness: float, turn: float
) -> dict[str, Any]:
    """Return one of the boxes of a wall from one (radius, z) to another."""
    (r0, z0), (r1, z1) = start, end
    length = math.hypot(r1 - r0, z1 - z0)
    out, up = (r1 - r0) / length, (z1 - z0) / length
    cos, sin = math.cos(turn), math.sin(turn)
    return {
        "pos": [(r0 + r1) / 2 * cos, (r0 + r1) / 2 * sin, (z0 + z1) / 2],
        # x through the wall, y around, z along it.
        "size": [thickness / 2, max(r0, r1) * math.tan(math.pi / _SIDES), length / 2],
        "xyaxes": [up * cos, up * sin, -out, -sin, cos, 0.0],
    }
