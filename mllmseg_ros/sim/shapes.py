# SPDX-License-Identifier: Apache-2.0
"""Shapes of the kinds of objects: their parts, footprint and height.

An object's origin is on the table under its centre, z up; a mug's handle and a duck's beak point
along +x.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mllmseg_ros.language.vocabulary import CLUTTER
from mllmseg_ros.sim.objects import SceneObject
from mllmseg_ros.sim.parts import add_parts
from mllmseg_ros.sim.shape_builder import ShapeBuilder

__all__ = ["add_object", "add_shape", "footprint_radius_m", "height_m"]

_GREY = (0.62, 0.62, 0.65)
_DARK = (0.12, 0.12, 0.13)
_PAPER = (0.86, 0.83, 0.74)
_BEAK = (0.72, 0.38, 0.10)
_WOOD = (0.55, 0.40, 0.25)


@dataclass(frozen=True)
class _Shape:
    build: Callable[[ShapeBuilder], None]
    radius_m: float  # of the footprint's circle at scale 1
    height_m: float  # at scale and aspect 1


def footprint_radius_m(thing: SceneObject) -> float:
    """Return the radius of the circle on the table that contains the object at any yaw."""
    if thing.shape is not None:
        return thing.shape.radius_m
    return _SHAPES[thing.kind].radius_m * thing.scale


def height_m(thing: SceneObject) -> float:
    """Return the height above the table."""
    if thing.shape is not None:
        return thing.shape.height_m
    return _SHAPES[thing.kind].height_m * thing.scale * thing.aspect


def add_object(spec: Any, name: str, thing: SceneObject) -> None:
    """Add one object as a mocap body, which moves without compiling the model again.

    Args:
        spec: a ``mujoco.MjSpec``.
        name: of the body, and prefix of the names of its parts.
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
    """Add the visible parts of an object, without collisions, to an existing body.

    Args:
        spec: a ``mujoco.MjSpec``.
        body: of that spec.
        name: prefix of the names of the parts.
        thing: the object.
    """
    if thing.shape is not None:
        add_parts(
            spec,
            body,
            name,
            thing.shape,
            specular=thing.specular,
            shininess=thing.shininess,
        )
        return
    _SHAPES[thing.kind].build(ShapeBuilder(spec, body, name, thing))


def _mug(add: ShapeBuilder) -> None:
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


def _bowl(add: ShapeBuilder) -> None:
    turn = np.linspace(0.12, np.pi / 2, 9)
    outer = [(0.030, 0.0), *((0.085 * np.sin(t), 0.008 + 0.062 * (1 - np.cos(t))) for t in turn)]
    inner = [(0.079 * np.sin(t), 0.015 + 0.055 * (1 - np.cos(t))) for t in turn[::-1]]
    add.revolve([(0.0005, 0.0), *outer, *inner, (0.0005, 0.015)])


def _bottle(add: ShapeBuilder) -> None:
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


def _can(add: ShapeBuilder) -> None:
    add.cylinder(0.040, 0.004, 0.116)
    for low, high in ((0.0, 0.004), (0.116, 0.120)):
        add.revolve(
            [(0.0005, low), (0.037, low), (0.040, low + 0.001), (0.037, high), (0.0005, high)],
            _GREY,
        )
    add.revolve(
        [(0.034, 0.119), (0.037, 0.119), (0.037, 0.124), (0.034, 0.124), (0.034, 0.119)], _GREY
    )


def _box(add: ShapeBuilder) -> None:
    add.box((0, 0, 0.088), (0.034, 0.056, 0.088))
    # A strip of parcel tape distinguishes a carton from a block.
    add.box((0, 0, 0.1765), (0.009, 0.0565, 0.0008), _PAPER)
    for side in (-1, 1):
        add.box((0, side * 0.0565, 0.150), (0.009, 0.0008, 0.0265), _PAPER)


def _cube(add: ShapeBuilder) -> None:
    add.box((0, 0, 0.040 / add.aspect), (0.040, 0.040, 0.040 / add.aspect))


def _ball(add: ShapeBuilder) -> None:
    add.ellipsoid((0, 0, 0.046 / add.aspect), (0.046, 0.046, 0.046 / add.aspect))


def _plate(add: ShapeBuilder) -> None:
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


def _banana(add: ShapeBuilder) -> None:
    # A bow of 130 degrees, thick in the middle, lying on its side.
    turn = np.linspace(-1.15, 1.15, 9)
    bow = [(0.092 * np.sin(t), 0.092 * np.cos(t) - 0.067, 0.025) for t in turn]
    radii = [0.014, 0.021, 0.0245, 0.026, 0.026, 0.0245, 0.021, 0.014]
    for start, end, radius in zip(bow[:-1], bow[1:], radii, strict=True):
        add.capsule(start, end, radius)
    tip = bow[-1]
    add.capsule(tip, (tip[0] + 0.011, tip[1] - 0.024, tip[2]), 0.008, _DARK)


