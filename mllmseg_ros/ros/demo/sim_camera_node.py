# SPDX-License-Identifier: Apache-2.0
"""Node that simulates an RGB-D camera over a table with slowly moving objects.

It publishes the topics of an aligned RGB-D driver, and the truth to compare results with.
"""

from __future__ import annotations

import math

from rclpy.node import Node

from mllmseg_ros.ros.demo.camera_publisher import (
    HEIGHT,
    WIDTH,
    CameraPublisher,
    declare_rate,
    declare_seed,
)
from mllmseg_ros.ros.support.spin import run
from mllmseg_ros.sim.camera import Pose, TabletopCamera
from mllmseg_ros.sim.random_scenes import random_scene
from mllmseg_ros.sim.scene import Scene

__all__ = ["main"]

_N_OBJECTS = 7
_SWAY_M, _SWAY_RAD = 0.012, 0.25  # less than the gaps that scenes leave between objects
_SWAY_PERIOD_S = 9.0


def sway_poses(scene: Scene, time_s: float) -> dict[int, Pose]:
    """Compute the poses of a scene's objects at a time: each circles slowly about its place."""
    poses = {}
    for index, thing in enumerate(scene.objects):
        phase = 2 * math.pi * (time_s / _SWAY_PERIOD_S + index / len(scene.objects))
        x = thing.xy_m[0] + _SWAY_M * (math.cos(phase) - 1)
        y = thing.xy_m[1] + _SWAY_M * math.sin(phase)
        poses[index + 1] = (x, y, thing.yaw_rad + _SWAY_RAD * math.sin(phase))
    return poses


class SimCameraNode(Node):
    """Publishes image, camera_info, depth/image, truth/instances and truth/objects."""

    def __init__(self) -> None:
        super().__init__("sim_camera")
        description = "Number of the scene; its objects were never seen in training."
        seed = declare_seed(self, 17, description)
        rate = declare_rate(self, 10.0)
        self._scene = random_scene(seed, "validation", _N_OBJECTS)
        self._camera = TabletopCamera(WIDTH, HEIGHT)
        self._camera.load(self._scene)
        camera = self._scene.camera
        self._publisher = CameraPublisher(self, camera.rotation, camera.position_m)
        self._first_ns = self.get_clock().now().nanoseconds
        self.create_timer(1 / rate, self._publish_image)
        self.get_logger().info(
            f"scene {seed}: {', '.join(f'{o.color} {o.kind}' for o in self._scene.objects)}"
        )

    def stop(self) -> None:
        """Free the GL context."""
        self._camera.close()

    def _publish_image(self) -> None:
        now = self.get_clock().now()
        poses = sway_poses(self._scene, (now.nanoseconds - self._first_ns) / 1e9)
        view = self._camera.render(poses, describe=self._publisher.has_object_subscribers)
        self._publisher.publish(view, now.to_msg())


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal ends it; return the exit status."""
    return run(SimCameraNode, args)
