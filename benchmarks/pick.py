# SPDX-License-Identifier: Apache-2.0
"""Measure how often a simulated gripper picks the named object, driven by the example.

    python benchmarks/pick.py [--scenes 200] [--json FILE]     # in a sourced workspace

Without DDS: the node's messages are built from an image with the depth of a stereo camera and
passed to ``examples/pick_and_place.py``, whose waypoints drive the physics. Each scene has three
commands: pick an object, pick an absent object, and pick an object and place it in the bowl; each
runs once with true masks and once with a model's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose
from numpy.typing import NDArray
from std_msgs.msg import Header
from tqdm import tqdm

from mllmseg_ros.geometry.grasp import NoGrasp
from mllmseg_ros.geometry.instances import Depth, InstanceSet, locate_instances
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.language.vocabulary import COLORS
from mllmseg_ros.ros.messages.point_cloud import cloud_from_points, scene_points
from mllmseg_ros.ros.messages.segmentation_msgs import point_message, quaternion_message
from mllmseg_ros.ros.node.request import RequestFactory
from mllmseg_ros.ros.node.result import Result
from mllmseg_ros.ros.node.result_messages import array_message, chosen_position, union_image
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.depth_noise import add_stereo_noise
from mllmseg_ros.sim.gripper_world import GripperWorld
from mllmseg_ros.sim.objects import HELD_OUT
from mllmseg_ros.sim.pick_scenes import GRASPABLE, pick_scene
from mllmseg_ros.sim.view import View

FIRST_SEED = 1_000
EXAMPLE = Path(__file__).parents[1] / "examples" / "pick_and_place.py"
PUSHED_M = 0.020  # another object that moves farther was hit
CAUSES = {  # words of the refusal -> cause
    "not there": "not found",
    "not all of it": "not found",
    "uncertain": "not found",
    "are meant": "several things meant",
    "no position": "no position",
    "points of it": "too few points",
    "too wide": "too wide",
    "too flat": "too flat",
    "in the way": "no room for the fingers",
}


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command in one scene, and the truth about it."""

    text: str
    truth: Sequence[tuple[str, int | None]]  # expression, instance id; None: absent


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One scene and its camera image."""

    world: GripperWorld
    view: View
    depth_m: NDArray[np.float32]  # (H, W), with the errors of a stereo camera
    bowl: int  # instance id


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first scene")
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    example = load_example()
    segmenter = Segmenter.from_pretrained(arguments.model)
    outcomes: dict[str, list[tuple[int, str, str]]] = {}
    with TabletopCamera() as camera:
        for seed in tqdm(range(arguments.first, arguments.first + arguments.scenes), unit="scene"):
            rng = np.random.default_rng(seed)
            scene = render_scene(camera, seed, rng)
            context = segmenter.encode(scene.view.rgb)
            for name, command in plan_commands(scene, rng).items():
                expressions = [expression for expression, _ in command.truth]
                for masks, segmentations in (
                    ("true masks", [segment_truth(scene.view, *each) for each in command.truth]),
                    ("model", segmenter.segment(context, expressions)),
                ):
                    outcome = run_episode(example, scene, command, segmentations)
                    row = outcomes.setdefault(f"{name}, {masks}", [])
                    row.append((seed, command.text, outcome))
    for name, row in outcomes.items():
        counts = Counter(outcome for _, _, outcome in row)
        right = counts.pop("right", 0)
        rest = ", ".join(f"{cause} {n}" for cause, n in counts.most_common())
        print(
            f"{name:<22} {100 * right / len(row):5.1f} % of {len(row)} right; {rest or 'no other'}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(outcomes, indent=1) + "\n", encoding="utf-8")


def load_example() -> ModuleType:
    """Import the example, a script outside the package."""
    spec = importlib.util.spec_from_file_location("pick_and_place", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def render_scene(camera: TabletopCamera, seed: int, rng: np.random.Generator) -> Scene:
    """Build a scene's world and render it."""
    world = GripperWorld(pick_scene(seed))
    camera.load_world(world.scene, world.model, world.data)
    view = camera.render()
    (bowl,) = (k + 1 for k, each in enumerate(world.scene.objects) if each.kind == "bowl")
    depth_m = add_stereo_noise(view.depth_m, float(view.K[0, 0]), rng)
    return Scene(world=world, view=view, depth_m=depth_m, bowl=bowl)


