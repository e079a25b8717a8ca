# SPDX-License-Identifier: Apache-2.0
"""Node ``mllmseg_agent``: serves agents, and connects them with the segmenter's services.

rclpy runs in the main thread and the MCP server in another; requests go to the executor through a
guard condition. A stop is published by the server's thread itself, so that nothing can queue ahead
of it. Images are received only while somebody asks for them.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String

from mllmseg_ros.agent.server import build_server
from mllmseg_ros.agent.serving import start_serving
from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.agent.backend import NodeBackend
from mllmseg_ros.ros.agent.camera_images import CameraImages
from mllmseg_ros.ros.support import large_images
from mllmseg_ros.ros.support.service_calls import ServiceCalls, complete
from mllmseg_ros.ros.support.spin import run
from mllmseg_ros.srv import Explain, Segment, SetExpressions
from mllmseg_ros.web.guard import Access

__all__ = ["AgentNode", "serve"]

_SEGMENTER = "mllmseg"
_UNUSED_S = 30.0  # how long images are received that nobody asks for
_SILENT_S = 3.0  # without /diagnostics for that long, the segmenter does not run
MAX_WAITING = 32  # requests that the executor has not begun


class AgentNode(Node):
    """The clients, topics and subscriptions behind :class:`NodeBackend`.

    Attributes:
        segment, explain, set_expressions, get_parameters: clients of the segmenter's services.
    """

    def __init__(self, *, allow_commands: bool, access: Access | None, version: str) -> None:
        """Create the clients and start to serve.

        Args:
            allow_commands: offer ``set_command``.
            access: where to serve over HTTP; None for stdin and stdout.
            version: of this package.

        Raises:
            ValueError: The port cannot be bound.
        """
        super().__init__("mllmseg_agent")
        self._segmenter = self.resolve_service_name(_SEGMENTER)
        self._command = self.create_publisher(String, "command", 10)
        self.segment: Client = self.create_client(Segment, "segment")
        self.explain: Client = self.create_client(Explain, "explain")
        self.set_expressions: Client = self.create_client(SetExpressions, "set_expressions")
        self.get_parameters: Client = self.create_client(
            GetParameters, f"{_SEGMENTER}/get_parameters"
        )
        self._calls = ServiceCalls(self)
        self._statuses: Sequence[DiagnosticStatus] = ()
        self._statuses_s = time.monotonic() - _SILENT_S  # when they came
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._images: dict[str, CameraImages] = {}
        self._waiting: deque[tuple[Future, Callable[[Future], None]]] = deque()
        self._wake = self.create_guard_condition(self._serve_requests)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._unsubscribe_unused, clock=steady)
        server = build_server(NodeBackend(self), allow_commands=allow_commands, version=version)
        try:
            self._serving = start_serving(server, access, self._log_server)
        except OSError as error:
            raise ValueError(f"agents cannot be served, see --http: {error}") from None

    @property
    def done(self) -> int | None:
        """Exit status: 0 if the client has gone, 1 if the server has failed, else None."""
        if self._serving.is_serving:
            return None
        return 1 if self._serving.failure else 0

    def stop(self) -> None:
        """End serving."""
        if self._serving.failure:
            self.get_logger().error(f"the server has ended: {self._serving.failure}")
        self._serving.stop()

    # Called in the server's thread

    def publish_command(self, text: str) -> bool:
        """Publish a command, in the calling thread; returns whether somebody subscribes to it."""
        has_subscriber = self._command.get_subscription_count() > 0
        self._command.publish(String(data=text))
        return has_subscriber

    @property
    def command_topic(self) -> str:
        """Name of the topic of :meth:`publish_command`."""
        return str(self._command.topic_name)

    def call(self, client: Client, request: Any, timeout_s: float) -> Future[Any]:
        """Let the executor send a request; the future gets the response, or a ValueError."""

        def send(reply: Future) -> None:
            if not client.service_is_ready():
                raise ValueError(f"the segmenter does not run: no service {client.srv_name}")
            self._calls.send(
                client, request, timeout_s, lambda response: complete(reply, lambda: response)
            )

        return self._in_executor(send)

    def images(self, camera: str) -> Future[CameraImages]:
        """Let the executor subscribe to the images of a camera, unless it has."""

        def subscribe(reply: Future) -> None:
            images = self._images.get(camera)
            if images is None:
                images = self._images[camera] = CameraImages(self, camera)
            images.choose_transport()
            images.used_s = time.monotonic()
            reply.set_result(images)

        return self._in_executor(subscribe)

    def statuses(self) -> Sequence[DiagnosticStatus]:
        """Return the segmenter's newest diagnostics; none if it does not run."""
        return self._statuses if time.monotonic() < self._statuses_s + _SILENT_S else ()

    def short_name(self, status: DiagnosticStatus) -> str:
        """Return the name of a status without the segmenter's: "model", "camera left"."""
        return str(status.name).removeprefix(self._status_prefix)

    def _in_executor(self, begin: Callable[[Future], None]) -> Future[Any]:
        """Let the executor begin something, unless the future is cancelled before."""
        reply: Future = Future()
        if len(self._waiting) >= MAX_WAITING:
            reply.set_exception(ValueError("this server is busy: nothing was sent, try again"))
        else:
            self._waiting.append((reply, begin))
            self._wake.trigger()
        return reply

    def _log_server(self, line: str) -> None:
        self.get_logger().warning(line)

    # Called in the executor's thread

    @property
    def _status_prefix(self) -> str:
        return f"{self._segmenter.lstrip('/')}: "

    def _serve_requests(self) -> None:
        for _ in range(len(self._waiting)):
            reply, begin = self._waiting.popleft()
            if not reply.set_running_or_notify_cancel():
                continue
            try:
                begin(reply)
            except Exception as error:
                is_expected = isinstance(error, ValueError)
                reply.set_exception(ValueError(one_line(error, with_type=not is_expected)))

    def _unsubscribe_unused(self) -> None:
        now_s = time.monotonic()
        for camera, images in tuple(self._images.items()):
            if now_s > images.used_s + _UNUSED_S:
                self._images.pop(camera).destroy()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        own = [each for each in message.status if each.name.startswith(self._status_prefix)]
        if own:
            self._statuses, self._statuses_s = own, time.monotonic()


def serve(
    *, allow_commands: bool, access: Access | None, version: str, ros_arguments: list[str]
) -> int:
    """Serve agents until the client goes or a signal comes; return the exit status.

    Args:
        allow_commands: offer ``set_command``.
        access: where to serve over HTTP; None for stdin and stdout.
        version: of this package.
        ros_arguments: arguments after ``--ros-args``: remappings, parameters.
    """
    # Started by an agent's client, not by a launch file, which would set it.
    os.environ.update(large_images.environment())
    return run(
        lambda: AgentNode(allow_commands=allow_commands, access=access, version=version),
        ["--ros-args", *ros_arguments],
    )
