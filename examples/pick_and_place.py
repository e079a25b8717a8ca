#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pick up what was named and put it where was said: a consumer of mllmseg_ros to copy from.

In: ``segmentations``, ``target_cloud`` and ``scene_cloud`` of the node, ``camera_pose`` (of the
optical frame in the table's, z up) and ``joint_states`` of a gripper that points down. Out:
``joint_trajectory`` for that gripper. It decides once a command, on the first image taken after it,
says why where it does not move, and halts at the command "stop".
"""

import sys
import time

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose, PoseStamped
from mllmseg_ros.msg import SegmentationArray as Answer
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState, PointCloud2
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mllmseg_ros.geometry.grasp import Gripper, NoGrasp, plan_grasp
from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.ros.messages.point_cloud import points_from_cloud
from mllmseg_ros.ros.messages.poses import box_corners, middle_xy, out_of
from mllmseg_ros.ros.support.spin import run

GRIPPER = Gripper()
JOINTS = ("x", "y", "z", "yaw", "opening")  # m and rad, of the point between the fingertips
SPEED, PAUSE_S = (0.5, 0.5, 0.4, 2.0, 0.1), 0.2  # of each joint, per s; at each waypoint
TOPICS = ("camera_pose", "joint_states", "segmentations", "target_cloud", "scene_cloud")
TRAVEL_M, LIFTED_M = 0.45, 0.35  # of the fingertips over the table: what they carry clears the rest
WHY_NOT = {
    Answer.STATUS_NO_TARGET: "it is not there",
    Answer.STATUS_PARTIAL: "not all of it is there",
    Answer.STATUS_LOW_CONFIDENCE: "too uncertain to act on",
}


def check(answer: Answer) -> None:
    """Raise NoGrasp if an answer is nothing to act on."""
    if answer.status != Answer.STATUS_OK:
        raise NoGrasp(WHY_NOT.get(answer.status, answer.text))
    for role in ("pick", "place"):
        named = [each for each in answer.segmentations if each.role == role]
        if role == "pick" and not named:
            raise NoGrasp("nothing is to be picked up; say e.g. 'pick: the red mug'")
        if len(named) > 1:
            raise NoGrasp(f"{len(named)} things are meant by {named[0].expression!r}, expected one")
        if named and not named[0].has_position:
            raise NoGrasp(f"{named[0].expression!r} has no position: {answer.text}")


def plan(
    answer: Answer, target: PointCloud2, scene: PointCloud2, camera: Pose, home: np.ndarray
) -> np.ndarray:
    """Turn an answer into waypoints (K, 5) of JOINTS; raise NoGrasp with the reason not to move."""
    check(answer)
    points, others = (out_of(camera, points_from_cloud(each)) for each in (target, scene))
    grasp = plan_grasp(points, others, GRIPPER)
    (x, y, z), yaw, wide = grasp.tip_m, grasp.yaw_rad, grasp.opening_m
    waypoints = [(x, y, TRAVEL_M, yaw, wide), (x, y, z, yaw, wide), (x, y, z, yaw, 0.0)]
    waypoints += [(x, y, LIFTED_M, yaw, 0.0)]
    for container in (each for each in answer.segmentations if each.role == "place"):
        corners = out_of(camera, box_corners(container))
        # The middle of what is held goes over that of the container, its lower end to the rim.
        x, y = np.add((x, y), middle_xy(corners) - middle_xy(points))
        z += corners[:, 2].max()
        waypoints += [(x, y, TRAVEL_M, yaw, 0.0), (x, y, z, yaw, 0.0), (x, y, z, yaw, wide)]
        waypoints += [(x, y, TRAVEL_M, yaw, wide), tuple(home)]
    return np.array(waypoints)


def timed(waypoints: np.ndarray, start: np.ndarray) -> JointTrajectory:
    """Give each waypoint (K, 5) the time that the way to it takes."""
    ways_s = np.abs(np.diff(waypoints, axis=0, prepend=start[None])) / SPEED
    message = JointTrajectory(joint_names=JOINTS)
    for waypoint, at_s in zip(waypoints, np.cumsum(ways_s.max(axis=1) + PAUSE_S), strict=True):
        at = Duration(sec=int(at_s), nanosec=int(at_s % 1 * 1e9))
        message.points.append(JointTrajectoryPoint(positions=waypoint.tolist(), time_from_start=at))
    return message


class PickAndPlace(Node):
    """Waits for an answer and what belongs to it, plans, and sends the gripper on its way."""

    def __init__(self) -> None:
        super().__init__("pick_and_place")
        self.newest, self.decided, self.until_s = {}, "", 0.0
        self.trajectory = self.create_publisher(JointTrajectory, "joint_trajectory", 1)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.listen(PoseStamped, "camera_pose", self.decide, latched)
        self.listen(JointState, "joint_states", lambda: None)
        for kind, topic in zip((Answer, PointCloud2, PointCloud2), TOPICS[2:], strict=True):
            self.listen(kind, topic, self.decide)

    def listen(self, kind: type, topic: str, react, qos=10) -> None:
        """Keep the newest message of a topic, and react to it."""

        def received(message: object) -> None:
            self.newest[topic] = message
            react()

        self.create_subscription(kind, topic, received, qos)

    def decide(self) -> None:
        """Move or say why not, once for each command, when all that belongs to it has come."""
        camera, state, answer, *clouds = (self.newest.get(topic) for topic in TOPICS)
        if answer and answer.status == Answer.STATUS_STOPPED:
            self.stop()
        if not answer or not answer.image_height or answer.request_id == self.decided:
            return  # no answer about an image, or one more to a command that is done with
        if nanoseconds(answer.header.stamp) < nanoseconds(answer.request_stamp):
            return  # clouds of that image may be of what was asked for before
        try:
            check(answer)
            if not all(cloud and cloud.header == answer.header for cloud in clouds):
                return
            if not (camera and state):
                raise NoGrasp("camera_pose or joint_states are missing")
            start = np.array(state.position)
            if time.monotonic() < self.until_s or start[4] < 0.9 * GRIPPER.max_opening_m:
                return  # the gripper is busy; a command is answered on every image, so it can wait
            waypoints = plan(answer, *clouds, camera.pose, start)
            self.move(waypoints, start)
            self.get_logger().info(f"{answer.command!r}: moving to {waypoints[1].round(3)}")
        except NoGrasp as reason:
            self.get_logger().warning(f"{answer.command!r}: not moving: {reason}")
        self.decided = answer.request_id

    def move(self, waypoints: np.ndarray, start: np.ndarray) -> None:
        """Send the gripper on its way; until that is over it is busy."""
        way = timed(waypoints, start)
        self.trajectory.publish(way)
        self.until_s = time.monotonic() + way.points[-1].time_from_start.sec + 2.0

    def stop(self) -> None:
        """Halt where the gripper is, its fingers pressed on what they may hold."""
        if time.monotonic() < self.until_s:
            at = np.array(self.newest["joint_states"].position) - (0, 0, 0, 0, 0.01)
            self.trajectory.publish(timed(at[None], at))
            self.until_s = 0.0


if __name__ == "__main__":
    sys.exit(run(PickAndPlace))
