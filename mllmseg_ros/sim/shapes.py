# SPDX-License-Identifier: Apache-2.0
"""What each kind looks like: its parts, its footprint, its height.

Shapes are built from MuJoCo primitives and surfaces of revolution. An object's origin lies on the
table under its middle, z up; a mug's handle and a duck's beak point along +x. Knows neither where
objects stand nor cameras.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.language.vocabulary import CLUTTER
from mllmseg_ros.sim.objects import SceneObject
from mllmseg_ros.sim.patterns import pattern_mix

__all__ = ["add_object", "add_shape", "footprint_radius_m", "height_m"]

_GREY = (0.62, 0.62, 0.65)
_DARK = (0.12, 0.12, 0.13)
_PAPER = (0.86, 0.83, 0.74)
_BEAK = (0.72, 0.38, 0.10)
_WOOD = (0.55, 0.40, 0.25)
_TEXTURE_PX = 32
_TEXTURE_DEPTH = 0.38  # the darkest shade is so much darker than the colour


@dataclass(frozen=True)
class _Shape:
    build: Callable[[_Shaper], None]
    radius_m: float  # of the footprint's circle at scale 1
    height_m: float  # at scale and aspect 1


def footprint_radius_m(kind: str, scale: float) -> float:
    """Radius of the circle on the table that holds the object, whichever way it is turned."""
    return _SHAPES[kind].radius_m * scale


def height_m(thing: SceneObject) -> float:
    """Height over the table."""
    return _SHAPES[thing.kind].height_m * thing.scale * thing.aspect


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
    add_shape(spec, body, name, thing)


def add_shape(spec: Any, body: Any, name: str, thing: SceneObject) -> None:
    """Add what an object looks like to a body that is there; nothing of it touches anything.

    Args:
        spec: a ``mujoco.MjSpec``.
        body: of that spec.
        name: what the names of the parts begin with.
        thing: the object.
    """
    _SHAPES[thing.kind].build(_Shaper(spec, body, name, thing))


class _Shaper:
    """Adds parts to one body, in units of the kind's base size."""

    def __init__(self, spec: Any, body: Any, name: str, thing: SceneObject) -> None:
        self._spec = spec
        self._body = body
        self._name = name
        self._stretch = np.array([1.0, 1.0, thing.aspect]) * thing.scale
        self._own_rgb = thing.rgb
        self._round = (thing.taper, thing.bulge)
        self.aspect = thing.aspect
        self.seed = thing.seed
        material = spec.add_material(name=name, specular=thing.specular, shininess=thing.shininess)
        if thing.pattern != "flat":
            _add_texture(spec, name, thing)
            material.textures[1] = name  # mjTEXROLE_RGB

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

        vertices, faces = _revolved(_bulged(np.asarray(profile), *self._round))
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


def _add_texture(spec: Any, name: str, thing: SceneObject) -> None:
    """Shades between the object's colour and a darker one, over six faces of a cube."""
    from mujoco import mjtTexture

    side = _TEXTURE_PX
    texture = spec.add_texture(
        name=name, type=mjtTexture.mjTEXTURE_CUBE, width=side, height=6 * side, nchannel=3
    )
    shade = 1 - _TEXTURE_DEPTH * pattern_mix(thing.pattern, side, thing.seed)
    face = np.round(255 * shade).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    texture.data = np.concatenate([face] * 6).tobytes()


def _bulged(profile: NDArray[np.float64], taper: float, bulge: float) -> NDArray[np.float64]:
    """Widen a profile of (radius, z) towards its top and half-way up."""
    up = profile[:, 1] / profile[:, 1].max()
    factor = 1 + taper * (up - 0.5) + bulge * (4 * up * (1 - up) - 0.5)
    return np.stack([profile[:, 0] * factor, profile[:, 1]], axis=1)


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


def _pan(add: _Shaper) -> None:
    add.revolve(
        [
            (0.0005, 0.0),
            (0.062, 0.0),
            (0.074, 0.036),
            (0.071, 0.036),
            (0.060, 0.005),
            (0.0005, 0.005),
        ]
    )
    add.capsule((0.070, 0, 0.030), (0.150, 0, 0.038), 0.009)


def _vase(add: _Shaper) -> None:
    add.revolve(
        [
            (0.0005, 0.0),
            (0.030, 0.0),
            (0.036, 0.006),
            (0.054, 0.055),
            (0.050, 0.085),
            (0.026, 0.125),
            (0.022, 0.142),
            (0.036, 0.165),
            (0.032, 0.165),
            (0.018, 0.142),
            (0.0005, 0.135),
        ]
    )


def _cone(add: _Shaper) -> None:
    add.box((0, 0, 0.005), (0.055, 0.055, 0.005))
    add.revolve([(0.0005, 0.010), (0.045, 0.010), (0.009, 0.135), (0.0005, 0.135)])


def _ring(add: _Shaper) -> None:
    turn = np.linspace(-np.pi, np.pi, 13)
    add.revolve([(0.054 + 0.019 * np.cos(t), 0.019 * (1 + np.sin(t))) for t in turn])


def _car(add: _Shaper) -> None:
    add.box((0, 0, 0.032), (0.072, 0.036, 0.017))
    add.box((-0.010, 0, 0.062), (0.036, 0.030, 0.014))
    for x in (-0.044, 0.044):
        add.capsule((x, -0.030, 0.018), (x, 0.030, 0.018), 0.018, _DARK)


