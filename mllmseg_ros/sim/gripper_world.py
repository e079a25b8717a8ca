# SPDX-License-Identifier: Apache-2.0
"""A simulated tabletop with physics and a gripper that lifts objects by friction.

The gripper hangs from three slides and a hinge, all position-controlled like its two fingers. No
object is welded to it or moved otherwise. ``TabletopCamera.load_world`` renders images of it.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.geometry.grasp import Gripper
from mllmseg_ros.sim.contact import (
    CONDIM,
    CONTAINER_RADIUS_M,
    FRICTION,
    HIDDEN_GROUP,
    add_solid_object,
)
from mllmseg_ros.sim.scene import Scene
from mllmseg_ros.sim.world import empty_scene

__all__ = ["GripperWorld"]

STEP_S, _STEPS_A_COMMAND = 0.002, 5
GRIPPER = Gripper()
JOINTS = ("x", "y", "z", "yaw", "opening")  # of the point between the fingertips: m and rad
LIFTED_M = 0.05  # above its start
_SETTLING_S = 0.4
_REACH_M, _HEIGHT_M = 2.5, 2.0  # of the slides
_HOME_BEHIND_M, _HOME_UP_M = 0.3, 0.35  # behind the camera; least height above the table
_FINGER_FORCE_N = 18.0  # each
_GREY, _DARK = [0.45, 0.47, 0.5, 1.0], [0.13, 0.13, 0.14, 1.0]


class GripperWorld:
    """The physics of one scene: set a trajectory, step the time, query the result."""

    def __init__(self, scene: Scene, size: tuple[int, int] = (640, 480)) -> None:
        """Build the world; its objects come to rest.

        Args:
            scene: objects of ``vocabulary.KINDS``; instance ids 1 to N in their order.
            size: width and height of rendered images, px.

        Raises:
            ValueError: if a kind of object has no solid form.
        """
        mj = importlib.import_module("mujoco")
        self._mj, self.scene = mj, scene
        spec = empty_scene(mj, scene, *size)
        option = spec.option
        option.timestep = STEP_S
        option.integrator = mj.mjtIntegrator.mjINT_IMPLICITFAST
        option.cone = mj.mjtCone.mjCONE_ELLIPTIC
        option.impratio = 10.0  # stiffer friction than contacts: no creep
        spec.worldbody.add_geom(
            type=mj.mjtGeom.mjGEOM_PLANE,
            size=[_REACH_M, _REACH_M, 0.05],
            group=HIDDEN_GROUP,
            condim=CONDIM,
            friction=FRICTION,
        )
        for index, thing in enumerate(scene.objects):
            add_solid_object(spec, f"object_{index + 1}", thing)
        _add_gripper(mj, spec, GRIPPER)
        self.model = spec.compile()
        self.data = mj.MjData(self.model)
        self._joints = [
            int(self.model.joint(name).qposadr[0]) for name in (*JOINTS[:4], "left", "right")
        ]
        self._speeds = [
            int(self.model.joint(name).dofadr[0]) for name in (*JOINTS[:4], "left", "right")
        ]
        self._left, self._right = (self.model.body(name).id for name in ("left", "right"))
        self.home = np.array([*_home_m(scene), 0.0, GRIPPER.max_opening_m])
        self.reset()

    def reset(self) -> None:
        """Reset all objects and move the opened gripper to its home."""
        mj = self._mj
        mj.mj_resetData(self.model, self.data)
        *arm, opening = self.home
        self.data.qpos[self._joints] = [*arm, opening / 2, opening / 2]
        mj.mj_forward(self.model, self.data)
        self._trajectory = (np.zeros(1), self.home[None])
        self.step(_SETTLING_S)
        self._start_m = self._centres_m().copy()

    def follow(self, times_s: NDArray[np.float64], waypoints: NDArray[np.float64]) -> None:
        """Move the gripper through waypoints, from its current set point.

        Args:
            times_s: (K,) from now on, ascending.
            waypoints: (K, 5) of JOINTS.

        Raises:
            ValueError: if the sizes do not fit, times do not ascend, or a value is not finite.
        """
        if waypoints.shape != (len(times_s), len(JOINTS)) or not len(times_s):
            raise ValueError(
                f"{len(times_s)} times for waypoints of shape {waypoints.shape}, "
                f"expected (K, {len(JOINTS)}), K > 0"
            )
        if not np.all(np.isfinite(waypoints)) or np.any(np.diff(times_s, prepend=0.0) < 0):
            raise ValueError("waypoints must be finite and their times ascend from 0")
        set_point = self._set_point()
        self._trajectory = (
            self.data.time + np.concatenate([[0.0], times_s]),
            np.concatenate([set_point[None], waypoints]),
        )

    def step(self, seconds: float) -> None:
        """Step the time, in hundredths of a second."""
        for _ in range(max(1, round(seconds / (STEP_S * _STEPS_A_COMMAND)))):
            *arm, opening = self._set_point()
            self.data.ctrl[:] = (*arm, opening / 2, opening / 2)
            self._mj.mj_step(self.model, self.data, _STEPS_A_COMMAND)

    @property
    def is_done(self) -> bool:
        """Whether the time of the last waypoint has passed."""
        return bool(self.data.time >= self._trajectory[0][-1])

    @property
    def joints(self) -> NDArray[np.float64]:
        """Positions of JOINTS, (5,)."""
        *arm, left, right = self.data.qpos[self._joints]
        return np.array([*arm, left + right])

    @property
    def joint_speeds(self) -> NDArray[np.float64]:
        """Velocities of JOINTS, (5,) per s."""
        *arm, left, right = self.data.qvel[self._speeds]
        return np.array([*arm, left + right])

    def lifted(self) -> list[int]:
        """Return the instance ids of objects clearly above their start."""
        rise = self._centres_m()[:, 2] - self._start_m[:, 2]
        return [int(index) + 1 for index in np.flatnonzero(rise > LIFTED_M)]

    def held(self) -> list[int]:
        """Return the instance ids of objects that touch both fingers."""
        touched = self._bodies_touching(self._left) & self._bodies_touching(self._right)
        return sorted(each for each in touched if 1 <= each <= len(self.scene.objects))

    def moved_m(self) -> NDArray[np.float64]:
        """Return the distance of each object's centre from its start, (N,) m."""
        return np.asarray(np.linalg.norm(self._centres_m() - self._start_m, axis=1))

    def is_inside(self, instance_id: int, container_id: int) -> bool:
        """Return whether an object lies in a container, released and without touching the table.

        Raises:
            ValueError: if container_id is not a container.
        """
        container = self.scene.objects[container_id - 1]
        if container.kind not in CONTAINER_RADIUS_M:
            raise ValueError(f"a {container.kind} is not a container")
        turned = self.data.xmat[container_id].reshape(3, 3)
        offset = turned.T @ (self.data.xipos[instance_id] - self.data.xpos[container_id])
        radius = CONTAINER_RADIUS_M[container.kind] * container.scale
        # Only the container may carry its weight.
        return bool(
            np.hypot(*offset[:2]) < radius
            and offset[2] > 0
            and container_id in self._bodies_touching(instance_id)
            and not self._bodies_touching(instance_id) & {0, self._left, self._right}
        )

    def _centres_m(self) -> NDArray[np.float64]:
        return np.asarray(self.data.xipos[1 : len(self.scene.objects) + 1])

    def _bodies_touching(self, body: int) -> set[int]:
        contact = self.data.contact
        pairs = self.model.geom_bodyid[contact.geom]  # (contacts, 2)
        return {int(b) if a == body else int(a) for a, b in pairs if body in (a, b)}

    def _set_point(self) -> NDArray[np.float64]:
        """Return the current set point of JOINTS."""
        times, waypoints = self._trajectory
        now = self.data.time
        return np.array([np.interp(now, times, column) for column in waypoints.T])


