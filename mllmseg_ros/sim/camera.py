# SPDX-License-Identifier: Apache-2.0
"""Render scenes with MuJoCo, off screen: RGB, metric depth, instance ids, pose, intrinsics.

One GL context serves any number of scenes.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.sim.scene import CameraView, Scene
from mllmseg_ros.sim.sensor import apply_sensor
from mllmseg_ros.sim.shapes import height_m
from mllmseg_ros.sim.view import View, VisibleObject, visible_objects
from mllmseg_ros.sim.world import FAR_M, NEAR_M, compile_scene

__all__ = ["TabletopCamera"]

_MAX_GEOMS = 1000
_MAX_SIDE_PX = 4096
# Outlines are measured in a small image with a wider field of view, so that cut-off parts count.
_OUTLINE_HEIGHT_PX, _OUTLINE_FIELD = 150, 1.4
_NO_GL = (
    "no off-screen OpenGL for the simulated camera: install EGL (Debian, Ubuntu: "
    "apt install libegl1 libopengl0 libgl1-mesa-dri) or OSMesa (apt install libosmesa6)"
)

Pose = tuple[float, float, float]  # x, y on the table in m, yaw in rad


@dataclass(frozen=True, kw_only=True)
class Viewpoint:
    """A viewpoint relative to the point looked at."""

    distance_m: float
    azimuth_rad: float  # of the line of sight, about the table's normal
    elevation_rad: float  # above the table


def _import_mujoco() -> Any:
    """Import MuJoCo with an off-screen GL, unless the user set MUJOCO_GL.

    The first platform that can be loaded is chosen: PyOpenGL cannot change it once imported.
    """
    if "MUJOCO_GL" not in os.environ:
        for platform, library in (("egl", "libEGL.so.1"), ("osmesa", "libOSMesa.so.8")):
            try:
                ctypes.CDLL(library)
            except OSError:
                continue
            os.environ["MUJOCO_GL"] = platform
            break
        else:
            raise RuntimeError("neither libEGL.so.1 nor libOSMesa.so.8 can be loaded")
    import mujoco

    return mujoco


def _open_gl_context(width: int, height: int) -> Any:
    """Open a context of the chosen platform, even if MuJoCo was imported before the choice."""
    platform = os.environ["MUJOCO_GL"].lower()
    if platform not in ("egl", "osmesa"):
        return _import_mujoco().GLContext(width, height)
    return importlib.import_module(f"mujoco.{platform}").GLContext(width, height)


class TabletopCamera:
    """A simulated RGB-D camera, to be used as a context manager: load a scene, then render it."""

    def __init__(self, width: int = 640, height: int = 480) -> None:
        """Open an off-screen GL context.

        Args:
            width: px.
            height: px.

        Raises:
            ValueError: if the size is out of range.
            RuntimeError: if off-screen GL is missing; names the packages to install.
        """
        if not (1 <= width <= _MAX_SIDE_PX and 1 <= height <= _MAX_SIDE_PX):
            raise ValueError(f"size is {width} x {height}, expected 1 to {_MAX_SIDE_PX} px a side")
        try:
            self._mj = _import_mujoco()
            self._gl = _open_gl_context(width, height)
            self._gl.make_current()
        except ModuleNotFoundError as error:
            raise RuntimeError(
                f"the simulated camera needs MuJoCo: {error}; in the repository, pip install "
                "'.[sim]'"
            ) from error
        except Exception as error:  # each GL platform raises errors of its own
            raise RuntimeError(f"{_NO_GL} (MUJOCO_GL={os.environ.get('MUJOCO_GL')})") from error
        self._width, self._height = width, height
        self._option = self._mj.MjvOption()
        self._view = self._mj.MjvCamera()
        self._view.type = self._mj.mjtCamera.mjCAMERA_FIXED
        self._view.fixedcamid = 0
        self._scene: Scene | None = None
        self._mjr: Any = None
        self._shown: Any = None

    def __enter__(self) -> TabletopCamera:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the GL context."""
        self._scene = None
        if self._gl is not None:
            self._gl.make_current()
            self._mjr = self._shown = None
            self._gl.free()
            self._gl = None

    def load(self, scene: Scene) -> None:
        """Replace the scene."""
        model = compile_scene(self._mj, scene, self._width, self._height)
        self.load_world(scene, model, self._mj.MjData(model))

    def load_world(self, scene: Scene, model: Any, data: Any) -> None:
        """Replace the scene by a world with its own physics, rendered in its current state.

        Args:
            scene: its k-th object is the world's body k; later bodies are surroundings.
            model: a ``mujoco.MjModel`` for images of this size; its camera 0 is the scene's.
            data: its ``mujoco.MjData``, which the caller steps.
        """
        mj = self._mj
        self._gl.make_current()
        self._mjr = self._shown = None  # before the new one: GL memory is freed here
        self._model, self._data = model, data
        self._shown = mj.MjvScene(self._model, _MAX_GEOMS)
        self._mjr = mj.MjrContext(self._model, mj.mjtFontScale.mjFONTSCALE_50.value)
        mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN.value, self._mjr)
        self._mjr.readDepthMap = mj.mjtDepthMap.mjDEPTH_ZEROFAR
        # Geom -> instance id; bodies are the world, then the objects in order.
        bodies = np.asarray(self._model.geom_bodyid)
        self._instance_of_geom = np.where(bodies > len(scene.objects), 0, bodies).astype(np.uint8)
        self._scene = scene

    def render(
        self,
        moved: Mapping[int, Pose] | None = None,
        *,
        camera: CameraView | None = None,
        describe: bool = True,
    ) -> View:
        """Render an image.

        Args:
            moved: instance id -> (x, y, yaw) on the table; other objects stay as in the scene.
            camera: pose of the camera; None for the scene's.
            describe: describe the visible objects; takes a quarter of the time. If False, the
                view's ``objects`` are empty.

        Raises:
            ValueError: if no scene was loaded, or an instance id is not in it.
        """
        if self._scene is None:
            raise ValueError("no scene is loaded, expected load(scene) before render()")
        self._gl.make_current()
        camera = camera or self._scene.camera
        self._aim(camera)
        places = self._move(moved or {})
        rgb = self._draw_rgb()
        if self._scene.sensor is not None:
            rgb = apply_sensor(rgb, self._scene.sensor)
        instances, depth_m = self._draw_instances()
        return View(
            rgb=rgb,
            depth_m=depth_m,
            instances=instances,
            K=_intrinsics(self._width, self._height, camera.vertical_fov_rad),
            camera_pose=_pose(camera.rotation, camera.position_m),
            objects=self._describe_objects(instances, depth_m, places, camera) if describe else (),
        )

    def photograph(
        self, aim_m: tuple[float, float, float], viewpoint: Viewpoint
    ) -> NDArray[np.uint8]:
        """Render an image (H, W, 3) RGB from another viewpoint, as of a person beside the table.

        Args:
            aim_m: point to look at, m.
            viewpoint: relative to that point.

        Raises:
            ValueError: if no scene was loaded.
        """
        if self._scene is None:
            raise ValueError("no scene is loaded, expected load(scene) before photograph()")
        self._gl.make_current()
        self._move({})
        camera = self._view
        self._view = self._mj.MjvCamera()
        self._view.lookat[:] = aim_m
        self._view.distance = viewpoint.distance_m
        self._view.azimuth, self._view.elevation = (
            math.degrees(viewpoint.azimuth_rad),
            -math.degrees(viewpoint.elevation_rad),
        )
        try:
            return self._draw_rgb()
        finally:
            self._view = camera

    def _describe_objects(
        self,
        instances: NDArray[np.uint8],
        depth_m: NDArray[np.float32],
        places: Sequence[Pose],
        camera: CameraView,
    ) -> tuple[VisibleObject, ...]:
        assert self._scene is not None
        things = self._scene.objects
        middles = np.array(
            [(x, y, height_m(thing) / 2) for thing, (x, y, _) in zip(things, places, strict=True)]
        )
        middles = (middles - camera.position_m) @ camera.rotation
        return visible_objects(
            things,
            instances,
            depth_m,
            self._outlines_px(),
            middles,
            self._scene.least_area_share,
        )

    def _aim(self, camera: CameraView) -> None:
        # MuJoCo's cameras look along -z with y up.
        turned = np.empty(4)
        self._mj.mju_mat2Quat(turned, (camera.rotation * (1.0, -1.0, -1.0)).ravel())
        self._model.cam_pos[0], self._model.cam_quat[0] = camera.position_m, turned
        self._model.cam_fovy[0] = math.degrees(camera.vertical_fov_rad)

    def _move(self, moved: Mapping[int, Pose]) -> list[Pose]:
        assert self._scene is not None
        objects = self._scene.objects
        unknown = sorted(set(moved) - set(range(1, len(objects) + 1)))
        if unknown:
            raise ValueError(f"no object has instance id {unknown}, expected 1 to {len(objects)}")
        if not self._model.nmocap:  # a world with physics of its own
            return [(*self._data.xpos[index + 1][:2], 0.0) for index in range(len(objects))]
        places = []
        for index, thing in enumerate(objects):
            x, y, yaw = moved.get(index + 1, (*thing.xy_m, thing.yaw_rad))
            self._data.mocap_pos[index] = (x, y, 0.0)
            self._data.mocap_quat[index] = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
            places.append((x, y, yaw))
        self._mj.mj_kinematics(self._model, self._data)
        self._mj.mj_camlight(self._model, self._data)
        return places

    def _draw_rgb(self) -> NDArray[np.uint8]:
        self._show(as_ids=False)
        rgb = np.empty((self._height, self._width, 3), np.uint8)
        rect = self._mj.MjrRect(0, 0, self._width, self._height)
        self._mj.mjr_render(rect, self._shown, self._mjr)
        self._mj.mjr_readPixels(rgb, None, rect, self._mjr)
        return np.ascontiguousarray(rgb[::-1])  # GL's rows start at the bottom

    def _draw_instances(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        self._show(as_ids=True)
        ids, depth = self._read_ids(self._width, self._height)
        assert depth is not None
        # Reversed z: 1 at the near plane, 0 at the far one.
        metres = NEAR_M * FAR_M / (depth.astype(np.float64) * (FAR_M - NEAR_M) + NEAR_M)
        metres[depth <= 0] = 0.0
        return ids, metres.astype(np.float32)

    def _outlines_px(self) -> list[float]:
        """Measure the area of each object without the others, in pixels of the full image."""
        height = _OUTLINE_HEIGHT_PX
        width = round(height * self._width / self._height)
        fov = self._model.cam_fovy[0]
        wide = 2 * math.atan(_OUTLINE_FIELD * math.tan(math.radians(fov) / 2))
        self._model.cam_fovy[0] = math.degrees(wide)
        groups = self._model.geom_group
        drawn = groups.copy()
        pixels_per_pixel = (_OUTLINE_FIELD * self._height / height) ** 2
        areas: list[float] = []
        assert self._scene is not None
        groups[:] = 3  # a group that is not drawn by default
        for instance_id in range(1, len(self._scene.objects) + 1):
            mine = self._instance_of_geom == instance_id
            groups[mine] = drawn[mine]
            self._show(as_ids=True)
            ids, _ = self._read_ids(width, height, with_depth=False)
            groups[mine] = 3
            areas.append(float(np.count_nonzero(ids) * pixels_per_pixel))
        groups[:] = drawn
        self._model.cam_fovy[0] = fov
        return areas

    def _show(self, as_ids: bool) -> None:
        mj = self._mj
        mj.mjv_updateScene(
            self._model,
            self._data,
            self._option,
            None,
            self._view,
            mj.mjtCatBit.mjCAT_ALL.value,
            self._shown,
        )
        flags = self._shown.flags
        flags[mj.mjtRndFlag.mjRND_SEGMENT] = flags[mj.mjtRndFlag.mjRND_IDCOLOR] = as_ids
        flags[mj.mjtRndFlag.mjRND_SHADOW] = not as_ids
        if as_ids:
            # Drawn as red + 256 green = segid + 1, and -1 not at all. 255 gives the background a
            # red of 0 and keeps its depth.
            for index in range(self._shown.ngeom):
                geom = self._shown.geoms[index]
                geom.segid = (int(self._instance_of_geom[geom.objid]) or 256) - 1

    def _read_ids(
        self, width: int, height: int, with_depth: bool = True
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        rect = self._mj.MjrRect(0, 0, width, height)
        pixels = np.empty((height, width, 3), np.uint8)
        depth = np.empty((height, width), np.float32) if with_depth else None
        self._mj.mjr_render(rect, self._shown, self._mjr)
        self._mj.mjr_readPixels(pixels, depth, rect, self._mjr)
        ids = np.ascontiguousarray(pixels[::-1, :, 0])
        return ids, None if depth is None else depth[::-1]


def _intrinsics(width: int, height: int, vertical_fov_rad: float) -> NDArray[np.float64]:
    """Return K with square pixels, pixel centres at integers."""
    focal = height / 2 / math.tan(vertical_fov_rad / 2)
    return np.array(
        [[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]]
    )


def _pose(rotation: NDArray[np.float64], position: NDArray[np.float64]) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose
