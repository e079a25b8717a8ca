# SPDX-License-Identifier: Apache-2.0
"""Parts of a thing whose shape is drawn at random, as data, and how they are built in MuJoCo.

Lengths are in metres. A thing's origin is on the table under its centre, z up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.sim.skins import draw_skin

__all__ = ["Ball", "Box", "Part", "Revolved", "Rod", "Shape", "Skin", "add_parts"]

RGB = tuple[float, float, float]
Point = tuple[float, float, float]

_SIDES = 24  # of a surface of revolution
_SKIN_PX = 64


@dataclass(frozen=True, kw_only=True)
class Skin:
    """The surface of a part."""

    rgb: RGB  # [0, 1]
    name: str = "plain"  # see skins.draw_skin
    second: RGB = (1.0, 1.0, 1.0)
    seed: int = 0
    opacity: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Revolved:
    """The surface of revolution of a profile of (radius, z), outside on the right of its way."""

    skin: Skin
    profile: tuple[tuple[float, float], ...]
    xy: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class _Centered:
    """A solid with three half axes, turned about z and then tilted about its own y."""

    skin: Skin
    center: Point
    half: Point
    yaw_rad: float = 0.0
    tilt_rad: float = 0.0


class Box(_Centered):
    """A box."""


class Ball(_Centered):
    """An ellipsoid."""


@dataclass(frozen=True, kw_only=True)
class Rod:
    """A rod with round ends."""

    skin: Skin
    start: Point
    end: Point
    radius: float


Part = Revolved | Box | Ball | Rod


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The parts of a thing."""

    parts: tuple[Part, ...]

    @property
    def radius_m(self) -> float:
        """Radius of the circle on the table that contains it at any yaw."""
        return max(_reach(part)[0] for part in self.parts)

    @property
    def height_m(self) -> float:
        """Height above the table."""
        return max(_reach(part)[1] for part in self.parts)


def _reach(part: Part) -> tuple[float, float]:
    """Return the largest distance from the z axis, and the largest z."""
    if isinstance(part, Revolved):
        return (
            math.hypot(*part.xy) + max(radius for radius, _ in part.profile),
            max(z for _, z in part.profile),
        )
    if isinstance(part, Rod):
        ends = (part.start, part.end)
        return (
            max(math.hypot(*end[:2]) for end in ends) + part.radius,
            max(end[2] for end in ends) + part.radius,
        )
    x, y, z = part.half
    cos, sin = abs(math.cos(part.tilt_rad)), abs(math.sin(part.tilt_rad))
    wide, tall = x * cos + z * sin, x * sin + z * cos
    around = math.hypot(wide, y) if isinstance(part, Box) else max(wide, y)
    return math.hypot(*part.center[:2]) + around, part.center[2] + tall


