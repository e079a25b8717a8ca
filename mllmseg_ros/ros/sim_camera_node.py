# SPDX-License-Identifier: Apache-2.0
"""A simulated RGB-D camera over a table with slowly moving objects, as a ROS node.

Publishes what a real aligned RGB-D driver does, and the truth about it for who wants to compare.
Entry point: :func:`main`.
"""

from __future__ import annotations

import json
import math

import numpy as np
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from mllmseg_ros.ros.image_msgs import image_from_array, nanoseconds
from mllmseg_ros.ros.spin import run
from mllmseg_ros.sim.camera import Pose, TabletopCamera
from mllmseg_ros.sim.draw_scene import random_scene
from mllmseg_ros.sim.scene import Scene

WIDTH, HEIGHT = 640, 480  # px
FRAME_ID = "camera_color_optical_frame"
_N_OBJECTS = 7
_SWAY_M, _SWAY_RAD = 0.012, 0.25  # less than the gaps that scenes leave between objects
_SWAY_PERIOD_S = 9.0
_QUEUE = 5


def swayed(scene: Scene, time_s: float) -> dict[int, Pose]:
    """Where the objects of a scene are at a time: each circles slowly about its place."""
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
        seed: int = self.declare_parameter(
            "seed",
            17,
            ParameterDescriptor(
                description="number of the scene; its objects were never seen in training",
                integer_range=[IntegerRange(from_value=0, to_value=2**31, step=1)],
            ),
        ).value
        rate: float = self.declare_parameter(
            "rate",
            10.0,
            ParameterDescriptor(
                description="Hz, images per second, as far as rendering keeps up",
                floating_point_range=[FloatingPointRange(from_value=0.1, to_value=60.0)],
            ),
        ).value
        self._scene = random_scene(seed, "validation", _N_OBJECTS)
        self._camera = TabletopCamera(WIDTH, HEIGHT)
        self._camera.load(self._scene)
        self._image = self.create_publisher(Image, "image", _QUEUE)
        self._info = self.create_publisher(CameraInfo, "camera_info", _QUEUE)
        self._depth = self.create_publisher(Image, "depth/image", _QUEUE)
        self._instances = self.create_publisher(Image, "truth/instances", _QUEUE)
        self._objects = self.create_publisher(String, "truth/objects", 1)
        self._first_ns = self.get_clock().now().nanoseconds
        self.create_timer(1 / rate, self._take_picture)
        self.get_logger().info(
            f"scene {seed}: {', '.join(f'{o.color} {o.kind}' for o in self._scene.objects)}"
        )

    def stop(self) -> None:
        """Free the GL context."""
        self._camera.close()

    def _take_picture(self) -> None:
        now = self.get_clock().now()
        poses = swayed(self._scene, (now.nanoseconds - self._first_ns) / 1e9)
        describe = self._objects.get_subscription_count() > 0
        view = self._camera.render(poses, describe=describe)
        header = Header(stamp=now.to_msg(), frame_id=FRAME_ID)
        depth_m = np.where(view.depth_m > 0, view.depth_m, np.float32(np.nan))
        self._depth.publish(image_from_array(depth_m, "32FC1", header))
        self._info.publish(_camera_info(view.K, header))
        self._instances.publish(image_from_array(view.instances, "mono8", header))
        if describe:
            truth = {
                "stamp_ns": nanoseconds(header.stamp),
                "objects": [thing.to_dict() for thing in view.objects],
            }
            self._objects.publish(String(data=json.dumps(truth)))
        # Last, so that who has the image has all that belongs to it.
        self._image.publish(image_from_array(view.rgb, "rgb8", header))


def _camera_info(K: np.ndarray, header: Header) -> CameraInfo:
    P = np.hstack([K, np.zeros((3, 1))])
    return CameraInfo(
        header=header,
        height=HEIGHT,
        width=WIDTH,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=K.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=P.ravel().tolist(),
    )


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end; returns the exit status."""
    return run(SimCameraNode, args)
