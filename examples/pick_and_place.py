#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pick up a target and place it in another: an example of a node that uses mllmseg_ros.

In: ``segmentations``, ``target_cloud`` and ``scene_cloud`` of the node, ``camera_pose`` (of the
optical frame in the table's frame, z up) and ``joint_states`` of a gripper that points down. Out:
``joint_trajectory`` for that gripper. It decides once for each command, on the first image taken
after it, logs the reason if it does not move, and halts at the command "stop".
"""

import sys
import time

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose, PoseStamped
from mllmseg_ros.msg import SegmentationArray as Result
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState, PointCloud2
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mllmseg_ros.geometry.grasp import Gripper, NoGrasp, plan_grasp
from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.ros.messages.point_cloud import points_from_cloud
from mllmseg_ros.ros.messages.poses import box_corners, extent_center_xy, transform_points
from mllmseg_ros.ros.support.spin import run

GRIPPER = Gripper()
JOINTS = ("x", "y", "z", "yaw", "opening")  # m and rad, of the point between the fingertips
SPEED, PAUSE_S = (0.5, 0.5, 0.4, 2.0, 0.1), 0.2  # of each joint, m/s or rad/s; at each waypoint
TOPICS = ("camera_pose", "joint_states", "segmentations", "target_cloud", "scene_cloud")
# Height of the fingertips over the table: a held object clears the others.
TRAVEL_M, LIFTED_M = 0.45, 0.35
REFUSALS = {
    Result.STATUS_NO_TARGET: "it is not there",
    Result.STATUS_PARTIAL: "not all of it is there",
    Result.STATUS_LOW_CONFIDENCE: "too uncertain to act on",
}


def check(result: Result) -> None:
    """Raise NoGrasp if a result must not be acted on."""
    if result.status != Result.STATUS_OK:
        raise NoGrasp(REFUSALS.get(result.status, result.text))
    for role in ("pick", "place"):
        named = [each for each in result.segmentations if each.role == role]
        if role == "pick" and not named:
            raise NoGrasp("nothing is to be picked up; send for example 'pick: the red mug'")
        if len(named) > 1:
            raise NoGrasp(f"{len(named)} instances match {named[0].expression!r}, expected one")
        if named and not named[0].has_position:
            raise NoGrasp(f"{named[0].expression!r} has no position: {result.text}")


def plan(
    result: Result, target: PointCloud2, scene: PointCloud2, camera: Pose, home: np.ndarray
) -> np.ndarray:
    """Plan waypoints (K, 5) of JOINTS from a result; raise NoGrasp with the reason not to move."""
    check(result)
    points, others = (transform_points(camera, points_from_cloud(each)) for each in (target, scene))
    grasp = plan_grasp(points, others, GRIPPER)
    (x, y, z), yaw, wide = grasp.tip_m, grasp.yaw_rad, grasp.opening_m
    waypoints = [(x, y, TRAVEL_M, yaw, wide), (x, y, z, yaw, wide), (x, y, z, yaw, 0.0)]
    waypoints += [(x, y, LIFTED_M, yaw, 0.0)]
    for container in (each for each in result.segmentations if each.role == "place"):
        corners = transform_points(camera, box_corners(container))
        # The centre of the held object goes over that of the container, its lower end to the rim.
        x, y = np.add((x, y), extent_center_xy(corners) - extent_center_xy(points))
        z += corners[:, 2].max()
        waypoints += [(x, y, TRAVEL_M, yaw, 0.0), (x, y, z, yaw, 0.0), (x, y, z, yaw, wide)]
        waypoints += [(x, y, TRAVEL_M, yaw, wide), tuple(home)]
    return np.array(waypoints)


def time_waypoints(waypoints: np.ndarray, start: np.ndarray) -> JointTrajectory:
    """Build a trajectory through waypoints (K, 5), each at the time that it can be reached."""
    durations_s = np.abs(np.diff(waypoints, axis=0, prepend=start[None])) / SPEED
    message = JointTrajectory(joint_names=JOINTS)
    for waypoint, at_s in zip(waypoints, np.cumsum(durations_s.max(axis=1) + PAUSE_S), strict=True):
        at = Duration(sec=int(at_s), nanosec=int(at_s % 1 * 1e9))
        message.points.append(JointTrajectoryPoint(positions=waypoint.tolist(), time_from_start=at))
    return message


class PickAndPlace(Node):
    """Waits for a result and its clouds, plans, and publishes the trajectory."""

    def __init__(self) -> None:
        super().__init__("pick_and_place")
        self.newest, self.decided, self.until_s = {}, "", 0.0
        self.trajectory = self.create_publisher(JointTrajectory, "joint_trajectory", 1)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.subscribe(PoseStamped, "camera_pose", self.decide, latched)
        self.subscribe(JointState, "joint_states", lambda: None)
        for kind, topic in zip((Result, PointCloud2, PointCloud2), TOPICS[2:], strict=True):
            self.subscribe(kind, topic, self.decide)

    def subscribe(self, kind: type, topic: str, callback, qos=10) -> None:
        """Keep the newest message of a topic, and call back."""

        def received(message: object) -> None:
            self.newest[topic] = message
            callback()

        self.create_subscription(kind, topic, received, qos)

    def decide(self) -> None:
        """Move, or log why not, once for each command, when all inputs have arrived."""
        camera, state, result, *clouds = (self.newest.get(topic) for topic in TOPICS)
        if result and result.status == Result.STATUS_STOPPED:
            self.stop()
        if not result or not result.image_height or result.request_id == self.decided:
            return  # no result on an image, or another one of a command that is handled
        if nanoseconds(result.header.stamp) < nanoseconds(result.request_stamp):
            return  # clouds of that image may belong to the previous command
        try:
            check(result)
            # Clouds are in target_frame, which the result's image is not.
            if not all(cloud and cloud.header.stamp == result.header.stamp for cloud in clouds):
                return
            if not (camera and state):
                raise NoGrasp("camera_pose or joint_states are missing")
            start = np.array(state.position)
            if time.monotonic() < self.until_s or start[4] < 0.9 * GRIPPER.max_opening_m:
                return  # the gripper is busy; the next images have results as well
            waypoints = plan(result, *clouds, camera.pose, start)
            self.move(waypoints, start)
            self.get_logger().info(f"{result.command!r}: moving to {waypoints[1].round(3)}")
        except NoGrasp as reason:
            self.get_logger().warning(f"{result.command!r}: not moving: {reason}")
        self.decided = result.request_id

    def move(self, waypoints: np.ndarray, start: np.ndarray) -> None:
        """Publish a trajectory; the gripper is busy until it ends."""
        trajectory = time_waypoints(waypoints, start)
        self.trajectory.publish(trajectory)
        self.until_s = time.monotonic() + trajectory.points[-1].time_from_start.sec + 2.0

    def stop(self) -> None:
        """Halt the gripper where it is, with the fingers pressed on what they may hold."""
        if time.monotonic() < self.until_s:
            here = np.array(self.newest["joint_states"].position) - (0, 0, 0, 0, 0.01)
            self.trajectory.publish(time_waypoints(here[None], here))
            self.until_s = 0.0


if __name__ == "__main__":
    sys.exit(run(PickAndPlace))
