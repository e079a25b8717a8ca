# SPDX-License-Identifier: Apache-2.0
"""Node ``console``: a web page on the segmenter's topics, services and parameters.

rclpy runs in the main thread and the page's event loop in another; they pass work to each other
without waiting. While no page is open, the node has no subscriptions, so that the segmenter draws
nothing for it.
"""

from __future__ import annotations

import array
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import ParameterEvent
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from std_msgs.msg import Bool, String, UInt8MultiArray

from mllmseg_ros.msg import Transcript
from mllmseg_ros.ros.console.camera import ConsoleCamera
from mllmseg_ros.ros.console.parameters import ConsoleParameters
from mllmseg_ros.ros.console.remote_parameters import RemoteParameters
from mllmseg_ros.ros.support.parameter_fields import declare
from mllmseg_ros.srv import Explain
from mllmseg_ros.web.console import Console
from mllmseg_ros.web.console_routes import console_application
from mllmseg_ros.web.serving_thread import ServingThread
from mllmseg_ros.web.state import Explanation, Health, Presence, Setting, SettingValue

__all__ = ["ConsoleNode"]

_CHECK_S = 0.5
_LEVELS = {
    DiagnosticStatus.OK: "ok",
    DiagnosticStatus.WARN: "warn",
    DiagnosticStatus.ERROR: "error",
    DiagnosticStatus.STALE: "stale",
}