def _book(add: ShapeBuilder) -> None:
    add.box((0.001, 0, 0.0165), (0.054, 0.077, 0.0125), _PAPER)
    for z in (0.002, 0.031):
        add.box((0, 0, z), (0.058, 0.080, 0.002))
    add.box((-0.0565, 0, 0.0165), (0.0025, 0.080, 0.0165))


def _duck(add: ShapeBuilder) -> None:
    add.ellipsoid((0, 0, 0.040), (0.062, 0.045, 0.040))
    add.ellipsoid((-0.055, 0, 0.058), (0.024, 0.018, 0.014))
    add.ellipsoid((0.032, 0, 0.094), (0.033, 0.033, 0.033))
    add.ellipsoid((0.068, 0, 0.088), (0.019, 0.017, 0.0065), _BEAK)
    for side in (-1, 1):
        add.ellipsoid((0.052, side * 0.021, 0.104), (0.007, 0.006, 0.007), _DARK)
        add.ellipsoid((-0.006, side * 0.040, 0.046), (0.032, 0.012, 0.021))


def _pan(add: ShapeBuilder) -> None:
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


def _vase(add: ShapeBuilder) -> None:
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


def _cone(add: ShapeBuilder) -> None:
    add.box((0, 0, 0.005), (0.055, 0.055, 0.005))
    add.revolve([(0.0005, 0.010), (0.045, 0.010), (0.009, 0.135), (0.0005, 0.135)])


def _ring(add: ShapeBuilder) -> None:
    turn = np.linspace(-np.pi, np.pi, 13)
    add.revolve([(0.054 + 0.019 * np.cos(t), 0.019 * (1 + np.sin(t))) for t in turn])


def _car(add: ShapeBuilder) -> None:
    add.box((0, 0, 0.032), (0.072, 0.036, 0.017))
    add.box((-0.010, 0, 0.062), (0.036, 0.030, 0.014))
    for x in (-0.044, 0.044):
        add.capsule((x, -0.030, 0.018), (x, 0.030, 0.018), 0.018, _DARK)


def _bear(add: ShapeBuilder) -> None:
    add.ellipsoid((0, 0, 0.050), (0.042, 0.046, 0.050))
    add.ellipsoid((0.008, 0, 0.118), (0.036, 0.038, 0.034))
    add.ellipsoid((0.041, 0, 0.110), (0.013, 0.015, 0.012), _PAPER)
    for side in (-1, 1):
        add.ellipsoid((0.002, side * 0.031, 0.149), (0.010, 0.015, 0.015))
        add.ellipsoid((0.037, side * 0.014, 0.128), (0.005, 0.005, 0.005), _DARK)
        add.ellipsoid((0.050, side * 0.032, 0.019), (0.034, 0.019, 0.019))
        add.ellipsoid((0.024, side * 0.050, 0.066), (0.018, 0.016, 0.030))


def _spoon(add: ShapeBuilder) -> None:
    add.ellipsoid((0.070, 0, 0.011), (0.037, 0.027, 0.010))
    add.capsule((0.038, 0, 0.010), (-0.095, 0, 0.010), 0.009)


def _teapot(add: ShapeBuilder) -> None:
    add.ellipsoid((0, 0, 0.050), (0.055, 0.055, 0.048))
    add.cylinder(0.034, 0.0, 0.012)
    add.ellipsoid((0, 0, 0.096), (0.029, 0.029, 0.012))
    add.ellipsoid((0, 0, 0.112), (0.009, 0.009, 0.009), _DARK)
    add.capsule((0.045, 0, 0.042), (0.092, 0, 0.086), 0.010)
    turn = np.linspace(-np.pi / 2, np.pi / 2, 7)
    arc = [(-0.048 - 0.036 * np.cos(t), 0.0, 0.054 + 0.030 * np.sin(t)) for t in turn]
    for start, end in itertools.pairwise(arc):
        add.capsule(start, end, 0.0075)


def _hat(add: ShapeBuilder) -> None:
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


def _hammer(add: ShapeBuilder) -> None:
    add.capsule((-0.095, 0, 0.018), (0.050, 0, 0.018), 0.012)
    add.box((0.064, 0, 0.020), (0.018, 0.048, 0.018), _GREY)


def _screwdriver(add: ShapeBuilder) -> None:
    add.capsule((-0.080, 0, 0.019), (-0.018, 0, 0.019), 0.019)
    add.capsule((0.0, 0, 0.019), (0.092, 0, 0.019), 0.007, _GREY)


def _flashlight(add: ShapeBuilder) -> None:
    add.capsule((-0.080, 0, 0.027), (0.035, 0, 0.027), 0.017)
    add.capsule((0.045, 0, 0.027), (0.070, 0, 0.027), 0.027)
    add.ellipsoid((0.094, 0, 0.027), (0.005, 0.021, 0.021), _PAPER)


def _clutter(add: ShapeBuilder) -> None:
    """Build an object without a name, of one to three parts."""
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
