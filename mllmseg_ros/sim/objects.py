# SPDX-License-Identifier: Apache-2.0
"""The household objects of the simulated tabletop: their kinds, colours, sizes and shapes.

Shapes are built from MuJoCo primitives and surfaces of revolution. An object's origin lies on the
table under its middle, z up; a mug's handle and a duck's beak point along +x. Knows neither where
objects stand nor cameras. Entry points: :class:`SceneObject`, :func:`add_object`.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = (
    "mug",
    "bowl",
    "bottle",
    "can",
    "box",
    "cube",
    "ball",
    "plate",
    "banana",
    "book",
    "duck",
)
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
SIZES = ("small", "large")

# (colour, kind) pairs that no train or validation scene contains, to measure how the model
# combines words that it has only met apart.
HELD_OUT = frozenset(
    {
        ("green", "mug"),
        ("purple", "bowl"),
        ("white", "bottle"),
        ("orange", "can"),
        ("pink", "box"),
        ("yellow", "cube"),
        ("blue", "banana"),
        ("black", "book"),
    }
)

# Ranges of hue (turns; may pass through 0), saturation and value.
_HSV: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-0.015, 0.015), (0.85, 1.0), (0.62, 0.88)),
    "orange": ((0.062, 0.083), (0.88, 1.0), (0.88, 1.0)),
    "yellow": ((0.138, 0.165), (0.8, 1.0), (0.85, 1.0)),
    "green": ((0.30, 0.40), (0.65, 0.95), (0.38, 0.72)),
    "blue": ((0.58, 0.64), (0.7, 0.98), (0.5, 0.9)),
    "purple": ((0.74, 0.79), (0.6, 0.9), (0.42, 0.68)),
    "pink": ((0.90, 0.95), (0.35, 0.52), (0.93, 1.0)),
    "white": ((0.0, 1.0), (0.0, 0.03), (0.9, 1.0)),
    "black": ((0.0, 1.0), (0.0, 0.1), (0.04, 0.11)),
}
_SCALE = {"small": (0.76, 0.83), "large": (1.13, 1.25)}  # every ratio large : small > 1.35

_GREY = (0.62, 0.62, 0.65)
_DARK = (0.12, 0.12, 0.13)
_PAPER = (0.86, 0.83, 0.74)
_BEAK = (0.72, 0.38, 0.10)


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object as it stands on the table."""

    kind: str  # one of KINDS
    color: str  # one of COLORS
    size_name: str  # one of SIZES; a name of its own only beside another size of the same kind
    scale: float  # on the kind's base size
    aspect: float  # height over its usual share of the width, about 1
    rgb: tuple[float, float, float]  # [0, 1]
    specular: float  # [0, 1]
    shininess: float  # [0, 1]
    xy_m: tuple[float, float]  # on the table
    yaw_rad: float  # about the table's normal


