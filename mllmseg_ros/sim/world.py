# SPDX-License-Identifier: Apache-2.0
"""Build the MuJoCo model of a scene: table, lights, camera, one body per object."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.sim.patterns import pattern_mix
from mllmseg_ros.sim.scene import Block, Scene, Surface
from mllmseg_ros.sim.shapes import add_object
from mllmseg_ros.sim.skins import GROUNDS, draw_ground

__all__ = ["compile_scene", "empty_scene"]

NEAR_M, FAR_M = 0.05, 8.0  # clipping planes
_TEXTURE_PX, _BACKDROP_TEXTURE_PX = 256, 64


def compile_scene(mj: Any, scene: Scene, width: int, height: int) -> Any:
    """Build and compile the model.

    Args:
        mj: the ``mujoco`` module.
        scene: what to build.
        width: of the images, px.
        height: of the images, px.

    Returns:
        A ``mujoco.MjModel``: body 0 is the world, body k the k-th object, camera 0 the scene's.
    """
    spec = empty_scene(mj, scene, width, height)
    for index, thing in enumerate(scene.objects):
        add_object(spec, f"object_{index + 1}", thing)
    return spec.compile()


def empty_scene(mj: Any, scene: Scene, width: int, height: int) -> Any:
    """Build a ``mujoco.MjSpec`` of a scene without its objects; see :func:`compile_scene`."""
    spec = mj.MjSpec()
    spec.stat.extent, spec.stat.center = 1.0, [0.0, 0.0, 0.0]
    visual = spec.visual
    visual.map.znear, visual.map.zfar = NEAR_M, FAR_M
    # No multisampling: it doubles the time, and images are downsampled for the network anyway.
    visual.quality.offsamples, visual.quality.shadowsize = 0, 1024
    visual.global_.offwidth, visual.global_.offheight = width, height
    visual.headlight.ambient = [scene.ambient] * 3
    visual.headlight.diffuse = visual.headlight.specular = [0.0] * 3
    _add_surroundings(mj, spec, scene)
    camera = scene.camera
    # MuJoCo's cameras look along -z with y up, optical frames along z with y down.
    spec.worldbody.add_camera(
        pos=camera.position_m,
        xyaxes=[*camera.rotation[:, 0], *-camera.rotation[:, 1]],
        fovy=math.degrees(camera.vertical_fov_rad),
    )
    return spec


def _add_surroundings(mj: Any, spec: Any, scene: Scene) -> None:
    world = spec.worldbody
    spec.add_texture(
        name="sky",
        type=mj.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mj.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=scene.sky[0],
        rgb2=scene.sky[1],
        width=32,
        height=192,
    )
    surface = scene.surface
    texture = spec.add_texture(
        name="table",
        type=mj.mjtTexture.mjTEXTURE_2D,
        width=_TEXTURE_PX,
        height=_TEXTURE_PX,
        nchannel=3,
    )
    texture.data = _pattern(
        surface, _TEXTURE_PX
    ).tobytes()  # the keyword takes lists of integers only
    table = spec.add_material(
        name="table",
        texuniform=True,
        texrepeat=[surface.repeat, surface.repeat],
        specular=surface.reflectance,
        shininess=0.4,
    )
    table.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = "table"
    for light in scene.lights:
        position = np.array(light.position_m)
        world.add_light(
            type=mj.mjtLightType.mjLIGHT_SPOT,
            pos=position,
            dir=-position,
            diffuse=light.rgb,
            specular=[0.5 * c for c in light.rgb],
            castshadow=light.shadow,
            cutoff=60,
            exponent=1,
        )

    def add_flat_box(xy: tuple[float, float], yaw: float, z: float, **fields: Any) -> None:
        world.add_geom(
            type=mj.mjtGeom.mjGEOM_BOX,
            pos=[*xy, z],
            quat=[math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)],
            contype=0,
            conaffinity=0,
            **fields,
        )

    half = [*surface.half_size_m, 0.02]
    add_flat_box((0.0, 0.0), surface.yaw_rad, -0.02, size=half, material="table")
    floor = [*scene.sky[1], 1.0]
    add_flat_box((0.0, 0.0), 0.0, -0.8, size=[4.0, 4.0, 0.01], rgba=floor)
    for index, block in enumerate(scene.backdrop):
        name = f"backdrop_{index}"
        side = _BACKDROP_TEXTURE_PX
        skin = spec.add_texture(
            name=name, type=mj.mjtTexture.mjTEXTURE_CUBE, width=side, height=6 * side, nchannel=3
        )
        skin.data = _pattern(block, side).tobytes() * 6
        material = spec.add_material(name=name, specular=0.1, shininess=0.1)
        material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = name
        x, y, z = block.position_m
        add_flat_box((x, y), block.yaw_rad, z, size=block.half_size_m, material=name)
    for index, mat in enumerate(scene.mats):
        # Each a little higher than the last, against z-fighting.
        thick = 0.0004 * (index + 1)
        add_flat_box(
            mat.xy_m, mat.yaw_rad, thick, size=[*mat.half_size_m, thick], rgba=[*mat.rgb, 1.0]
        )


def _pattern(surface: Surface | Block, side: int) -> NDArray[np.uint8]:
    """Draw the pattern of a table top or block, (side, side, 3) RGB."""
    if surface.pattern in GROUNDS:
        return draw_ground(surface.pattern, *surface.rgb, side, surface.seed)
    mix = pattern_mix(surface.pattern, side, surface.seed)
    first, second = np.array(surface.rgb)
    colors = first + mix[:, :, None] * (second - first)
    return np.round(255 * colors).astype(np.uint8)