def _bear(add: _Shaper) -> None:
    add.ellipsoid((0, 0, 0.050), (0.042, 0.046, 0.050))
    add.ellipsoid((0.008, 0, 0.118), (0.036, 0.038, 0.034))
    add.ellipsoid((0.041, 0, 0.110), (0.013, 0.015, 0.012), _PAPER)
    for side in (-1, 1):
        add.ellipsoid((0.002, side * 0.031, 0.149), (0.010, 0.015, 0.015))
        add.ellipsoid((0.037, side * 0.014, 0.128), (0.005, 0.005, 0.005), _DARK)
        add.ellipsoid((0.050, side * 0.032, 0.019), (0.034, 0.019, 0.019))
        add.ellipsoid((0.024, side * 0.050, 0.066), (0.018, 0.016, 0.030))


def _spoon(add: _Shaper) -> None:
    add.ellipsoid((0.070, 0, 0.011), (0.037, 0.027, 0.010))
    add.capsule((0.038, 0, 0.010), (-0.095, 0, 0.010), 0.009)


def _teapot(add: _Shaper) -> None:
    add.ellipsoid((0, 0, 0.050), (0.055, 0.055, 0.048))
    add.cylinder(0.034, 0.0, 0.012)
    add.ellipsoid((0, 0, 0.096), (0.029, 0.029, 0.012))
    add.ellipsoid((0, 0, 0.112), (0.009, 0.009, 0.009), _DARK)
    add.capsule((0.045, 0, 0.042), (0.092, 0, 0.086), 0.010)
    turn = np.linspace(-np.pi / 2, np.pi / 2, 7)
    arc = [(-0.048 - 0.036 * np.cos(t), 0.0, 0.054 + 0.030 * np.sin(t)) for t in turn]
    for start, end in itertools.pairwise(arc):
        add.capsule(start, end, 0.0075)


def _hat(add: _Shaper) -> None:
    add.revolve(
        [
            (0.0005, 0.0),
            (0.086, 0.0),
            (0.088, 0.004),
            (0.085, 0.008),
            (0.055, 0.010),
            (0.050, 0.052),
            (0.036, 0.069),
            (0.0005, 0.073),
        ]
    )
    add.revolve([(0.0535, 0.012), (0.0565, 0.012), (0.0555, 0.024), (0.0525, 0.024)], _DARK)


def _hammer(add: _Shaper) -> None:
    add.capsule((-0.095, 0, 0.018), (0.050, 0, 0.018), 0.012)
    add.box((0.064, 0, 0.020), (0.018, 0.048, 0.018), _GREY)


def _screwdriver(add: _Shaper) -> None:
    add.capsule((-0.080, 0, 0.019), (-0.018, 0, 0.019), 0.019)
    add.capsule((0.0, 0, 0.019), (0.092, 0, 0.019), 0.007, _GREY)


def _flashlight(add: _Shaper) -> None:
    add.capsule((-0.080, 0, 0.027), (0.035, 0, 0.027), 0.017)
    add.capsule((0.045, 0, 0.027), (0.070, 0, 0.027), 0.027)
    add.ellipsoid((0.094, 0, 0.027), (0.005, 0.021, 0.021), _PAPER)


def _clutter(add: _Shaper) -> None:
    """A thing that is none of the others: a heap of one to three parts."""
    rng = np.random.default_rng(add.seed)
    for _ in range(int(rng.integers(1, 4))):
        x, y = (float(value) for value in rng.uniform(-0.025, 0.025, size=2))
        half = [float(value) for value in rng.uniform(0.010, 0.035, size=3)]
        shape = int(rng.integers(3))
        if shape == 0:
            add.box((x, y, half[2]), half)
        elif shape == 1:
            add.ellipsoid((x, y, half[2]), half)
        else:
            add.capsule((x, y, half[0]), (-x, -y, 0.09), half[0], _WOOD)


_SHAPES = {
    "mug": _Shape(_mug, 0.094, 0.105),
    "bowl": _Shape(_bowl, 0.085, 0.070),
    "bottle": _Shape(_bottle, 0.038, 0.216),
    "can": _Shape(_can, 0.040, 0.124),
    "box": _Shape(_box, 0.067, 0.177),
    "cube": _Shape(_cube, 0.057, 0.080),
    "ball": _Shape(_ball, 0.046, 0.092),
    "plate": _Shape(_plate, 0.104, 0.024),
    "banana": _Shape(_banana, 0.112, 0.051),
    "book": _Shape(_book, 0.100, 0.033),
    "duck": _Shape(_duck, 0.088, 0.127),
    "pan": _Shape(_pan, 0.160, 0.048),
    "vase": _Shape(_vase, 0.055, 0.165),
    "cone": _Shape(_cone, 0.078, 0.135),
    "ring": _Shape(_ring, 0.074, 0.038),
    "car": _Shape(_car, 0.082, 0.076),
    "bear": _Shape(_bear, 0.092, 0.165),
    "spoon": _Shape(_spoon, 0.108, 0.021),
    "teapot": _Shape(_teapot, 0.104, 0.121),
    "hat": _Shape(_hat, 0.088, 0.073),
    "hammer": _Shape(_hammer, 0.108, 0.038),
    "screwdriver": _Shape(_screwdriver, 0.100, 0.038),
    "flashlight": _Shape(_flashlight, 0.100, 0.054),
    CLUTTER: _Shape(_clutter, 0.085, 0.125),
}
