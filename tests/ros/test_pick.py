# SPDX-License-Identifier: Apache-2.0
"""The pick-and-place example: refusals, trajectories, and the demo with it."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("mujoco", reason="needs MuJoCo")

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from mllmseg_ros.msg import SegmentationArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import Client, new_domain
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

from mllmseg_ros.geometry.grasp import NoGrasp
from mllmseg_ros.geometry.instances import Depth, InstanceSet, locate_instances
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.ros.demo.pick_plan import PickTask, WorldTruth, format_table, judge, plan_tasks
from mllmseg_ros.ros.messages.point_cloud import cloud_from_points, points_from_cloud
from mllmseg_ros.ros.messages.poses import box_corners, transform_points
from mllmseg_ros.ros.messages.segmentation_msgs import quaternion_message
from mllmseg_ros.ros.node.request import RequestFactory
from mllmseg_ros.ros.node.result import Result
from mllmseg_ros.ros.node.result_messages import array_message, chosen_position
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation
from mllmseg_ros.sim.camera import TabletopCamera

DEMO = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros" / "demo"
EXAMPLE = Path(get_package_share_directory("mllmseg_ros")) / "examples" / "pick_and_place.py"
HEADER = Header(frame_id="camera")
SIZE_HW = (120, 160)
K = np.array([[200.0, 0, 79.5], [0, 200, 59.5], [0, 0, 1]])
HEIGHT_M = 0.6  # of the camera above the table, pointing down
# Pointing down: x right, y towards the bottom of the image, z down.
ABOVE = Pose(
    position=Point(x=0.1, y=0.2, z=HEIGHT_M), orientation=Quaternion(x=1.0, y=0.0, z=0.0, w=0.0)
)
HOME = np.array([0.0, -0.5, 0.5, 0.0, 0.09])


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pick_and_place", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_blocks() -> tuple[np.ndarray, np.ndarray]:
    """Make the depth of two blocks of 60 mm seen from above, and their labels 1 and 2."""
    labels = np.zeros(SIZE_HW, np.uint8)
    half = round(0.03 / (HEIGHT_M - 0.06) * 200)
    labels[60 - half : 60 + half, 40 - half : 40 + half] = 1
    labels[60 - half : 60 + half, 120 - half : 120 + half] = 2
    return np.where(labels > 0, HEIGHT_M - 0.06, HEIGHT_M).astype(np.float32), labels


def make_segmentation(
    expression: str, mask: np.ndarray, status: Status = Status.FOUND
) -> Segmentation:
    return build_segmentation(expression, status, 0.9, 0.9, mask.astype(np.float32), mask)


def make_result(
    text: str, *segmentations: Segmentation, depth: np.ndarray | None = None, stamp_ns: int = 0
) -> Result:
    """Make a result on an image of stamp 0 for a command of the given stamp."""
    seen = None
    if depth is not None:
        seen = Depth(metres=depth, intrinsics=Intrinsics(K=K, D=np.zeros(5)))
    return Result(
        request=RequestFactory().receive(text, stamp_ns),
        header=HEADER,
        rgb=np.zeros((*SIZE_HW, 3), np.uint8),
        instance_set=InstanceSet(instances=locate_instances(segmentations, seen), depth=seen),
        latency_ns=0,
    )


def make_clouds(result: Result) -> tuple:
    position = chosen_position(result)
    points = np.zeros((0, 3), np.float32) if position is None else position.points
    colors = np.zeros((len(points), 3), np.uint8)
    none = np.zeros((0, 3), np.float32)
    return (
        cloud_from_points(HEADER, points, colors),
        cloud_from_points(HEADER, none, none.astype(np.uint8)),
    )


def test_the_gripper_moves_to_the_target(example: ModuleType) -> None:
    depth, labels = make_blocks()
    result = make_result("pick: the cube", make_segmentation("the cube", labels == 1), depth=depth)
    message = array_message(result, "camera")
    waypoints = example.plan(message, *make_clouds(result), ABOVE, HOME)
    x = 0.1 + (40 - 79.5 - 0.5) / 200 * (HEIGHT_M - 0.06)
    np.testing.assert_allclose(waypoints[:, :2], [[x, 0.2]] * len(waypoints), atol=0.003)
    above, there, closed, lifted = waypoints
    assert min(above[2], lifted[2]) > 0.3
    assert 0 < there[2] < 0.06
    assert there[2] == closed[2]
    assert there[4] > 0.06 > closed[4] == lifted[4] == 0.0
    way = example.time_waypoints(waypoints, HOME)
    times = [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in way.points]
    assert list(way.joint_names) == ["x", "y", "z", "yaw", "opening"]
    assert np.all(np.diff([0, *times]) > 0.15)
    assert times[0] > 0.7 / 0.5  # the largest motion of a joint is 0.7 m


def test_a_placed_object_is_released_over_the_container(example: ModuleType) -> None:
    depth, labels = make_blocks()
    result = make_result(
        "pick: a; place: b",
        make_segmentation("a", labels == 1),
        make_segmentation("b", labels == 2),
        depth=depth,
    )
    message = array_message(result, "camera")
    waypoints = example.plan(message, *make_clouds(result), ABOVE, HOME)
    x = 0.1 + (120 - 79.5 - 0.5) / 200 * (HEIGHT_M - 0.06)
    let_go = waypoints[6]
    np.testing.assert_allclose(let_go[:2], [x, 0.2], atol=0.004)
    assert let_go[4] > 0.06
    assert let_go[2] - waypoints[1, 2] == pytest.approx(0.06, abs=0.005)  # the height of b
    np.testing.assert_array_equal(waypoints[-1], HOME)


def test_why_the_robot_does_not_move(example: ModuleType) -> None:
    depth, labels = make_blocks()
    a, b = labels == 1, labels == 2
    none = np.zeros_like(a)
    wide = none.copy()
    wide[20:100, 20:100] = True
    flat = np.where(wide, HEIGHT_M - 0.06, HEIGHT_M).astype(np.float32)
    for result, reason in (
        (
            make_result("pick: a", make_segmentation("a", none, Status.NO_TARGET), depth=depth),
            "it is not there",
        ),
        (
            make_result(
                "pick: a; place: b",
                make_segmentation("a", a),
                make_segmentation("b", none, Status.NO_TARGET),
                depth=depth,
            ),
            "not all of it is there",
        ),
        (
            make_result("pick: a", make_segmentation("a", a, Status.LOW_CONFIDENCE), depth=depth),
            "too uncertain",
        ),
        (
            make_result("pick: a", make_segmentation("a", a | b), depth=depth),
            "2 instances match 'a'",
        ),
        (
            make_result(
                "pick: a; place: b",
                make_segmentation("a", a),
                make_segmentation("b", a | b),
                depth=depth,
            ),
            "2 instances match 'b'",
        ),
        (make_result("pick: a", make_segmentation("a", a)), "'a' has no position"),
        (
            make_result("the cube", make_segmentation("the cube", a), depth=depth),
            "nothing is to be picked up",
        ),
        (
            make_result("place: b", make_segmentation("b", b), depth=depth),
            "nothing is to be picked up",
        ),
        (make_result("pick: a", make_segmentation("a", wide), depth=flat), "too wide"),
        (dataclasses.replace(make_result("pick: a"), error="out of memory"), "out of memory"),
    ):
        with pytest.raises(NoGrasp, match=reason):
            example.plan(array_message(result, "c"), *make_clouds(result), ABOVE, HOME)


def test_points_and_boxes_come_back_from_messages() -> None:
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    pose = Pose(position=Point(x=1.0, y=2.0, z=3.0), orientation=quaternion_message(rotation))
    points = rng.normal(size=(20, 3)).astype(np.float32)
    cloud = cloud_from_points(HEADER, points, np.zeros((20, 3), np.uint8))
    np.testing.assert_array_equal(points_from_cloud(cloud), points)
    np.testing.assert_allclose(
        transform_points(pose, points), points @ rotation.T + [1, 2, 3], atol=1e-6
    )
    depth, labels = make_blocks()
    result = make_result("a", make_segmentation("a", labels == 2), depth=depth)
    corners = box_corners(array_message(result, "c").segmentations[0])
    position = result.instances[0].position
    assert position is not None
    np.testing.assert_allclose(corners.min(axis=0), position.points.min(axis=0), atol=0.002)
    np.testing.assert_allclose(corners.max(axis=0), position.points.max(axis=0), atol=0.002)


class Robot(Client):
    """The topics of the example; the test publishes instead of the node."""

    def __init__(self, domain: int) -> None:
        super().__init__(domain)
        self.trajectories: list[JointTrajectory] = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node = self.node
        self.result_publisher = node.create_publisher(SegmentationArray, "segmentations", 10)
        kind = type(make_clouds(make_result("a"))[0])
        self.clouds = [node.create_publisher(kind, f"{n}_cloud", 1) for n in ("target", "scene")]
        self.joints = node.create_publisher(JointState, "joint_states", 10)
        self.pose = node.create_publisher(PoseStamped, "camera_pose", latched)
        self.pose.publish(PoseStamped(pose=ABOVE))
        node.create_subscription(JointTrajectory, "joint_trajectory", self.trajectories.append, 10)

    def publish_result(self, result: Result) -> None:
        state = JointState(name=["x", "y", "z", "yaw", "opening"], position=HOME.tolist())
        self.joints.publish(state)
        self.result_publisher.publish(array_message(result, "c"))
        for publisher, cloud in zip(self.clouds, make_clouds(result), strict=True):
            publisher.publish(cloud)


@pytest.fixture
def robot() -> Iterator[tuple[Robot, list[str]]]:
    domain = new_domain()
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(
        target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True
    )
    reader.start()
    try:
        client = Robot(domain)
        yield client, lines
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, lines
        reader.join(5)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in "".join(lines)


def test_only_a_usable_result_moves_the_gripper(robot: tuple[Robot, list[str]]) -> None:
    client, lines = robot
    depth, labels = make_blocks()
    absent = make_segmentation("a", np.zeros_like(labels, np.bool_), Status.NO_TARGET)
    refused = make_result("pick: a", absent, depth=depth)
    client.wait(lambda: client.node.count_subscribers("segmentations") > 1, 60)
    client.wait(
        lambda: "it is not there" in "".join(lines), each=lambda: client.publish_result(refused)
    )
    # Found on a later image of the same command, which has been handled already.
    found, container = make_segmentation("a", labels == 1), make_segmentation("b", labels == 2)
    late = dataclasses.replace(make_result("pick: a", found, depth=depth), request=refused.request)
    client.spin(1.0, each=lambda: client.publish_result(late))
    assert client.trajectories == []
    # An image from before the command does not count either: it may belong to another command.
    early = make_result("pick: a", found, depth=depth, stamp_ns=1)
    client.spin(1.0, each=lambda: client.publish_result(early))
    assert client.trajectories == []
    asked = make_result("pick: a; place: b", found, container, depth=depth)
    client.wait(lambda: client.trajectories, each=lambda: client.publish_result(asked))
    client.spin(1.0, each=lambda: client.publish_result(asked))
    assert len(client.trajectories) == 1
    assert len(client.trajectories[0].points) == 9
    # While the trajectory runs, even if it has not left home, only "stop" counts.
    client.spin(2.0, each=lambda: client.publish_result(make_result("pick: a", found, depth=depth)))
    assert len(client.trajectories) == 1
    stopped = SegmentationArray(status=SegmentationArray.STATUS_STOPPED)
    client.wait(
        lambda: len(client.trajectories) > 1,
        each=lambda: client.result_publisher.publish(stopped),
    )
    (halt,) = client.trajectories[1].points
    np.testing.assert_allclose(halt.positions[:4], HOME[:4])
    assert halt.positions[4] < HOME[4]


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes half a minute: make slow")
def test_the_demo_picks_and_places_and_ignores_an_absent_target(tmp_path: Path) -> None:
    try:
        TabletopCamera(64, 48).close()
    except RuntimeError as error:
        pytest.skip(str(error))
    demo = subprocess.Popen(
        [str(DEMO), "--pick", "--out", str(tmp_path)],
        env={**os.environ, "ROS_DOMAIN_ID": str(new_domain()), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = demo.communicate(timeout=200)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
    assert demo.returncode == 0, output
    assert "Traceback" not in output
    rows = [line.split() for line in output.splitlines() if line.startswith("pick: ")]
    assert len(rows) == 3
    assert all("right" in row for row in rows)
    assert cv2.imread(str(tmp_path / "03.png")).shape == (648, 1200, 3)


def test_outcomes_are_judged_by_the_truth() -> None:
    names = ("red mug", "red cube", "blue bowl")
    absent, mug, cube = plan_tasks(names)
    assert absent.target is None
    assert absent.text.removeprefix("pick: the ") not in names
    rest = WorldTruth(names=names, lifted=(), held=(), in_bowl=(), away=False, done=True)
    away = dataclasses.replace(rest, away=True)
    up = dataclasses.replace(away, lifted=(1,), held=(1,))
    inside = dataclasses.replace(rest, in_bowl=(2,))
    expected: list[tuple[PickTask, WorldTruth, str | None]] = [
        (absent, rest, None),
        (absent, away, "moved"),
        (mug, rest, None),
        (mug, away, None),
        (mug, up, "right"),
        (mug, dataclasses.replace(up, done=False), None),
        (mug, dataclasses.replace(up, held=()), None),
        (mug, dataclasses.replace(up, lifted=(1, 2)), "lifted the red cube"),
        (cube, up, "lifted the red mug"),
        (cube, inside, "right"),
        (cube, dataclasses.replace(inside, done=False), None),
    ]
    for task, truth, outcome in expected:
        assert judge(task, truth) == outcome
    lines = format_table(
        [(mug, "OK", "right", 5.0), (absent, "NO_TARGET", "moved", 3.0)]
    ).splitlines()
    assert "lifted" in lines[1]
    assert "no motion" in lines[2]
    with pytest.raises(ValueError, match="red mug"):
        plan_tasks(("red cube",))