def _home_m(scene: Scene) -> NDArray[np.float64]:
    """Return a position behind the camera, out of its view."""
    camera = scene.camera
    back = -camera.rotation[:2, 2] / np.linalg.norm(camera.rotation[:2, 2])
    x, y = camera.position_m[:2] + _HOME_BEHIND_M * back
    return np.array([x, y, max(float(camera.position_m[2]), _HOME_UP_M)])


def _add_gripper(mj: Any, spec: Any, gripper: Gripper) -> None:
    """Add the gripper; joint values are the position of its tips, yaw and finger positions."""
    slide, hinge = mj.mjtJoint.mjJNT_SLIDE, mj.mjtJoint.mjJNT_HINGE
    palm = spec.worldbody.add_body(name="palm", gravcomp=1.0)
    for name, axis in zip("xyz", np.eye(3), strict=True):
        span = [-0.02, _HEIGHT_M] if name == "z" else [-_REACH_M, _REACH_M]
        palm.add_joint(name=name, type=slide, axis=axis, range=span)
    palm.add_joint(name="yaw", type=hinge, axis=[0, 0, 1])
    length, thick = gripper.finger_length_m, gripper.finger_thickness_m
    most = gripper.max_opening_m / 2
    touch = {"condim": CONDIM, "friction": [1.2, 0.02, 0.001]}
    # The body's origin is between the tips, below the palm and its post.
    palm.add_geom(
        type=mj.mjtGeom.mjGEOM_BOX,
        size=[most + thick, gripper.finger_width_m / 2 + 0.004, 0.018],
        pos=[0.0, 0.0, length + 0.018],
        rgba=_GREY,
        mass=0.6,
        **touch,
    )
    palm.add_geom(
        type=mj.mjtGeom.mjGEOM_CYLINDER,
        size=[0.018, 0.10, 0.0],
        pos=[0.0, 0.0, length + 0.036 + 0.10],
        rgba=_DARK,
        mass=0.2,
    )
    for name, side in (("left", 1.0), ("right", -1.0)):
        finger = palm.add_body(name=name, pos=[side * thick / 2, 0.0, length / 2], gravcomp=1.0)
        finger.add_joint(name=name, type=slide, axis=[side, 0.0, 0.0], range=[0.0, most])
        finger.add_geom(
            type=mj.mjtGeom.mjGEOM_BOX,
            size=[thick / 2, gripper.finger_width_m / 2, length / 2],
            rgba=_DARK,
            mass=0.08,
            **touch,
        )
    # Couples the fingers like a rack and pinion.
    rack = spec.add_equality(
        type=mj.mjtEq.mjEQ_JOINT,
        objtype=mj.mjtObj.mjOBJ_JOINT,
        name1="left",
        name2="right",
        solref=[0.004, 1.0],
    )
    rack.data[:5] = [0.0, 1.0, 0.0, 0.0, 0.0]  # of a polynomial
    for name, stiff, damp, most_force in (
        ("x", 6000.0, 160.0, 300.0),
        ("y", 6000.0, 160.0, 300.0),
        ("z", 6000.0, 160.0, 300.0),
        ("yaw", 60.0, 2.0, 20.0),
        ("left", 1500.0, 25.0, _FINGER_FORCE_N),
        ("right", 1500.0, 25.0, _FINGER_FORCE_N),
    ):
        actuator = spec.add_actuator(
            name=name,
            target=name,
            trntype=mj.mjtTrn.mjTRN_JOINT,
            gaintype=mj.mjtGain.mjGAIN_FIXED,
            biastype=mj.mjtBias.mjBIAS_AFFINE,
            forcerange=[-most_force, most_force],
        )
        actuator.gainprm[0] = stiff
        actuator.biasprm[1:3] = [-stiff, -damp]
