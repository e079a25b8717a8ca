# SPDX-License-Identifier: Apache-2.0
"""What a deactivated camera leaves in memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_harness import Client, new_domain
from sensor_msgs.msg import Image

from mllmseg_ros.ros.messages.image_msgs import image_from_array
from mllmseg_ros.ros.node.segmenter_node import SegmenterNode


@pytest.fixture
def client() -> Iterator[Client]:
    domain = new_domain()
    rclpy.init(domain_id=domain)
    client = Client(domain)
    yield client
    client.close()
    rclpy.try_shutdown()


def test_no_image_is_left_when_a_camera_is_closed(client: Client) -> None:
    """Python's collector counts objects, not megabytes: it may not run for an hour."""
    node = SegmenterNode(
        parameter_overrides=[Parameter("autostart", value=False), Parameter("device", value="cpu")]
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    rgb, depth = np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32)
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        gc.collect()
        gc.disable()
        before = count_images()
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS

        def send() -> None:
            client.depth.publish(image_from_array(depth, "32FC1", client.send_image(rgb)))
            executor.spin_once(timeout_sec=0.05)

        client.command("the red mug")
        client.wait(lambda: client.results, each=send)
        assert count_images() > before
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        for received in (client.results, client.masks, client.labels, client.overlays):
            received.clear()
        assert count_images() == before
    finally:
        gc.enable()
        node.stop()
        node.destroy_node()


def count_images() -> int:
    return sum(type(each) is Image for each in gc.get_objects())