def random_rgb(color: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a shade that the colour's name fits."""
    h, s, v = (float(rng.uniform(*span)) for span in _HSV[color])
    return colorsys.hsv_to_rgb(h % 1.0, s, v)


def random_scale(size_name: str, rng: np.random.Generator) -> float:
    """Draw a scale of that size."""
    return float(rng.uniform(*_SCALE[size_name]))


def footprint_radius_m(kind: str, scale: float) -> float:
    """Radius of the circle on the table that holds the object, whichever way it is turned."""
    return _RADIUS_M[kind] * scale


def height_m(thing: SceneObject) -> float:
    """Height over the table."""
    return _HEIGHT_M[thing.kind] * thing.scale * thing.aspect


def add_object(spec: Any, name: str, thing: SceneObject) -> None:
    """Add one object as a mocap body, which moves without compiling the model again.

    Args:
        spec: a ``mujoco.MjSpec``.
        name: of the body; its parts carry names that begin with it.
        thing: the object.
    """
    half = thing.yaw_rad / 2
    body = spec.worldbody.add_body(
        name=name,
        mocap=True,
        pos=[*thing.xy_m, 0.0],
        quat=[np.cos(half), 0.0, 0.0, np.sin(half)],
    )
    _BUILD[thing.kind](_Shaper(spec, body, name, thing))


class _Shaper:
    """Adds parts to one body, in units of the kind's base size."""

    def __init__(self, spec: Any, body: Any, name: str, thing: SceneObject) -> None:
        self._spec = spec
        self._body = body
        self._name = name
        self._stretch = np.array([1.0, 1.0, thing.aspect]) * thing.scale
        self._own_rgb = thing.rgb
        self.aspect = thing.aspect
        spec.add_material(name=name, specular=thing.specular, shininess=thing.shininess)

    def _geom(self, geom_type: str, rgb: Sequence[float] | None, **fields: Any) -> None:
        from mujoco import mjtGeom

        self._body.add_geom(
            type=getattr(mjtGeom, f"mjGEOM_{geom_type}"),
            material=self._name,
            rgba=[*(rgb or self._own_rgb), 1.0],
            contype=0,
            conaffinity=0,
            **fields,
        )

    def box(
        self,
        center: Sequence[float],
        half: Sequence[float],
        rgb: Sequence[float] | None = None,
    ) -> None:
        self._geom("BOX", rgb, pos=self._at(center), size=self._at(half))

    def ellipsoid(
        self,
        center: Sequence[float],
        half: Sequence[float],
        rgb: Sequence[float] | None = None,
    ) -> None:
        self._geom("ELLIPSOID", rgb, pos=self._at(center), size=self._at(half))

    def capsule(
        self,
        start: Sequence[float],
        end: Sequence[float],
        radius: float,
        rgb: Sequence[float] | None = None,
    ) -> None:
        size = [radius * self._stretch[0], 0.0, 0.0]
        self._geom("CAPSULE", rgb, fromto=[*self._at(start), *self._at(end)], size=size)

    def cylinder(
        self, radius: float, bottom: float, top: float, rgb: Sequence[float] | None = None
    ) -> None:
        ends = [*self._at((0, 0, bottom)), *self._at((0, 0, top))]
        self._geom("CYLINDER", rgb, fromto=ends, size=[radius * self._stretch[0], 0.0, 0.0])

    def revolve(
        self, profile: Sequence[tuple[float, float]], rgb: Sequence[float] | None = None
    ) -> None:
        """Add the closed surface that a profile of (radius, z), bottom to top centre, sweeps."""
        from mujoco import mjtMeshInertia

        vertices, faces = _revolved(np.asarray(profile))
        mesh = f"{self._name}_{len(self._spec.meshes)}"
        self._spec.add_mesh(
            name=mesh,
            uservert=(vertices * self._stretch).ravel().tolist(),
            userface=faces.ravel().tolist(),
            inertia=mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        self._geom("MESH", rgb, meshname=mesh)

    def _at(self, point: Sequence[float]) -> list[float]:
        return [float(p * s) for p, s in zip(point, self._stretch, strict=True)]


def _revolved(
    profile: NDArray[np.float64], n_sides: int = 28
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Sweep a profile (P, 2) of (radius, z) about z; vertices (P * n, 3), triangles (F, 3)."""
    turn = np.linspace(0, 2 * np.pi, n_sides, endpoint=False)
    radius, z = profile[:, :1], profile[:, 1:]
    vertices = np.stack(
        [radius * np.cos(turn), radius * np.sin(turn), np.broadcast_to(z, (len(profile), n_sides))],
        axis=-1,
    ).reshape(-1, 3)
    ring = np.arange(n_sides)
    after = (ring + 1) % n_sides
    triangles = []
    for lower in range(0, (len(profile) - 1) * n_sides, n_sides):
        upper = lower + n_sides
        triangles.append(np.stack([lower + ring, lower + after, upper + after], axis=1))
        triangles.append(np.stack([lower + ring, upper + after, upper + ring], axis=1))
    return vertices, np.concatenate(triangles).astype(np.int32)


def _mug(add: _Shaper) -> None:
    add.revolve(
        [
            (0.0005, 0.0),
            (0.044, 0.0),
            (0.048, 0.005),
            (0.048, 0.105),
            (0.0435, 0.105),
            (0.0425, 0.008),
            (0.0005, 0.007),
        ]
    )
    # Half an ellipse of capsules beside the wall.
    turn = np.linspace(-np.pi / 2, np.pi / 2, 8)
    arc = [(0.046 + 0.040 * np.cos(t), 0.0, 0.056 + 0.035 * np.sin(t)) for t in turn]
    for index in range(len(arc) - 1):
        add.capsule(arc[index], arc[index + 1], 0.0075)


def _bowl(add: _Shaper) -> None:
    turn = np.linspace(0.12, np.pi / 2, 9)
    outer = [(0.030, 0.0), *((0.085 * np.sin(t), 0.008 + 0.062 * (1 - np.cos(t))) for t in turn)]
    inner = [(0.079 * np.sin(t), 0.015 + 0.055 * (1 - np.cos(t))) for t in turn[::-1]]
    add.revolve([(0.0005, 0.0), *outer, *inner, (0.0005, 0.015)])


def _bottle(add: _Shaper) -> None:
    add.revolve(
        [
            (0.0005, 0.0),
            (0.034, 0.0),
            (0.038, 0.006),
            (0.038, 0.115),
            (0.034, 0.135),
            (0.024, 0.152),
            (0.0145, 0.165),
            (0.013, 0.198),
            (0.0005, 0.198),
        ]
    )
    add.cylinder(0.0155, 0.196, 0.216, _GREY)


def _can(add: _Shaper) -> None:
    add.cylinder(0.040, 0.004, 0.116)
    for low, high in ((0.0, 0.004), (0.116, 0.120)):
        add.revolve(
            [(0.0005, low), (0.037, low), (0.040, low + 0.001), (0.037, high), (0.0005, high)],
            _GREY,
        )
    add.revolve(
        [(0.034, 0.119), (0.037, 0.119), (0.037, 0.124), (0.034, 0.124), (0.034, 0.119)], _GREY
    )


def _box(add: _Shaper) -> None:
    add.box((0, 0, 0.088), (0.034, 0.056, 0.088))
    # A strip of parcel tape tells a carton from a block.
    add.box((0, 0, 0.1765), (0.009, 0.0565, 0.0008), _PAPER)
    for side in (-1, 1):
        add.box((0, side * 0.0565, 0.150), (0.009, 0.0008, 0.0265), _PAPER)


def _cube(add: _Shaper) -> None:
    add.box((0, 0, 0.040 / add.aspect), (0.040, 0.040, 0.040 / add.aspect))


def _ball(add: _Shaper) -> None:
    add.ellipsoid((0, 0, 0.046 / add.aspect), (0.046, 0.046, 0.046 / add.aspect))


def _plate(add: _Shaper) -> None:
    add.revolve(
        [
            (0.0005, 0.0),
            (0.062, 0.0),
            (0.072, 0.012),
            (0.102, 0.020),
            (0.102, 0.024),
            (0.071, 0.017),
            (0.062, 0.005),
            (0.0005, 0.005),
        ]
    )


def _banana(add: _Shaper) -> None:
    # A bow of 130 degrees, thick in the middle, lying on its side.
    turn = np.linspace(-1.15, 1.15, 9)
    bow = [(0.092 * np.sin(t), 0.092 * np.cos(t) - 0.067, 0.025) for t in turn]
    radii = [0.014, 0.021, 0.0245, 0.026, 0.026, 0.0245, 0.021, 0.014]
    for start, end, radius in zip(bow[:-1], bow[1:], radii, strict=True):
        add.capsule(start, end, radius)
    tip = bow[-1]
    add.capsule(tip, (tip[0] + 0.011, tip[1] - 0.024, tip[2]), 0.008, _DARK)


def _book(add: _Shaper) -> None:
    add.box((0.001, 0, 0.0165), (0.054, 0.077, 0.0125), _PAPER)
    for z in (0.002, 0.031):
        add.box((0, 0, z), (0.058, 0.080, 0.002))
    add.box((-0.0565, 0, 0.0165), (0.0025, 0.080, 0.0165))


def _duck(add: _Shaper) -> None:
    add.ellipsoid((0, 0, 0.040), (0.062, 0.045, 0.040))
    add.ellipsoid((-0.055, 0, 0.058), (0.024, 0.018, 0.014))
    add.ellipsoid((0.032, 0, 0.094), (0.033, 0.033, 0.033))
    add.ellipsoid((0.068, 0, 0.088), (0.019, 0.017, 0.0065), _BEAK)
    for side in (-1, 1):
        add.ellipsoid((0.052, side * 0.021, 0.104), (0.007, 0.006, 0.007), _DARK)
        add.ellipsoid((-0.006, side * 0.040, 0.046), (0.032, 0.012, 0.021))


_BUILD: dict[str, Callable[[_Shaper], None]] = {
    "mug": _mug,
    "bowl": _bowl,
    "bottle": _bottle,
    "can": _can,
    "box": _box,
    "cube": _cube,
    "ball": _ball,
    "plate": _plate,
    "banana": _banana,
    "book": _book,
    "duck": _duck,
}
_RADIUS_M = {
    "mug": 0.094,
    "bowl": 0.085,
    "bottle": 0.038,
    "can": 0.040,
    "box": 0.067,
    "cube": 0.057,
    "ball": 0.046,
    "plate": 0.104,
    "banana": 0.112,
    "book": 0.100,
    "duck": 0.088,
}
_HEIGHT_M = {
    "mug": 0.105,
    "bowl": 0.070,
    "bottle": 0.216,
    "can": 0.124,
    "box": 0.177,
    "cube": 0.080,
    "ball": 0.092,
    "plate": 0.024,
    "banana": 0.051,
    "book": 0.033,
    "duck": 0.127,
}
