#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drive to a target: publish a goal pose for "go to the door", for Nav2 or another navigator.

In: ``segmentations`` of a segmenter whose parameter ``target_frame`` is the frame to drive in
("map"), and TF of the robot in it. Out: ``goal_pose``, the topic of RViz's goal tool, to which Nav2
subscribes: ``standoff`` metres in front of the target, facing it. Each command gives one goal, or a
warning that says why not. At the command "stop" the goal is the current pose of the robot.
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
from mllmseg_ros.ros.messages.poses import box_corners, extent_center_xy
from mllmseg_ros.ros.support.spin import run
from mllmseg_ros.ros.support.tf import Transforms

RETRY_S = 0.1  # TF at an image's stamp may arrive after the result


class NoGoal(ValueError):
    """There is no goal; the text says why."""


def find_destination(result: SegmentationArray) -> Segmentation | None:
    """Find the destination in a result; None if the command has none.

    Raises:
        NoGoal: if it was not found, has several instances, or has no position.
    """
    entries = [each for each in result.segmentations if each.role == "destination"]
    if not entries:
        return None
    if len(entries) > 1:
        raise NoGoal(f"{len(entries)} instances match {entries[0].expression!r}, expected one")
    if entries[0].status != Segmentation.STATUS_FOUND:
        raise NoGoal(f"{entries[0].expression!r} was not found")
    if not entries[0].has_position:
        raise NoGoal(f"{entries[0].expression!r} has no position: {result.text}")
    return entries[0]


def place_robot(
    corners: NDArray[np.floating], robot_xy: NDArray[np.floating], standoff_m: float
) -> tuple[float, float, float]:
    """Compute the goal in front of an object, facing it.

    Args:
        corners: (8, 3) m, corners of the object's box, z up.
        robot_xy: (2,) m, position of the robot.
        standoff_m: distance from the robot's centre to the near side of the box, m.

    Returns:
        x, y in m and yaw in rad. A robot that is nearer already only turns.
    """
    offset = extent_center_xy(corners) - robot_xy
    distance = max(float(np.hypot(*offset)), 1e-6)
    direction = offset / distance
    near = float(((corners[:, :2] - robot_xy) @ direction).min())
    x, y = robot_xy + max(0.0, near - standoff_m) * direction
    return float(x), float(y), math.atan2(direction[1], direction[0])


class GoalFromTarget(Node):
    """Waits for a result with a destination, and for TF at its stamp, and publishes the goal."""

    def __init__(self) -> None:
        super().__init__("goal_from_target")
        self.standoff = self.declare_parameter("standoff", 0.6)  # m
        self.robot_frame = self.declare_parameter("robot_frame", "base_link")
        self.result: SegmentationArray | None = None
        self.decided, self.frame_id = "", ""  # request_id handled last; frame of the current goal
        self.stop_ns = 0  # time of a stop that has still to be handled, else 0
        self.goals = self.create_publisher(PoseStamped, "goal_pose", 1)
        self.create_subscription(SegmentationArray, "segmentations", self.receive, 10)
        self.transforms = Transforms(self, self.get_logger().warning)
        self.transforms.start("")
        self.transforms.listen()
        self.create_timer(RETRY_S, self.decide)

    def receive(self, result: SegmentationArray) -> None:
        """Take a result on an image, or the end of a command."""
        if result.status == SegmentationArray.STATUS_STOPPED and self.frame_id:
            self.result, self.stop_ns = None, self.get_clock().now().nanoseconds
        elif result.image_height and result.request_id != self.decided:
            self.result, self.stop_ns = result, 0
            self.decide()

    def decide(self) -> None:
        """Publish a goal, or log why there is none, once for each command."""
        try:
            if self.stop_ns:
                robot = self.robot_pose(self.frame_id, self.stop_ns)
                yaw = math.atan2(robot[1, 0], robot[0, 0])
                self.send(self.frame_id, float(robot[0, 3]), float(robot[1, 3]), yaw)
                self.stop_ns, self.frame_id = 0, ""
            elif self.result is not None:
                self.drive(self.result)
                self.decided, self.result = self.result.request_id, None
        except NoGoal as reason:
            self.get_logger().warning(f"{self.result.command!r}: not driving: {reason}")
            self.decided, self.result = self.result.request_id, None
        except TransformError as error:
            self.get_logger().warning(f"waiting for TF: {error}", throttle_duration_sec=2.0)

    def drive(self, result: SegmentationArray) -> None:
        """Send the robot to the destination of a result."""
        place = find_destination(result)
        if place is None:
            return
        robot = self.robot_pose(place.frame_id, nanoseconds(result.header.stamp))
        x, y, yaw = place_robot(box_corners(place), robot[:2, 3], self.standoff.value)
        self.send(place.frame_id, x, y, yaw)
        self.frame_id = place.frame_id
        self.get_logger().info(f"{result.command!r}: to ({x:.2f}, {y:.2f}) in {place.frame_id}")

    def robot_pose(self, frame_id: str, stamp_ns: int) -> NDArray[np.float64]:
        """Look up the pose (4, 4) of the robot in a frame at a stamp."""
        return self.transforms.matrix(frame_id, self.robot_frame.value, stamp_ns, 0.0)

    def send(self, frame_id: str, x: float, y: float, yaw: float) -> None:
        """Publish a goal pose in the plane."""
        rotation = Quaternion(x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2))
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=frame_id)
        self.goals.publish(
            PoseStamped(header=header, pose=Pose(position=Point(x=x, y=y), orientation=rotation))
        )

    def stop(self) -> None:
        """Unsubscribe from TF."""
        self.transforms.stop()


if __name__ == "__main__":
    sys.exit(run(GoalFromTarget))
