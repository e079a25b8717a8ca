# SPDX-License-Identifier: Apache-2.0
"""Build the visible parts of an object from MuJoCo primitives and surfaces of revolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.sim.objects import SceneObject
from mllmseg_ros.sim.patterns import pattern_mix

__all__ = ["ShapeBuilder"]

_TEXTURE_PX = 32
_TEXTURE_DEPTH = 0.38  # by how much the darkest shade is darker than the colour


class ShapeBuilder:
    """Adds parts to one body, in units of the kind's base size."""

    def __init__(self, spec: Any, body: Any, name: str, thing: SceneObject) -> None:
        self._spec = spec
        self._body = body
        self._name = name
        self._stretch = np.array([1.0, 1.0, thing.aspect]) * thing.scale
        self._object_rgb = thing.rgb
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
            rgba=[*(rgb or self._object_rgb), 1.0],
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
        """Add a box with its centre and half sizes."""
        self._geom("BOX", rgb, pos=self._scale(center), size=self._scale(half))

    def ellipsoid(
        self,
        center: Sequence[float],
        half: Sequence[float],
        rgb: Sequence[float] | None = None,
    ) -> None:
        """Add an ellipsoid with its centre and half axes."""
        self._geom("ELLIPSOID", rgb, pos=self._scale(center), size=self._scale(half))

    def capsule(
        self,
        start: Sequence[float],
        end: Sequence[float],
        radius: float,
        rgb: Sequence[float] | None = None,
    ) -> None:
        """Add a capsule between two points."""
        size = [radius * self._stretch[0], 0.0, 0.0]
        self._geom("CAPSULE", rgb, fromto=[*self._scale(start), *self._scale(end)], size=size)

    def cylinder(
        self, radius: float, bottom: float, top: float, rgb: Sequence[float] | None = None
    ) -> None:
        """Add an upright cylinder."""
        ends = [*self._scale((0, 0, bottom)), *self._scale((0, 0, top))]
        self._geom("CYLINDER", rgb, fromto=ends, size=[radius * self._stretch[0], 0.0, 0.0])

    def revolve(
        self, profile: Sequence[tuple[float, float]], rgb: Sequence[float] | None = None
    ) -> None:
        """Add the surface of revolution of a closed profile of (radius, z), from bottom to top."""
        from mujoco import mjtMeshInertia

        vertices, faces = _revolve(_widen(np.asarray(profile), *self._round))
        mesh = f"{self._name}_{len(self._spec.meshes)}"
        self._spec.add_mesh(
            name=mesh,
            uservert=(vertices * self._stretch).ravel().tolist(),
            userface=faces.ravel().tolist(),
            inertia=mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        self._geom("MESH", rgb, meshname=mesh)

    def _scale(self, point: Sequence[float]) -> list[float]:
        return [float(p * s) for p, s in zip(point, self._stretch, strict=True)]


def _add_texture(spec: Any, name: str, thing: SceneObject) -> None:
    """Add a pattern between the object's colour and a darker shade, for six faces of a cube."""
    from mujoco import mjtTexture

    side = _TEXTURE_PX
    texture = spec.add_texture(
        name=name, type=mjtTexture.mjTEXTURE_CUBE, width=side, height=6 * side, nchannel=3
    )
    shade = 1 - _TEXTURE_DEPTH * pattern_mix(thing.pattern, side, thing.seed)
    face = np.round(255 * shade).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    texture.data = np.concatenate([face] * 6).tobytes()


def _widen(profile: NDArray[np.float64], taper: float, bulge: float) -> NDArray[np.float64]:
    """Widen a profile of (radius, z) at its top and half-way up."""
    up = profile[:, 1] / profile[:, 1].max()
    factor = 1 + taper * (up - 0.5) + bulge * (4 * up * (1 - up) - 0.5)
    return np.stack([profile[:, 0] * factor, profile[:, 1]], axis=1)


def _revolve(
    profile: NDArray[np.float64], n_sides: int = 28
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Rotate a profile (P, 2) of (radius, z) about z; vertices (P * n, 3), triangles (F, 3)."""
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