class ConsoleNode(Node):
    """Implements :class:`~mllmseg_ros.web.console.RobotInterface` over ROS."""

    def __init__(self) -> None:
        super().__init__("console")
        settings = declare(self, ConsoleParameters)
        self._segmenter = self.resolve_service_name(settings.segmenter)
        self._command = self.create_publisher(String, "command", 10)
        self._talk = self.create_publisher(Bool, "push_to_talk", 10)
        self._audio = self.create_publisher(UInt8MultiArray, "audio", 100)
        self._remote = RemoteParameters(self, self._segmenter, self._on_parameters)
        self._explain: Client = self.create_client(Explain, "explain")
        # Not executor.create_task: a page may connect before there is an executor.
        self._calls: deque[Callable[[], object]] = deque()
        self._wake = self.create_guard_condition(self._run_calls)
        self._cameras: dict[str, ConsoleCamera] = {}
        self._page_subscriptions: list[Subscription] = []
        self._timer: Timer | None = None
        self._parameters_are_known = self._is_found = False
        self._console = Console(self, rate_hz=settings.rate)
        access = settings.access()
        try:
            self._web = ServingThread(console_application(access, self._console), access)
        except OSError as error:
            raise ValueError(f"the page cannot be served, see parameter port: {error}") from None
        self.get_logger().info(f"console at {self._web.url}")

    def stop(self) -> None:
        """Stop the web server."""
        self._web.stop()

    # Called by the pages, in the web server's thread

    def watch(self, cameras: frozenset[str]) -> None:
        """Subscribe to these cameras; without cameras to nothing."""
        self._call_soon(self._watch, cameras)

    def command(self, text: str) -> Future[str]:
        """Publish a command."""
        refusal: Future[str] = Future()
        self._call_soon(self._publish_command, text, refusal)
        return refusal

    def talk(self, held: bool) -> None:
        """Publish whether push to talk is held."""
        self._call_soon(self._talk.publish, Bool(data=held))

    def audio(self, pcm: bytes) -> None:
        """Publish audio."""
        self._call_soon(self._audio.publish, UInt8MultiArray(data=array.array("B", pcm)))

    def set(self, name: str, value: SettingValue) -> Future[str]:
        """Change a parameter of the segmenter."""
        refusal: Future[str] = Future()
        self._call_soon(self._remote.set, name, value, refusal)
        return refusal

    def explain(self, expression: str, camera: str) -> Future[Explanation]:
        """Request an explanation from the segmenter."""
        explanation: Future[Explanation] = Future()
        self._call_soon(self._request_explanation, expression, camera, explanation)
        return explanation

    def _call_soon(self, function, *arguments) -> None:  # type: ignore[no-untyped-def]
        """Call a function in the executor's thread; calls run in order."""
        self._calls.append(partial(function, *arguments))
        self._wake.trigger()

    # Called in the executor's thread

    def _run_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def _watch(self, cameras: frozenset[str]) -> None:
        for name in set(self._cameras) - cameras:
            self._cameras.pop(name).destroy()
        for name in cameras - set(self._cameras):
            self._cameras[name] = ConsoleCamera(self, name, self._console)
        if cameras and self._timer is None:
            self._subscribe()
        elif not cameras and self._timer is not None:
            self._unsubscribe()

    def _subscribe(self) -> None:
        console = self._console
        self._page_subscriptions = [
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10),
            self.create_subscription(ParameterEvent, "/parameter_events", self._on_event, 10),
            self.create_subscription(
                Transcript,
                "transcript",
                lambda each: console.show_text("transcript", _format_transcript(each)),
                10,
            ),
            self.create_subscription(
                String, "say", lambda each: console.show_text("say", each.data), 10
            ),
        ]
        self._timer = self.create_timer(
            _CHECK_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._parameters_are_known = False
        self._check()

    def _unsubscribe(self) -> None:
        for subscription in self._page_subscriptions:
            self.destroy_subscription(subscription)
        assert self._timer is not None
        self.destroy_timer(self._timer)
        self._page_subscriptions, self._timer = [], None

    def _check(self) -> None:
        """Check which services, topics and nodes are available."""
        for camera in self._cameras.values():
            camera.choose_image()
        # One check after discovery: before, the segmenter may not have discovered this node, and
        # messages would be lost.
        was_found, self._is_found = self._is_found, self._command.get_subscription_count() > 0
        is_available = self._remote.is_available and was_found and self._is_found
        if is_available and not self._parameters_are_known:
            self._remote.read()
        self._parameters_are_known = is_available
        self._console.set_presence(
            Presence(
                node=self._segmenter,
                is_there=is_available,
                explains=self._explain.service_is_ready(),
                hears=self.count_subscribers(self._audio.topic_name) > 0,
            )
        )

    def _on_parameters(self, settings: Sequence[Setting], cameras: Sequence[str]) -> None:
        self._console.set_settings(settings)
        self._console.set_cameras(cameras)

    def _on_event(self, event: ParameterEvent) -> None:
        if event.node == self._segmenter and self._remote.is_available:
            self._remote.read()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f"{self._segmenter.lstrip('/')}: "
        statuses = [
            Health(
                name=each.name.removeprefix(prefix),
                level=_LEVELS.get(each.level, "error"),
                message=each.message,
                values={value.key: value.value for value in each.values},
            )
            for each in message.status
            if each.name.startswith(prefix)
        ]
        if statuses:
            self._console.set_health(statuses)

    def _publish_command(self, text: str, refusal: Future[str]) -> None:
        has_subscriber = self._command.get_subscription_count() > 0
        self._command.publish(String(data=text))
        refusal.set_result(
            "" if has_subscriber else f"{self._command.topic_name} has no subscriber"
        )

    def _request_explanation(
        self, expression: str, camera: str, explanation: Future[Explanation]
    ) -> None:
        if not self._explain.service_is_ready():
            explanation.set_exception(ValueError("the segmenter offers no service `explain`"))
            return

        def finish(future) -> None:  # type: ignore[no-untyped-def]
            response = future.result()
            if explanation.done():
                return
            if not response.success:
                explanation.set_exception(ValueError(response.text))
                return
            png = bytes(response.panel.data)
            explanation.set_result(Explanation(text=response.text, png=png))

        request = Explain.Request(expression=expression, camera=camera)
        self._explain.call_async(request).add_done_callback(finish)


def _format_transcript(transcript: Transcript) -> str:
    """Format recognised speech, with the reason if it is no command."""
    heard = transcript.text or "(nothing)"
    return f"{heard}: {transcript.reason}" if transcript.reason else str(heard)
