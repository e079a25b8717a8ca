#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drive to what was named: a goal pose from "go to the door", for Nav2 or whatever takes one.

In: ``segmentations`` of a node whose parameter ``target_frame`` is the frame to drive in ("map"),
and TF of the robot in it. Out: ``goal_pose``, the topic of RViz's goal tool that Nav2 listens to:
``standoff`` metres before the thing, facing it. One goal a command; what is nothing to drive to is
said and left. At the command "stop" the goal is where the robot is.
"""

import math
import sys

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from mllmseg_ros.msg import Segmentation, SegmentationArray
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from mllmseg_ros.geometry.transforms import TransformError
from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.ros.messages.poses import box_corners, middle_xy
from mllmseg_ros.ros.support.spin import run
from mllmseg_ros.ros.support.tf import Transforms

RETRY_S = 0.1  # TF of an image's moment may come after the answer


class NoGoal(ValueError):
    """There is nothing to drive to; the text says why."""


def destination(answer: SegmentationArray) -> Segmentation | None:
    """Find the one place that a command names to go to; None where it names none.

    Raises:
        NoGoal: if it is not there for certain, several are meant, or nobody knows where it is.
    """
    named = [each for each in answer.segmentations if each.role == "destination"]
    if not named:
        return None
    if len(named) > 1:
        raise NoGoal(f"{len(named)} things are meant by {named[0].expression!r}, expected one")
    if named[0].status != Segmentation.STATUS_FOUND:
        raise NoGoal(f"{named[0].expression!r} is not there for certain")
    if not named[0].has_position:
        raise NoGoal(f"{named[0].expression!r} has no position: {answer.text}")
    return named[0]


def before(
    corners: NDArray[np.floating], robot_xy: NDArray[np.floating], standoff_m: float
) -> tuple[float, float, float]:
    """Place a robot before a thing, facing it.

    Args:
        corners: (8, 3) m, of the thing's box, z up.
        robot_xy: (2,) m, where the robot is.
        standoff_m: from the robot's middle to the box's near side.

    Returns:
        x, y in m and yaw in rad. A robot that is nearer already stays and turns.
    """
    way = middle_xy(corners) - robot_xy
    distance = max(float(np.hypot(*way)), 1e-6)
    direction = way / distance
    near = float(((corners[:, :2] - robot_xy) @ direction).min())
    x, y = robot_xy + max(0.0, near - standoff_m) * direction
    return float(x), float(y), math.atan2(direction[1], direction[0])


class GoalFromTarget(Node):
    """Waits for an answer that names a place, and for TF of its moment, and sends the goal."""

    def __init__(self) -> None:
        super().__init__("goal_from_target")
        self.standoff = self.declare_parameter("standoff", 0.6)  # m
        self.robot_frame = self.declare_parameter("robot_frame", "base_link")
        self.answer: SegmentationArray | None = None
        self.decided, self.frame_id = "", ""  # command done with; frame of the goal on its way
        self.stop_ns = 0  # when to stop was said, 0 unless that is still to be done
        self.goals = self.create_publisher(PoseStamped, "goal_pose", 1)
        self.create_subscription(SegmentationArray, "segmentations", self.receive, 10)
        self.transforms = Transforms(self, self.get_logger().warning)
        self.transforms.start("")
        self.transforms.listen()
        self.create_timer(RETRY_S, self.decide)

    def receive(self, answer: SegmentationArray) -> None:
        """Take an answer about an image, or the end of a command."""
        if answer.status == SegmentationArray.STATUS_STOPPED and self.frame_id:
            self.answer, self.stop_ns = None, self.get_clock().now().nanoseconds
        elif answer.image_height and answer.request_id != self.decided:
            self.answer, self.stop_ns = answer, 0
            self.decide()

    def decide(self) -> None:
        """Send a goal, or say why not, once for each command."""
        try:
            if self.stop_ns:
                robot = self.robot_in(self.frame_id, self.stop_ns)
                yaw = math.atan2(robot[1, 0], robot[0, 0])
                self.send(self.frame_id, float(robot[0, 3]), float(robot[1, 3]), yaw)
                self.stop_ns, self.frame_id = 0, ""
            elif self.answer is not None:
                self.drive(self.answer)
                self.decided, self.answer = self.answer.request_id, None
        except NoGoal as reason:
            self.get_logger().warning(f"{self.answer.command!r}: not driving: {reason}")
            self.decided, self.answer = self.answer.request_id, None
        except TransformError as error:
            self.get_logger().warning(f"waiting for TF: {error}", throttle_duration_sec=2.0)

    def drive(self, answer: SegmentationArray) -> None:
        """Send the robot to what an answer names."""
        place = destination(answer)
        if place is None:
            return
        robot = self.robot_in(place.frame_id, nanoseconds(answer.header.stamp))
        x, y, yaw = before(box_corners(place), robot[:2, 3], self.standoff.value)
        self.send(place.frame_id, x, y, yaw)
        self.frame_id = place.frame_id
        self.get_logger().info(f"{answer.command!r}: to ({x:.2f}, {y:.2f}) in {place.frame_id}")

    def robot_in(self, frame_id: str, stamp_ns: int) -> NDArray[np.float64]:
        """Pose (4, 4) of the robot in a frame at a moment."""
        return self.transforms.matrix(frame_id, self.robot_frame.value, stamp_ns, 0.0)

    def send(self, frame_id: str, x: float, y: float, yaw: float) -> None:
        """Publish a goal on the floor."""
        turn = Quaternion(x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2))
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=frame_id)
        self.goals.publish(
            PoseStamped(header=header, pose=Pose(position=Point(x=x, y=y), orientation=turn))
        )

    def stop(self) -> None:
        """Say nothing more."""
        self.transforms.stop()


if __name__ == "__main__":
    sys.exit(run(GoalFromTarget))