def add_parts(
    spec: Any, body: Any, name: str, shape: Shape, *, specular: float, shininess: float
) -> None:
    """Add the visible parts of a shape, without collisions, to a body.

    Args:
        spec: a ``mujoco.MjSpec``.
        body: of that spec.
        name: prefix of the names of textures, materials and meshes.
        shape: its parts.
        specular: of the material, [0, 1].
        shininess: of the material, [0, 1].
    """
    from mujoco import mjtGeom, mjtMeshInertia

    materials: dict[tuple[Skin, bool], str] = {}
    for index, part in enumerate(shape.parts):
        skin, wrapped = part.skin, isinstance(part, Revolved)
        if (skin, wrapped) not in materials:
            material = f"{name}_{index}"
            materials[skin, wrapped] = material
            _add_material(spec, material, skin, wrapped, specular, shininess)
        textured = skin.name != "plain"
        fields: dict[str, Any] = {
            "material": materials[skin, wrapped],
            "rgba": [*((1.0, 1.0, 1.0) if textured else skin.rgb), skin.opacity],
            "contype": 0,
            "conaffinity": 0,
        }
        if isinstance(part, Revolved):
            vertices, faces, places = _revolve(np.asarray(part.profile))
            spec.add_mesh(
                name=f"{name}_{index}",
                uservert=vertices.ravel().tolist(),
                userface=faces.ravel().tolist(),
                usertexcoord=places.ravel().tolist() if textured else [],
                userfacetexcoord=faces.ravel().tolist() if textured else [],
                inertia=mjtMeshInertia.mjMESH_INERTIA_SHELL,
            )
            body.add_geom(
                type=mjtGeom.mjGEOM_MESH,
                meshname=f"{name}_{index}",
                pos=[*part.xy, 0.0],
                **fields,
            )
        elif isinstance(part, Rod):
            body.add_geom(
                type=mjtGeom.mjGEOM_CAPSULE,
                fromto=[*part.start, *part.end],
                size=[part.radius, 0.0, 0.0],
                **fields,
            )
        else:
            kind = mjtGeom.mjGEOM_BOX if isinstance(part, Box) else mjtGeom.mjGEOM_ELLIPSOID
            body.add_geom(
                type=kind,
                pos=part.center,
                size=part.half,
                quat=_quaternion(part.yaw_rad, part.tilt_rad),
                **fields,
            )


def _add_material(
    spec: Any, name: str, skin: Skin, wrapped: bool, specular: float, shininess: float
) -> None:
    from mujoco import mjtTexture, mjtTextureRole

    material = spec.add_material(name=name, specular=specular, shininess=shininess)
    if skin.name == "plain":
        return
    pixels = draw_skin(skin.name, skin.rgb, skin.second, _SKIN_PX, skin.seed)
    texture = spec.add_texture(
        name=name,
        type=mjtTexture.mjTEXTURE_2D if wrapped else mjtTexture.mjTEXTURE_CUBE,
        width=_SKIN_PX,
        height=_SKIN_PX * (1 if wrapped else 6),
        nchannel=3,
    )
    texture.data = pixels.tobytes() * (1 if wrapped else 6)
    material.textures[mjtTextureRole.mjTEXROLE_RGB] = name


def _quaternion(yaw: float, tilt: float) -> list[float]:
    """About z by yaw, after about y by tilt."""
    a, b = (math.cos(yaw / 2), math.sin(yaw / 2)), (math.cos(tilt / 2), math.sin(tilt / 2))
    return [a[0] * b[0], -a[1] * b[1], a[0] * b[1], a[1] * b[0]]


def _revolve(
    profile: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64]]:
    """Rotate a profile (P, 2) of (radius, z) about z.

    Returns:
        Vertices (P * n, 3); triangles (F, 3); places in the texture (P * n, 2), once around and
        along the profile from the image's lower edge to its upper one.
    """
    n = _SIDES + 1  # the seam has two places in the texture
    turn = np.linspace(0, 2 * np.pi, n)
    radius, z = np.maximum(profile[:, :1], 0.0003), profile[:, 1:]
    vertices = np.stack(
        [radius * np.cos(turn), radius * np.sin(turn), np.broadcast_to(z, (len(profile), n))],
        axis=-1,
    ).reshape(-1, 3)
    lengths = np.hypot(*np.diff(profile, axis=0).T)
    up = np.concatenate([[0.0], np.cumsum(lengths)]) / max(float(lengths.sum()), 1e-9)
    places = np.stack(np.broadcast_arrays(turn[None] / (2 * np.pi), 1 - up[:, None]), axis=-1)
    ring = np.arange(_SIDES)
    triangles = []
    for lower in range(0, (len(profile) - 1) * n, n):
        upper = lower + n
        triangles.append(np.stack([lower + ring, lower + ring + 1, upper + ring + 1], axis=1))
        triangles.append(np.stack([lower + ring, upper + ring + 1, upper + ring], axis=1))
    return vertices, np.concatenate(triangles).astype(np.int32), places.reshape(-1, 2)
