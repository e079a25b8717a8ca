# SPDX-License-Identifier: Apache-2.0
"""Boxes of tracked instances: steady, and where the target is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mllmseg_ros.geometry.boxes import BoxHistory
from mllmseg_ros.geometry.instances import Instance, InstanceSet, TargetFrame
from mllmseg_ros.geometry.localization import (
    Intrinsics,
    Position,
    locate,
    stand_box_upright,
    transform_position,
)
from mllmseg_ros.segmentation import Status, build_segmentation

K = np.array([[500.0, 0.0, 159.5], [0.0, 500.0, 119.5], [0.0, 0.0, 1.0]])
INTRINSICS = Intrinsics(K=K, D=np.zeros(5))
N_RESULTS = 55


def see_ball(rng: np.random.Generator, center_m: tuple[float, float, float]) -> Position:
    """Locate a round thing of 5 cm, with a noisy depth and an outline that differs each time."""
    v, u = np.mgrid[:240, :320]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]])
    x, y = rays * center_m[2] - np.array(center_m[:2])[:, None, None]
    beyond = 0.0025 * (1 + np.abs(cv2.GaussianBlur(rng.normal(size=u.shape), (0, 0), 4) * 12))
    mask = np.hypot(x, y) < 0.05 + beyond
    inside = np.clip(0.05**2 - x**2 - y**2, 0, None)
    depth = np.where(np.hypot(x, y) < 0.05, center_m[2] - np.sqrt(inside), center_m[2] + 0.04)
    depth = (depth + rng.normal(scale=0.003, size=depth.shape)).astype(np.float32)
    position = locate(mask, depth, INTRINSICS, (int(u[mask].mean()), int(v[mask].mean())))
    assert position is not None
    return position


def instances(*positions: Position, track: str = "t") -> InstanceSet:
    mask = np.ones((2, 2), np.bool_)
    one = build_segmentation("it", Status.FOUND, 1.0, 1.0, mask.astype(np.float32), mask)
    return InstanceSet(
        instances=[
            Instance(
                expression_index=0,
                instance_index=index,
                segmentation=one,
                position=position,
                track_id=track and f"{track}{index}",
            )
            for index, position in enumerate(positions)
        ]
    )


def steadied(history: BoxHistory, position: Position) -> Position:
    (one,) = history.steady(instances(position)).instances
    assert one.position is not None
    return one.position


def test_a_box_that_stands_up_does_not_turn_there_slowly() -> None:
    rng = np.random.default_rng(0)
    history, from_camera = BoxHistory(), np.eye(4)
    from_camera[:3, :3] = cv2.Rodrigues(np.array([2.0, 0.0, 0.0]))[0]
    for upright in (False, True):
        for _ in range(3):
            position = transform_position(see_ball(rng, (0.0, 0.0, 0.5)), from_camera)
            if upright:
                position = stand_box_upright(position)
            frame = TargetFrame(frame_id="base", from_camera=from_camera, upright_boxes=upright)
            (one,) = history.steady(replace(instances(position), frame=frame)).instances
            assert one.position is not None
            stands = one.position.box_axes[2, 2] == pytest.approx(1.0, abs=1e-9)
            assert stands == upright


def step_deg(a: Position, b: Position) -> float:
    """Angle by which a box has turned."""
    return float(np.degrees(np.linalg.norm(cv2.Rodrigues(a.box_axes.T @ b.box_axes)[0])))


def test_boxes_do_not_jump() -> None:
    rng, history = np.random.default_rng(0), BoxHistory()
    seen = [see_ball(rng, (0.0, 0.0, 0.7)) for _ in range(N_RESULTS)]
    steady = [steadied(history, each) for each in seen]

    def largest_step(positions: list[Position]) -> float:
        return max(map(step_deg, positions[:-1], positions[1:]))

    def ratio(positions: list[Position]) -> float:
        volumes = [float(np.prod(each.box_size)) for each in positions]
        return max(volumes) / min(volumes)

    assert largest_step(seen) > 40
    assert largest_step(steady) < 20
    assert ratio(steady) < min(1.5, ratio(seen))
    for each in steady:
        np.testing.assert_allclose(each.box_axes.T @ each.box_axes, np.eye(3), atol=1e-9)
        assert np.linalg.det(each.box_axes) == pytest.approx(1.0)
        assert ((each.box_size > 0.03) & (each.box_size < 0.13)).all()


def test_a_moving_target_does_not_run_ahead_of_its_box() -> None:
    rng, history = np.random.default_rng(1), BoxHistory()
    for x_m in np.linspace(-0.15, 0.15, 16):  # 2 cm from one result to the next
        position = see_ball(rng, (float(x_m), 0.0, 0.7))
        box = steadied(history, position)
        assert abs(box.box_center[0] - x_m) < 0.006
        np.testing.assert_array_equal(box.mean, position.mean)  # what is measured is not touched
        np.testing.assert_array_equal(box.points, position.points)


def test_a_box_is_that_of_its_own_track_and_frame() -> None:
    rng, history = np.random.default_rng(2), BoxHistory()
    first, second = (see_ball(rng, (x_m, 0.0, 0.7)) for x_m in (-0.1, 0.1))
    history.steady(instances(first, second))
    both = history.steady(instances(first, second)).instances
    assert [each.position.box_center[0] < 0 for each in both if each.position] == [True, False]
    (new,) = history.steady(instances(first, track="u")).instances
    assert new.position is first  # the first result of a track is what was measured
    (untracked,) = history.steady(instances(second, track="")).instances
    assert untracked.position is second
    assert BoxHistory().steady(instances()).instances == []
