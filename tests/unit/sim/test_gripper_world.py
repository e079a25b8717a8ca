# SPDX-License-Identifier: Apache-2.0
"""What the gripper lifts, it holds by contact and friction alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs MuJoCo")

from mllmseg_ros.language.vocabulary import KINDS
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.gripper_world import GripperWorld
from mllmseg_ros.sim.objects import random_object, random_scale
from mllmseg_ros.sim.pick_scenes import GRASPABLE, pick_scene
from mllmseg_ros.sim.scene import Scene
from mllmseg_ros.sim.shapes import height_m

OPEN_M = 0.09


def scene_of(*kinds: str) -> Scene:
    """These things in a row, small but for bowls, none of them turned."""
    rng = np.random.default_rng(0)
    things = []
    for index, kind in enumerate(kinds):
        thing = random_object("red", kind, 0.0, rng)
        scale = random_scale("large" if kind == "bowl" else "small", rng)
        things.append(replace(thing, scale=scale, xy_m=(0.25 * index, 0.0), yaw_rad=0.0))
    return replace(pick_scene(0), objects=tuple(things))


def grasp_at(world: GripperWorld, x: float, z: float, *, seconds: float = 7.0) -> None:
    """Come down at (x, 0, z), close, lift; everything else is up to friction."""
    above, there = (x, 0.0, 0.40, 0.0), (x, 0.0, z, 0.0)
    way = [(*above, OPEN_M), (*there, OPEN_M), (*there, 0.0), (*above, 0.0)]
    world.follow(np.array([2.0, 3.5, 5.0, 6.5]), np.array(way))
    world.step(seconds)


def test_a_cube_is_lifted_and_stays_in_the_gripper() -> None:
    world = GripperWorld(scene_of("cube"))
    side = 2 * 0.040 * world.scene.objects[0].scale
    assert (world.lifted(), world.held()) == ([], [])
    grasp_at(world, 0.0, 0.02)
    assert (world.lifted(), world.held()) == ([1], [1])
    assert world.joints[4] == pytest.approx(side, abs=0.003)
    moved = world.moved_m()[0]
    assert moved == pytest.approx(0.38, abs=0.01)
    world.step(5.0)
    assert world.moved_m()[0] == pytest.approx(moved, abs=0.002)


def test_what_is_let_go_falls() -> None:
    world = GripperWorld(scene_of("cube"))
    grasp_at(world, 0.0, 0.02)
    world.follow(np.array([1.0]), np.array([[*world.joints[:4], OPEN_M]]))
    world.step(2.0)
    assert (world.lifted(), world.held()) == ([], [])


def test_a_gripper_closed_beside_a_cube_lifts_nothing() -> None:
    world = GripperWorld(scene_of("cube"))
    grasp_at(world, 0.12, 0.02)
    assert (world.lifted(), world.held()) == ([], [])
    assert world.moved_m()[0] < 0.001
    assert world.joints[4] < 0.001


def test_without_friction_nothing_is_lifted() -> None:
    world = GripperWorld(scene_of("cube"))
    world.model.geom_friction[:] = 0.0
    grasp_at(world, 0.0, 0.02)
    assert world.lifted() == []


def test_a_mug_is_hollow_and_is_lifted_by_its_rim() -> None:
    world = GripperWorld(scene_of("mug"))
    mug = world.scene.objects[0]
    grasp_at(world, -0.0455 * mug.scale, height_m(mug) - 0.018)
    assert (world.lifted(), world.held()) == ([1], [1])
    assert world.joints[4] < 0.010  # its wall, not its width


def test_a_cube_is_inside_the_bowl_once_it_was_let_go_there() -> None:
    world = GripperWorld(scene_of("cube", "bowl"))
    bowl = world.scene.objects[1]
    grasp_at(world, 0.0, 0.02)
    assert not world.is_inside(1, 2)
    over = (bowl.xy_m[0], 0.0, height_m(bowl) + 0.03, 0.0)
    world.follow(np.array([2.0, 3.0, 4.0]), np.array([(*over, 0.0), (*over, 0.0), (*over, OPEN_M)]))
    world.step(2.5)
    assert not world.is_inside(1, 2)  # over it, but in the gripper
    world.step(2.5)
    assert world.is_inside(1, 2)
    with pytest.raises(ValueError, match="a cube is not a container"):
        world.is_inside(2, 1)


def test_everything_stands_still_until_it_is_touched_and_goes_back_on_reset() -> None:
    world = GripperWorld(scene_of(*KINDS))
    before = world.data.qpos.copy()
    world.step(3.0)
    assert world.moved_m().max() < 0.001
    grasp_at(world, 0.25 * KINDS.index("cube"), 0.02)
    assert world.moved_m().max() > 0.1
    world.reset()
    np.testing.assert_allclose(world.data.qpos, before, atol=1e-6)
    assert world.is_done


def test_bad_ways_and_things_without_a_solid_form_are_named() -> None:
    world = GripperWorld(scene_of("cube"))
    for times, waypoints, reason in (
        ([1.0], np.zeros((1, 4)), r"expected \(K, 5\)"),
        ([2.0, 1.0], np.zeros((2, 5)), "ascend"),
        ([1.0], np.full((1, 5), np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=reason):
            world.follow(np.array(times), waypoints)
    teapot = random_object("red", "teapot", 0.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="a teapot has no solid form"):
        GripperWorld(replace(world.scene, objects=(teapot,)))


def test_scenes_are_the_same_for_the_same_seed_and_hold_what_is_wanted() -> None:
    wanted = (("red", "mug"), ("red", "cube"))
    for seed in range(6):
        scene = pick_scene(seed, wanted)
        pairs = [(each.color, each.kind) for each in scene.objects]
        assert set(wanted) <= set(pairs)
        assert len(set(pairs)) == len(pairs)
        assert [kind for _, kind in pairs].count("bowl") == 1
        again = pick_scene(seed, wanted)
        assert again.objects == scene.objects
        np.testing.assert_array_equal(again.camera.position_m, scene.camera.position_m)
    kinds = {each.kind for seed in range(40) for each in pick_scene(seed).objects}
    assert kinds >= set(GRASPABLE)
    with pytest.raises(ValueError, match="seed is -1"):
        pick_scene(-1)


def test_a_camera_sees_the_world_as_it_sees_the_scene_and_no_gripper() -> None:
    try:
        camera = TabletopCamera(320, 240)
    except RuntimeError as error:
        pytest.skip(str(error))
    with camera:
        for seed in range(3):
            world = GripperWorld(pick_scene(seed), (320, 240))
            camera.load(world.scene)
            plain = camera.render()
            camera.load_world(world.scene, world.model, world.data)
            view = camera.render()
            assert np.mean(view.instances != plain.instances) < 0.002
            assert np.median(np.abs(view.depth_m - plain.depth_m)) < 1e-4
            shares = [(each.visible_share, each.nameable) for each in view.objects]
            expected = [(each.visible_share, each.nameable) for each in plain.objects]
            np.testing.assert_allclose(shares, expected, atol=0.02)
            # Once it is over the table, it is seen, and is none of the objects.
            x, y = np.mean([each.xy_m for each in world.scene.objects], axis=0)
            world.follow(np.array([2.0]), np.array([[x, y, 0.2, 0.0, OPEN_M]]))
            world.step(2.5)
            nearer = camera.render().depth_m < view.depth_m - 0.05
            assert nearer.sum() > 200
            assert set(np.unique(camera.render().instances[nearer])) == {0}
