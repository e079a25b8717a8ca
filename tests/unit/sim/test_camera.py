# SPDX-License-Identifier: Apache-2.0
"""The rendered truth against geometry. Skips where off-screen GL is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.random_scenes import random_scene
from mllmseg_ros.sim.view import View


@pytest.fixture(scope="module")
def camera() -> Iterator[TabletopCamera]:
    try:
        camera = TabletopCamera(320, 240)
    except RuntimeError as error:
        pytest.skip(str(error))
    with camera:
        yield camera


def world_points(view: View) -> NDArray[np.float64]:
    """Every pixel's point in the world, (H, W, 3)."""
    height, width = view.depth_m.shape
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(view.K).T
    points = rays * view.depth_m[..., None]
    return points @ view.camera_pose[:3, :3].T + view.camera_pose[:3, 3]


def test_depth_pose_and_intrinsics_agree_on_the_table(camera: TabletopCamera) -> None:
    for seed in range(4):
        camera.load(random_scene(seed))
        view = camera.render()
        points = world_points(view)
        near = (view.instances == 0) & (np.hypot(points[..., 0], points[..., 1]) < 0.4)
        # The table top is z = 0; the mats on it are under 2 mm thick.
        heights = points[near][:, 2]
        assert np.percentile(heights, 1) > -0.0005
        assert np.percentile(heights, 99) < 0.0025


def test_objects_are_where_their_pixels_are(camera: TabletopCamera) -> None:
    for seed in range(4):
        scene = random_scene(seed)
        camera.load(scene)
        view = camera.render()
        points = world_points(view)
        assert set(np.unique(view.instances)) <= set(range(len(scene.objects) + 1))
        for thing, seen in zip(scene.objects, view.objects, strict=True):
            mine = view.instances == seen.instance_id
            assert seen.area_share == pytest.approx(mine.mean(), abs=1e-5)
            if seen.visible_share < 0.9 or seen.area_share < 0.003:
                continue
            middle = points[mine].mean(axis=0)
            assert np.hypot(*(middle[:2] - thing.xy_m)) < 0.08
            assert 0 <= middle[2] < 0.25
            v, u = np.nonzero(mine)
            assert seen.centroid_uv[0] == pytest.approx((u.mean() + 0.5) / 320, abs=1e-3)
            assert seen.centroid_uv[1] == pytest.approx((v.mean() + 0.5) / 240, abs=1e-3)
            in_world = view.camera_pose @ np.array([*seen.position_m, 1.0])
            np.testing.assert_allclose(in_world[:2], thing.xy_m, atol=1e-3)


def test_a_camera_that_moves_sees_what_one_that_stands_there_would(camera: TabletopCamera) -> None:
    scene, elsewhere = random_scene(1), random_scene(2).camera
    camera.load(scene)
    at_home = camera.render()
    moved = camera.render(camera=elsewhere)
    back = camera.render()
    camera.load(replace(scene, camera=elsewhere))
    there = camera.render()
    np.testing.assert_array_equal(moved.rgb, there.rgb)
    np.testing.assert_array_equal(moved.instances, there.instances)
    np.testing.assert_allclose(moved.K, there.K)
    np.testing.assert_allclose(moved.camera_pose, there.camera_pose)
    assert moved.objects == there.objects
    np.testing.assert_array_equal(back.rgb, at_home.rgb)
    assert (moved.instances != at_home.instances).any()


def test_same_scene_same_image_and_contexts_can_be_reused(camera: TabletopCamera) -> None:
    camera.load(random_scene(1))
    first = camera.render()
    camera.load(random_scene(2))
    camera.render()
    camera.load(random_scene(1))
    again = camera.render()
    np.testing.assert_array_equal(first.rgb, again.rgb)
    np.testing.assert_array_equal(first.instances, again.instances)
    assert first.objects == again.objects


def test_a_moved_object_moves_and_the_others_stay(camera: TabletopCamera) -> None:
    scene = random_scene(5, n_objects=3)
    camera.load(scene)
    before = camera.render()
    x, y = scene.objects[0].xy_m
    after = camera.render({1: (x + 0.03, y, scene.objects[0].yaw_rad)})
    shift = np.subtract(after.objects[0].position_m, before.objects[0].position_m)
    np.testing.assert_allclose(before.camera_pose[:3, :3] @ shift, (0.03, 0, 0), atol=5e-4)
    assert before.objects[1].position_m == after.objects[1].position_m
    assert not np.array_equal(before.instances == 1, after.instances == 1)
    np.testing.assert_array_equal(camera.render().instances, before.instances)


def test_a_hidden_object_counts_as_hidden(camera: TabletopCamera) -> None:
    scene = random_scene(5, n_objects=3)
    camera.load(scene)
    far_off = camera.render({1: (50.0, 50.0, 0.0)}).objects[0]
    assert far_off.area_share == 0
    assert not far_off.nameable


def test_bad_use_is_named(camera: TabletopCamera) -> None:
    camera.load(random_scene(0, n_objects=3))
    with pytest.raises(ValueError, match=r"instance id \[4\]"):
        camera.render({4: (0.0, 0.0, 0.0)})
    with pytest.raises(ValueError, match="0 x 240"):
        TabletopCamera(0, 240)


def test_missing_gl_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("ctypes.CDLL", absent)
    with pytest.raises(RuntimeError, match=r"apt install libegl1 libopengl0.*libosmesa6"):
        TabletopCamera(16, 16)
