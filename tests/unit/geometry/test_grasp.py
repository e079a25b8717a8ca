# SPDX-License-Identifier: Apache-2.0
"""Grasps from above, planned on points as a camera in front (at -y) and above would see them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mllmseg_ros.geometry.grasp import Grasp, Gripper, NoGrasp, plan_grasp

GRIPPER = Gripper()
NOTHING = np.zeros((0, 3))
STEP_M = 0.0015


def box(
    size: tuple[float, float, float],
    center: tuple[float, float] = (0.0, 0.0),
    yaw: float = 0.0,
) -> NDArray[np.float64]:
    """The top and two sides of a box that stands on the table."""
    x, y, z = (np.arange(-half, half, STEP_M) for half in (size[0] / 2, size[1] / 2, size[2] / 2))
    z = z + size[2] / 2
    faces = [
        np.stack(np.meshgrid(x, y, [size[2]]), axis=-1),
        np.stack(np.meshgrid(x, [-size[1] / 2], z), axis=-1),
        np.stack(np.meshgrid([-size[0] / 2], y, z), axis=-1),
    ]
    points = np.concatenate([face.reshape(-1, 3) for face in faces])
    cos, sin = math.cos(yaw), math.sin(yaw)
    points[:, :2] = points[:, :2] @ np.array([[cos, sin], [-sin, cos]]) + center
    return points


def ball(radius: float) -> NDArray[np.float64]:
    """What a camera 40 degrees over the table sees of a ball at the origin."""
    a, b = np.meshgrid(np.linspace(0, math.pi, 90), np.linspace(-math.pi, math.pi, 180))
    normals = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)], axis=-1)
    elevation = math.radians(40)
    seen = normals @ np.array([0.0, -math.cos(elevation), math.sin(elevation)]) > 0.1
    return np.asarray(radius * (normals[seen] + [0, 0, 1]))


def mug(radius: float, height: float, wall: float = 0.004) -> NDArray[np.float64]:
    """A mug's rim, the outside of its front, the inside of its back."""
    turn = np.arange(0, 2 * math.pi, STEP_M / radius)

    def ring(radius: float, z: float, part: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([radius * np.cos(part), radius * np.sin(part), np.full(len(part), z)], -1)

    rim = [ring(radius - off, height, turn) for off in np.linspace(0, wall, 4)]
    levels = np.arange(0, height, STEP_M)
    front = [ring(radius, z, turn[turn > math.pi]) for z in levels]
    back = [ring(radius - wall, z, turn[turn < math.pi]) for z in levels if z > height / 2]
    return np.concatenate([*rim, *front, *back])


def off_axis(yaw: float, axis: float) -> float:
    """Angle between two closing directions, which half a turn does not change."""
    return abs((yaw - axis + math.pi / 2) % math.pi - math.pi / 2)


def test_a_box_is_held_across_its_narrow_side() -> None:
    for yaw in (0.0, 0.5, -1.2):
        grasp = plan_grasp(box((0.05, 0.11, 0.14), (0.2, -0.1), yaw), NOTHING, GRIPPER)
        assert off_axis(grasp.yaw_rad, yaw) < math.radians(5)
        assert abs(grasp.yaw_rad) <= math.pi / 2
        assert grasp.width_m == pytest.approx(0.05, abs=0.004)
        np.testing.assert_allclose(grasp.tip_m[:2], (0.2, -0.1), atol=0.002)
        assert 0.08 < grasp.tip_m[2] < 0.12  # well under its top, far over the table
        assert grasp.width_m < grasp.opening_m <= GRIPPER.max_opening_m


def test_the_fingers_stay_off_the_table() -> None:
    assert plan_grasp(box((0.05, 0.09, 0.03)), NOTHING, GRIPPER).tip_m[2] == pytest.approx(0.008)


def test_the_hidden_back_of_a_ball_is_taken_into_account() -> None:
    grasp = plan_grasp(ball(0.037), NOTHING, GRIPPER)
    # What is seen has its middle 6 mm nearer to the camera than the ball.
    np.testing.assert_allclose(grasp.tip_m[:2], (0, 0), atol=0.003)
    assert grasp.tip_m[2] < 0.037
    assert grasp.width_m == pytest.approx(0.074, abs=0.005)


@pytest.mark.parametrize("radius", [0.040, 0.065])
def test_what_is_hollow_is_held_by_its_rim(radius: float) -> None:
    grasp = plan_grasp(mug(radius, 0.09), NOTHING, GRIPPER)
    assert np.hypot(*grasp.tip_m[:2]) == pytest.approx(radius - 0.002, abs=0.003)
    assert grasp.width_m < 0.012
    outward = math.atan2(grasp.tip_m[1], grasp.tip_m[0])
    assert off_axis(grasp.yaw_rad, outward) < math.radians(3)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (
            box((0.10, 0.13, 0.06)),
            r"too wide: (9|10)\d mm, with 4 mm free on either side, and the gripper opens 90 mm",
        ),
        (box((0.05, 0.05, 0.012)), "too flat: 12 mm"),
        (box((0.05, 0.05, 0.05))[:30], "only 30 points"),
    ],
)
def test_why_a_thing_cannot_be_held(points: NDArray[np.float64], reason: str) -> None:
    with pytest.raises(NoGrasp, match=reason):
        plan_grasp(points, NOTHING, GRIPPER)


def beside(axis: int, sides: tuple[int, ...], gap_m: float = 0.006) -> NDArray[np.float64]:
    """Cartons that stand close to a cube of 60 mm along x (axis 0) or y."""
    center = np.zeros(2)
    center[axis] = 0.06 + gap_m
    others = [box((0.06, 0.06, 0.10), (side * center[0], side * center[1])) for side in sides]
    return np.concatenate(others)


def test_fingers_come_down_where_nothing_else_stands() -> None:
    cube = box((0.06, 0.06, 0.06))
    across_y = plan_grasp(cube, beside(0, (-1, 1)), GRIPPER)
    across_x = plan_grasp(cube, beside(1, (1,)), GRIPPER)
    assert off_axis(across_y.yaw_rad, math.pi / 2) < math.radians(10)
    assert off_axis(across_x.yaw_rad, 0.0) < math.radians(10)
    with pytest.raises(NoGrasp, match="in the way"):
        plan_grasp(cube, np.concatenate([beside(0, (1,)), beside(1, (1,))]), GRIPPER)


def same(one: Grasp, other: Grasp) -> bool:
    return bool(np.allclose(one.tip_m, other.tip_m)) and one.yaw_rad == other.yaw_rad


def test_stray_depth_and_what_the_mask_left_out_are_not_obstacles() -> None:
    cube = box((0.06, 0.06, 0.06))
    free = plan_grasp(cube, NOTHING, GRIPPER)
    rng = np.random.default_rng(0)
    flying = rng.uniform((-0.08, -0.08, 0.02), (0.08, 0.08, 0.10), size=(200, 3))
    left_out = box((0.064, 0.064, 0.06))
    assert same(plan_grasp(cube, flying, GRIPPER), free)
    assert same(plan_grasp(cube, left_out, GRIPPER), free)


def test_the_palm_clears_what_is_tall() -> None:
    flat = box((0.05, 0.09, 0.04))
    bottle = box((0.05, 0.05, 0.20), (0.075, 0.0))
    grasp = plan_grasp(flat, bottle, GRIPPER)
    # Its side is clear of the fingers across x, yet the palm over them would meet it.
    assert off_axis(grasp.yaw_rad, 0.0) > math.radians(20)
