# SPDX-License-Identifier: Apache-2.0
"""How often a simulated gripper ends up with what was named, driven by the example's own decisions.

    python benchmarks/pick.py [--scenes 200] [--json FILE]     # in a sourced workspace

No DDS: the node's messages are built as the node builds them, from a picture with a stereo camera's
depth, and handed to ``examples/pick_and_place.py``; its waypoints drive the physics. Each scene is
asked three things: pick something that is there, pick something that is not, and pick something
and place it in the bowl; once with true masks, once with a model's.
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
PUSHED_M = 0.020  # what else moves farther was run into
CAUSES = {  # words of a refusal -> cause
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
class Question:
    """A command in one scene, and the truth about it."""

    text: str
    truth: Sequence[tuple[str, int | None]]  # expression, instance id; None: not there


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One scene as the camera sees it."""

    world: GripperWorld
    view: View
    depth_m: NDArray[np.float32]  # (H, W), as a stereo camera measures it
    bowl: int  # instance id


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first scene")
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    example = load_example()
    segmenter = Segmenter.from_pretrained(asked.model)
    outcomes: dict[str, list[tuple[int, str, str]]] = {}
    with TabletopCamera() as camera:
        for seed in tqdm(range(asked.first, asked.first + asked.scenes), unit="scene"):
            rng = np.random.default_rng(seed)
            scene = take_picture(camera, seed, rng)
            context = segmenter.encode(scene.view.rgb)
            for name, question in questions(scene, rng).items():
                expressions = [expression for expression, _ in question.truth]
                for masks, answers in (
                    ("true masks", [true_answer(scene.view, *each) for each in question.truth]),
                    ("model", segmenter.segment(context, expressions)),
                ):
                    outcome = episode(example, scene, question, answers)
                    row = outcomes.setdefault(f"{name}, {masks}", [])
                    row.append((seed, question.text, outcome))
    for name, row in outcomes.items():
        counts = Counter(outcome for _, _, outcome in row)
        right = counts.pop("right", 0)
        rest = ", ".join(f"{cause} {n}" for cause, n in counts.most_common())
        print(
            f"{name:<22} {100 * right / len(row):5.1f} % of {len(row)} right; {rest or 'no other'}"
        )
    if asked.json:
        asked.json.write_text(json.dumps(outcomes, indent=1) + "\n", encoding="utf-8")


def load_example() -> ModuleType:
    """Import the example, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("pick_and_place", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def take_picture(camera: TabletopCamera, seed: int, rng: np.random.Generator) -> Scene:
    """Build a scene's world and look at it."""
    world = GripperWorld(pick_scene(seed))
    camera.load_world(world.scene, world.model, world.data)
    view = camera.render()
    (bowl,) = (k + 1 for k, each in enumerate(world.scene.objects) if each.kind == "bowl")
    depth_m = add_stereo_noise(view.depth_m, float(view.K[0, 0]), rng)
    return Scene(world=world, view=view, depth_m=depth_m, bowl=bowl)


def questions(scene: Scene, rng: np.random.Generator) -> dict[str, Question]:
    """One of each sort, where the scene allows it."""
    things = [each for each in scene.view.objects if each.nameable and each.kind in GRASPABLE]
    on_table = {(each.color, each.kind) for each in scene.view.objects}
    absent = [
        f"the {color} {kind}"
        for color in COLORS
        for kind in GRASPABLE
        if (color, kind) not in on_table | HELD_OUT
    ]
    asked: dict[str, Question] = {}
    if things:
        thing = things[int(rng.integers(len(things)))]
        name = f"the {thing.color} {thing.kind}"
        truth = [(name, thing.instance_id)]
        asked["pick"] = Question(text=f"pick: {name}", truth=truth)
    name = absent[int(rng.integers(len(absent)))]
    asked["absent"] = Question(text=f"pick: {name}", truth=[(name, None)])
    things = [each for each in things if each.kind != "bowl"]
    if things and any(
        each.instance_id == scene.bowl and each.nameable for each in scene.view.objects
    ):
        thing = things[int(rng.integers(len(things)))]
        name = f"the {thing.color} {thing.kind}"
        truth = [(name, thing.instance_id), ("the bowl", scene.bowl)]
        asked["pick and place"] = Question(text=f"pick: {name}; place: the bowl", truth=truth)
    return asked


def true_answer(view: View, expression: str, instance_id: int | None) -> Segmentation:
    """What a model that is never wrong would say."""
    mask = view.instances == (256 if instance_id is None else instance_id)
    status = Status.NO_TARGET if instance_id is None else Status.FOUND
    score = float(instance_id is not None)
    return build_segmentation(expression, status, score, score, mask.astype(np.float32), mask)


def episode(
    example: ModuleType, scene: Scene, question: Question, answers: Sequence[Segmentation]
) -> str:
    """Let the example act on these answers. Returns "right", or what went wrong."""
    world, target = scene.world, question.truth[0][1]
    world.reset()
    try:
        waypoints = example.plan(
            *messages(scene, question, answers), camera_pose(scene.view), world.home
        )
    except NoGrasp as reason:
        if target is None:
            return "right"
        return next((cause for words, cause in CAUSES.items() if words in str(reason)), str(reason))
    if target is None:
        return "false motion"
    seen = np.bincount(scene.view.instances[answers[0].mask], minlength=target + 1)
    seen[0] = 0
    if int(np.argmax(seen)) != target:
        return "wrong thing"
    way = example.timed(waypoints, world.home)
    times = [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in way.points]
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
    if len(question.truth) > 1:
        world.step(times[-1] - began_s + 0.5)
        if not world.is_inside(target, scene.bowl):
            return "not in the bowl"
    return "right"


def messages(scene: Scene, question: Question, answers: Sequence[Segmentation]) -> tuple[Any, ...]:
    """Build what the node would publish: the answer, target_cloud, scene_cloud."""
    view = scene.view
    depth = Depth(metres=scene.depth_m, intrinsics=Intrinsics(K=view.K, D=np.zeros(5)))
    answer = Result(
        request=RequestFactory().receive(question.text, 0),
        header=Header(frame_id="camera"),
        rgb=view.rgb,
        instance_set=InstanceSet(instances=locate_instances(answers, depth), depth=depth),
        latency_ns=0,
    )
    position = chosen_position(answer)
    points = np.zeros((0, 3), np.float32) if position is None else position.points
    rest, _ = scene_points(view.rgb, depth, union_image(answer) > 0)
    return (
        array_message(answer, "camera"),
        cloud_from_points(answer.header, points, np.zeros((len(points), 3), np.uint8)),
        cloud_from_points(answer.header, rest, np.zeros((len(rest), 3), np.uint8)),
    )


def camera_pose(view: View) -> Pose:
    """Where the camera is, in the table's frame."""
    return Pose(
        position=point_message(view.camera_pose[:3, 3]),
        orientation=quaternion_message(view.camera_pose[:3, :3]),
    )


if __name__ == "__main__":
    main()
