# SPDX-License-Identifier: Apache-2.0
"""Node that simulates a robot: a table with physics, an RGB-D camera and a gripper.

The camera has the topics of the simulated camera; its depth has the errors of a stereo camera. The
gripper follows ``joint_trajectory`` and publishes ``joint_states``. Service ``reset`` resets the
world.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from mllmseg_ros.ros.demo.camera_publisher import (
    HEIGHT,
    TABLE_FRAME,
    WIDTH,
    CameraPublisher,
    declare_rate,
    declare_seed,
)
from mllmseg_ros.ros.messages.image_msgs import image_from_array
from mllmseg_ros.ros.messages.segmentation_msgs import point_message, quaternion_message
from mllmseg_ros.ros.support.spin import run
from mllmseg_ros.sim.camera import TabletopCamera, Viewpoint
from mllmseg_ros.sim.depth_noise import add_stereo_noise
from mllmseg_ros.sim.gripper_world import JOINTS, GripperWorld
from mllmseg_ros.sim.pick_scenes import pick_scene

__all__ = ["main"]

REQUIRED_OBJECTS = (("red", "mug"), ("red", "cube"), ("blue", "bowl"))  # objects in every scene
# Of the world; if rendering takes longer than the maximum, simulated time slows down.
_STEP_S, _MAX_STEP_S = 0.03, 0.09
_AWAY_M = 0.01  # minimum distance from home of a gripper that has moved


class SimRobotNode(Node):
    """Steps the world, publishes images of it, and moves the gripper along trajectories."""

    def __init__(self) -> None:
        super().__init__("sim_robot")
        description = "Number of the scene; each has a red mug, a red cube and a bowl."
        seed = declare_seed(self, 22, description)
        rate = declare_rate(self, 4.0)
        self._world = GripperWorld(pick_scene(seed, REQUIRED_OBJECTS), (WIDTH, HEIGHT))
        self._rng = np.random.default_rng(seed)
        self._camera = TabletopCamera(WIDTH, HEIGHT)
        scene = self._world.scene
        self._camera.load_world(scene, self._world.model, self._world.data)
        ahead = scene.camera.rotation[:, 2]
        self._aim_m = tuple(np.mean([(*each.xy_m, 0.18) for each in scene.objects], axis=0))
        self._onlooker = Viewpoint(
            distance_m=1.0,
            azimuth_rad=math.atan2(ahead[1], ahead[0]) + 1.4,
            elevation_rad=0.45,
        )
        self._publisher = CameraPublisher(self, scene.camera.rotation, scene.camera.position_m)
        self._onlooker_image = self.create_publisher(Image, "onlooker/image", 1)
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self._truth = self.create_publisher(String, "truth/grasp", 1)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._camera_pose = self.create_publisher(PoseStamped, "camera_pose", latched)
        self._camera_pose.publish(
            PoseStamped(
                header=Header(stamp=self.get_clock().now().to_msg(), frame_id=TABLE_FRAME),
                pose=Pose(
                    position=point_message(scene.camera.position_m),
                    orientation=quaternion_message(scene.camera.rotation),
                ),
            )
        )
        self.create_subscription(JointTrajectory, "joint_trajectory", self._on_trajectory, 1)
        self.create_service(Trigger, "reset", self._on_reset)
        self._stepped_s = time.monotonic()
        self.create_timer(_STEP_S, self._step)
        self.create_timer(1 / rate, self._publish_image)
        self.get_logger().info(
            f"scene {seed}: {', '.join(f'{o.color} {o.kind}' for o in scene.objects)}"
        )

    def stop(self) -> None:
        """Free the GL context."""
        self._camera.close()

    def _on_trajectory(self, message: JointTrajectory) -> None:
        try:
            order = [list(message.joint_names).index(name) for name in JOINTS]
            times = [
                p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in message.points
            ]
            positions = np.array([np.array(point.positions)[order] for point in message.points])
            self._world.follow(np.array(times), positions)
        except (ValueError, IndexError) as error:
            names = ", ".join(JOINTS)
            self.get_logger().error(f"trajectory refused, accepted joints: {names} ({error})")

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._world.reset()
        response.success = True
        return response

    def _step(self) -> None:
        now_s = time.monotonic()
        self._world.step(min(now_s - self._stepped_s, _MAX_STEP_S))
        self._stepped_s = now_s
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=TABLE_FRAME)
        self._states.publish(
            JointState(
                header=header,
                name=JOINTS,
                position=self._world.joints.tolist(),
                velocity=self._world.joint_speeds.tolist(),
            )
        )
        if self._truth.get_subscription_count():
            self._truth.publish(String(data=json.dumps(self._describe())))

    def _describe(self) -> dict[str, object]:
        """Describe what the gripper has done; instance ids are indices of ``names``, from 1."""
        world = self._world
        objects = world.scene.objects
        (bowl,) = (index + 1 for index, each in enumerate(objects) if each.kind == "bowl")
        others = [k for k in range(1, len(objects) + 1) if k != bowl]
        away_m = np.abs(world.joints - world.home)[:3].max()
        return {
            "names": [f"{each.color} {each.kind}" for each in objects],
            "lifted": world.lifted(),
            "held": world.held(),
            "in_bowl": [k for k in others if world.is_inside(k, bowl)],
            "away": bool(away_m > _AWAY_M),
            "done": world.is_done,
        }

    def _publish_image(self) -> None:
        stamp = self.get_clock().now().to_msg()
        view = self._camera.render(describe=self._publisher.has_object_subscribers)
        noisy_m = add_stereo_noise(view.depth_m, float(view.K[0, 0]), self._rng)
        self._publisher.publish(replace(view, depth_m=noisy_m), stamp)
        if self._onlooker_image.get_subscription_count():
            rgb = self._camera.photograph(self._aim_m, self._onlooker)
            header = Header(stamp=stamp, frame_id="onlooker")
            self._onlooker_image.publish(image_from_array(rgb, "rgb8", header))


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal ends it; return the exit status."""
    return run(SimRobotNode, args)
