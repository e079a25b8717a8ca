# SPDX-License-Identifier: Apache-2.0
"""The navigation example: the goal in front of an object, and one goal per command."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from ament_index_python.packages import get_package_share_directory
from broadcaster import Broadcaster, make_transform
from geometry_msgs.msg import PoseStamped
from ros_harness import Client, NodeProcess, new_domain
from sensor_msgs.msg import CameraInfo

from mllmseg_ros.geometry.grasp import Grasp
from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds
from mllmseg_ros.ros.messages.poses import tool_pose, transform_points
from mllmseg_ros.ros.messages.segmentation_msgs import quaternion_message
from mllmseg_ros.sim.samples import load_sample, sample_expressions

EXAMPLE = Path(get_package_share_directory("mllmseg_ros")) / "examples" / "goal_from_target.py"
SAMPLE = load_sample(0)
CAMERA = "test_camera_optical_frame"
ROBOT_XY, STANDOFF_M = (-0.9, 0.4), 0.5


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("goal_from_target", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Robot(Client):
    """A robot with an RGB-D camera on the sample, and late TF."""

    def __init__(self, domain: int) -> None:
        super().__init__(domain)
        self.goals: list[PoseStamped] = []
        self.node.create_subscription(PoseStamped, "goal_pose", self.goals.append, 10)
        self.broadcaster = Broadcaster(self.node)
        turn = quaternion_message(SAMPLE.camera_pose[:3, :3])
        self.place = (
            tuple(SAMPLE.camera_pose[:3, 3]),
            (turn.x, turn.y, turn.z, turn.w),
        )
        self.broadcaster.send_static(make_transform("map", CAMERA, 1, *self.place))

    def send_rgbd(self) -> None:
        header = self.header()
        info = {"height": 480, "width": 640, "k": SAMPLE.K.ravel().tolist(), "d": [0.0] * 5}
        depth_mm = np.round(SAMPLE.depth_m * 1000).astype(np.uint16)
        self.info.publish(CameraInfo(header=header, **info))
        self.depth.publish(image_from_array(depth_mm, "16UC1", header))
        self.image.publish(image_from_array(SAMPLE.rgb, "rgb8", header))
        # At the stamp of the previous image: the newest transform always has to be waited for.
        if self.sent:
            base = make_transform("map", "base_link", self.sent[-1], (*ROBOT_XY, 0.0))
            self.broadcaster.send(base)
        self.sent.append(nanoseconds(header.stamp))


@pytest.fixture(scope="module")
def robot() -> Iterator[tuple[Robot, NodeProcess]]:
    domain = new_domain()
    node = NodeProcess(
        domain, "--ros-args", "-p", "device:=cpu", "-p", "target_frame:=map", "-p", "max_age:=10.0"
    )
    driver = NodeProcess(domain, "--ros-args", "-p", f"standoff:={STANDOFF_M}", script=str(EXAMPLE))
    client = Robot(domain)
    node.wait_for("listening on")
    client.wait(client.connected)
    client.wait(lambda: client.node.count_subscribers("segmentations") > 1)
    yield client, driver
    client.close()
    for process in (driver, node):
        assert process.end() == 0, process.log
        assert "Traceback" not in process.log


def test_the_goal_is_in_front_of_the_object_and_faces_it(example: ModuleType) -> None:
    box = np.array([[x, y, z] for x in (2.0, 2.4) for y in (-0.5, 0.5) for z in (0.0, 2.0)])
    assert example.place_robot(box, np.zeros(2), 0.6) == pytest.approx((1.4, 0.0, 0.0))
    # From the other side, and from closer than the standoff, where it only turns.
    assert example.place_robot(box, np.array([5.0, 0.0]), 0.6) == pytest.approx((3.0, 0.0, math.pi))
    assert example.place_robot(box, np.array([1.9, 0.0]), 0.6) == pytest.approx((1.9, 0.0, 0.0))


def test_the_tool_pose_points_down_and_closes_along_the_grasp() -> None:
    yaw = 0.4
    grasp = Grasp(tip_m=np.array([0.1, 0.2, 0.03]), yaw_rad=yaw, width_m=0.05, opening_m=0.08)
    origin, across, closing, down = transform_points(
        tool_pose(grasp), np.vstack([np.zeros(3), np.eye(3)])
    )
    np.testing.assert_allclose(origin, grasp.tip_m)
    np.testing.assert_allclose(down - origin, [0, 0, -1], atol=1e-9)
    np.testing.assert_allclose(closing - origin, [math.cos(yaw), math.sin(yaw), 0], atol=1e-9)
    np.testing.assert_allclose(np.cross(across - origin, closing - origin), [0, 0, -1], atol=1e-9)


def test_a_destination_becomes_one_goal(robot: tuple[Robot, NodeProcess]) -> None:
    client, driver = robot
    client.command("go to the red mug")
    client.wait(lambda: client.goals, each=client.send_rgbd, every_s=0.3)
    goal = client.goals[0]
    mug = next(each for each in SAMPLE.objects if (each.color, each.kind) == ("red", "mug"))
    thing = (SAMPLE.camera_pose @ [*mug.position_m, 1.0])[:2]
    place = np.array([goal.pose.position.x, goal.pose.position.y])
    assert goal.header.frame_id == "map"
    # On the line from the robot to the object, in front of it by the standoff and about its radius.
    way, left = thing - ROBOT_XY, thing - place
    assert STANDOFF_M < np.hypot(*left) < STANDOFF_M + 0.12
    assert abs(way[0] * left[1] - way[1] * left[0]) < 0.02 * np.hypot(*way)
    yaw = 2 * math.atan2(goal.pose.orientation.z, goal.pose.orientation.w)
    assert yaw == pytest.approx(math.atan2(left[1], left[0]), abs=0.05)
    client.spin(0.6, each=client.send_rgbd)
    assert len(client.goals) == 1

    # Neither a pick target nor an absent target is a destination.
    client.command("pick: the red mug")
    client.spin(0.6, each=client.send_rgbd)
    absent = next(expression.text for expression in sample_expressions(0) if not expression.targets)
    client.command(f"destination: {absent}")
    client.wait(lambda: "not driving" in driver.log, each=client.send_rgbd, every_s=0.3)
    assert len(client.goals) == 1

    client.command("stop")
    client.wait(lambda: len(client.goals) > 1, each=client.send_rgbd, every_s=0.3)
    halt = client.goals[1].pose.position
    assert (halt.x, halt.y) == pytest.approx(ROBOT_XY)