def plan_commands(scene: Scene, rng: np.random.Generator) -> dict[str, Command]:
    """Plan a command of each kind that the scene allows."""
    things = [each for each in scene.view.objects if each.nameable and each.kind in GRASPABLE]
    on_table = {(each.color, each.kind) for each in scene.view.objects}
    absent = [
        f"the {color} {kind}"
        for color in COLORS
        for kind in GRASPABLE
        if (color, kind) not in on_table | HELD_OUT
    ]
    commands: dict[str, Command] = {}
    if things:
        thing = things[int(rng.integers(len(things)))]
        name = f"the {thing.color} {thing.kind}"
        truth = [(name, thing.instance_id)]
        commands["pick"] = Command(text=f"pick: {name}", truth=truth)
    name = absent[int(rng.integers(len(absent)))]
    commands["absent"] = Command(text=f"pick: {name}", truth=[(name, None)])
    things = [each for each in things if each.kind != "bowl"]
    if things and any(
        each.instance_id == scene.bowl and each.nameable for each in scene.view.objects
    ):
        thing = things[int(rng.integers(len(things)))]
        name = f"the {thing.color} {thing.kind}"
        truth = [(name, thing.instance_id), ("the bowl", scene.bowl)]
        commands["pick and place"] = Command(text=f"pick: {name}; place: the bowl", truth=truth)
    return commands


def segment_truth(view: View, expression: str, instance_id: int | None) -> Segmentation:
    """Build the segmentation of a model without errors."""
    mask = view.instances == (256 if instance_id is None else instance_id)
    status = Status.NO_TARGET if instance_id is None else Status.FOUND
    score = float(instance_id is not None)
    return build_segmentation(expression, status, score, score, mask.astype(np.float32), mask)


def run_episode(
    example: ModuleType, scene: Scene, command: Command, segmentations: Sequence[Segmentation]
) -> str:
    """Let the example act on segmentations; return "right", or what went wrong."""
    world, target = scene.world, command.truth[0][1]
    world.reset()
    try:
        waypoints = example.plan(
            *build_messages(scene, command, segmentations), camera_pose(scene.view), world.home
        )
    except NoGrasp as reason:
        if target is None:
            return "right"
        return next((cause for words, cause in CAUSES.items() if words in str(reason)), str(reason))
    if target is None:
        return "false motion"
    seen = np.bincount(scene.view.instances[segmentations[0].mask], minlength=target + 1)
    seen[0] = 0
    if int(np.argmax(seen)) != target:
        return "wrong thing"
    trajectory = example.time_waypoints(waypoints, world.home)
    times = [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in trajectory.points]
    world.follow(np.array(times), waypoints)
    began_s = 0.0
    for index, until_s in enumerate(times[:4]):
        world.step(until_s - began_s)
        began_s = until_s
        others = np.delete(world.moved_m(), target - 1)
        if others.max(initial=0.0) > PUSHED_M:
            return "ran into something else"
        if index == 1 and world.moved_m()[target - 1] > PUSHED_M:
            return "ran into it"
        if index == 2 and target not in world.held():
            return "missed"
    world.step(0.5)
    if target not in world.lifted() or target not in world.held():
        return "slipped"
    if len(command.truth) > 1:
        world.step(times[-1] - began_s + 0.5)
        if not world.is_inside(target, scene.bowl):
            return "not in the bowl"
    return "right"


def build_messages(
    scene: Scene, command: Command, segmentations: Sequence[Segmentation]
) -> tuple[Any, ...]:
    """Build what the node would publish: the result, target_cloud, scene_cloud."""
    view = scene.view
    depth = Depth(metres=scene.depth_m, intrinsics=Intrinsics(K=view.K, D=np.zeros(5)))
    result = Result(
        request=RequestFactory().receive(command.text, 0),
        header=Header(frame_id="camera"),
        rgb=view.rgb,
        instance_set=InstanceSet(instances=locate_instances(segmentations, depth), depth=depth),
        latency_ns=0,
    )
    position = chosen_position(result)
    points = np.zeros((0, 3), np.float32) if position is None else position.points
    rest, _ = scene_points(view.rgb, depth, union_image(result) > 0)
    return (
        array_message(result, "camera"),
        cloud_from_points(result.header, points, np.zeros((len(points), 3), np.uint8)),
        cloud_from_points(result.header, rest, np.zeros((len(rest), 3), np.uint8)),
    )


def camera_pose(view: View) -> Pose:
    """Return the pose of the camera in the table's frame."""
    return Pose(
        position=point_message(view.camera_pose[:3, 3]),
        orientation=quaternion_message(view.camera_pose[:3, :3]),
    )


if __name__ == "__main__":
    main()
