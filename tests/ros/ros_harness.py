# SPDX-License-Identifier: Apache-2.0
"""The node as a process, and a client that talks to it over DDS."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rclpy
from ament_index_python.packages import get_package_prefix
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PointStamped, PoseStamped
from mllmseg_ros.msg import SegmentationArray
from parameter_services import ParameterServices
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header, String
from visualization_msgs.msg import MarkerArray

from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds, time_message
from mllmseg_ros.ros.support import large_images

# LARGE_DATA mode would do too, but its TCP transport can deadlock when a participant is deleted.
os.environ.update(large_images.environment())

START_S = 90.0  # importing torch takes a while on a busy machine
RESULT_S = 20.0
_domains = itertools.count(os.getpid() % 50 * 2)
# Parallel test processes use different domains.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_DOMAINS_EACH = 100 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def new_domain() -> int:
    return 1 + _WORKER * _DOMAINS_EACH + next(_domains) % _DOMAINS_EACH


class NodeProcess:
    """A process of the installed executable, or of a script; its log is read continuously."""

    def __init__(
        self, domain: int, *arguments: str, executable: str = "mllmseg_node", script: str = ""
    ) -> None:
        self.domain = domain
        path = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros" / executable
        command = [sys.executable, script] if script else [str(path)]
        self.process = subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def wait_for(self, text: str, timeout_s: float = START_S) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.log:
            assert self.process.poll() is None, f"the node ended early:\n{self.log}"
            if time.monotonic() >= deadline:
                self.process.kill()  # a fixture that fails here has nobody to end it
                raise AssertionError(f"no {text!r} in:\n{self.log}")
            time.sleep(0.05)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the node did not end on {number}:\n{self.log}") from None
        self._reader.join(5)
        return status


class Client:
    """Publishes images and commands, and collects what the node publishes."""

    def __init__(
        self, domain: int, image: str = "image", command: str = "command", namespace: str = "/"
    ) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("client", context=self.context, namespace=namespace)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        node = self.node
        # Shared by all calls: each adds four endpoints to the graph.
        self.parameters = ParameterServices(node, "mllmseg")
        self.image = node.create_publisher(Image, image, 5)
        self.compressed = node.create_publisher(CompressedImage, "image/compressed", 5)
        self.depth = node.create_publisher(Image, "depth/image", 5)
        self.info = node.create_publisher(CameraInfo, "camera_info", 5)
        self.commands = node.create_publisher(String, command, 100)
        self.results: list[SegmentationArray] = []
        self.masks: list[Image] = []
        self.labels: list[Image] = []
        self.overlays: list[Image] = []
        self.centroids: list[PointStamped] = []
        self.clouds: list[PointCloud2] = []
        self.poses: list[PoseStamped] = []
        self.markers: list[MarkerArray] = []
        for kind, topic, received in (
            (SegmentationArray, "segmentations", self.results),
            (Image, "mask", self.masks),
            (Image, "labels", self.labels),
            (Image, "overlay", self.overlays),
            (PointStamped, "centroid", self.centroids),
            (PointCloud2, "target_cloud", self.clouds),
            (PoseStamped, "target_pose", self.poses),
            (MarkerArray, "markers", self.markers),
        ):
            node.create_subscription(kind, topic, received.append, 100)
        self.sent: list[int] = []  # stamps of the images sent
        self._last_ns = 0

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def now(self) -> Time:
        """Return a new stamp."""
        self._last_ns = max(self.node.get_clock().now().nanoseconds, self._last_ns + 1)
        return time_message(self._last_ns)

    def header(self) -> Header:
        return Header(stamp=self.now(), frame_id="test_camera_optical_frame")

    def send_image(self, rgb: np.ndarray) -> Header:
        header = self.header()
        self.image.publish(image_from_array(rgb, "rgb8", header))
        self.sent.append(nanoseconds(header.stamp))
        return header

    def command(self, text: str) -> None:
        self.commands.publish(String(data=text))

    def wait(
        self,
        condition: Callable[[], object],
        timeout_s: float = RESULT_S,
        each: Callable[[], object] | None = None,
        every_s: float = 0.1,
    ) -> None:
        """Spin until a condition holds; call ``each`` periodically."""
        deadline, due = time.monotonic() + timeout_s, 0.0
        while not condition():
            assert time.monotonic() < deadline, f"timed out; results: {self.summaries()}"
            if each is not None and time.monotonic() >= due:
                each()
                due = time.monotonic() + every_s
            self.executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds: float, each: Callable[[], object] | None = None) -> None:
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= end, seconds + 5, each)

    def summaries(self) -> list[tuple[str, int, str]]:
        return [(result.command[:40], result.status, result.text) for result in self.results]

    def to(self, command: str) -> list[SegmentationArray]:
        return [result for result in self.results if result.command == command]

    def reset(self) -> None:
        """Stop the command in force and clear the received messages."""
        n_stopped = len(self.to("stop"))
        self.wait(self.connected)
        # The node may not have discovered the client yet; then its first result is lost.
        self.wait(
            lambda: len(self.to("stop")) > n_stopped,
            each=lambda: self.command("stop"),
            every_s=2.0,
        )
        self.spin(0.2)
        images = (self.masks, self.labels, self.overlays)
        others = (self.centroids, self.clouds, self.poses, self.markers)
        for messages in (*images, *others, self.results, self.sent):
            messages.clear()

    def let_images_grow_old(self) -> None:
        """Wait until the last test's images are older than the node's default max_age."""
        self.spin(1.2)

    def connected(self) -> bool:
        """Return whether discovery is complete in both directions."""
        counts = (publisher.get_subscription_count() for publisher in (self.commands, self.image))
        publishers = (self.node.count_publishers(topic) for topic in ("segmentations", "mask"))
        return all(counts) and all(publishers)

    def get_parameters(self, node_name: str, *names: str) -> list:
        services = ParameterServices(self.node, node_name)
        assert services.wait(START_S)
        future = services.get(*names)
        self.wait(future.done)
        return [parameter_value_to_python(value) for value in future.result().values]

    def set_parameters(self, node_name: str = "mllmseg", /, **values: object) -> list:
        ours = node_name == "mllmseg"
        services = self.parameters if ours else ParameterServices(self.node, node_name)
        assert services.wait(START_S)
        future = services.set(**values)
        self.wait(future.done)
        return future.result().results


def stamps(messages: Sequence) -> list[int]:
    return [nanoseconds(message.header.stamp) for message in messages]
