# SPDX-License-Identifier: Apache-2.0
"""The node ``console``: a web page on the segmenter's topics, services and parameters.

rclpy has the main thread and the page's event loop another; each hands the other its work and goes
on. While no page is open, nothing is subscribed to, so that the segmenter draws nothing for it.
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
    """What people want of the robot (:class:`mllmseg_ros.web.console.RobotInterface`), by ROS."""

    def __init__(self) -> None:
        super().__init__("console")
        settings = declare(self, ConsoleParameters)
        self._segmenter = self.resolve_service_name(settings.segmenter)
        self._command = self.create_publisher(String, "command", 10)
        self._talk = self.create_publisher(Bool, "push_to_talk", 10)
        self._audio = self.create_publisher(UInt8MultiArray, "audio", 100)
        self._remote = RemoteParameters(self, self._segmenter, self._on_parameters)
        self._explain: Client = self.create_client(Explain, "explain")
        # Not executor.create_task: pages may come before there is an executor.
        self._errands: deque[Callable[[], object]] = deque()
        self._wake = self.create_guard_condition(self._do_errands)
        self._cameras: dict[str, ConsoleCamera] = {}
        self._listeners: list[Subscription] = []
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
        """Send the pages away."""
        self._web.stop()

    # From the pages; called in their thread

    def watch(self, cameras: frozenset[str]) -> None:
        """Listen to these cameras; to nothing where there are none."""
        self._soon(self._watch, cameras)

    def command(self, text: str) -> Future[str]:
        """Publish a command."""
        refusal: Future[str] = Future()
        self._soon(self._publish_command, text, refusal)
        return refusal

    def talk(self, held: bool) -> None:
        """Publish that somebody begins or ends to speak."""
        self._soon(self._talk.publish, Bool(data=held))

    def audio(self, pcm: bytes) -> None:
        """Publish what is said."""
        self._soon(self._audio.publish, UInt8MultiArray(data=array.array("B", pcm)))

    def set(self, name: str, value: SettingValue) -> Future[str]:
        """Change a parameter of the segmenter."""
        refusal: Future[str] = Future()
        self._soon(self._remote.set, name, value, refusal)
        return refusal

    def explain(self, expression: str, camera: str) -> Future[Explanation]:
        """Ask the segmenter why."""
        explanation: Future[Explanation] = Future()
        self._soon(self._ask_why, expression, camera, explanation)
        return explanation

    def _soon(self, function, *arguments) -> None:  # type: ignore[no-untyped-def]
        """Have the executor do something between two callbacks, in the order asked."""
        self._errands.append(partial(function, *arguments))
        self._wake.trigger()

    # In the executor's thread

    def _do_errands(self) -> None:
        while self._errands:
            self._errands.popleft()()

    def _watch(self, cameras: frozenset[str]) -> None:
        for name in set(self._cameras) - cameras:
            self._cameras.pop(name).destroy()
        for name in cameras - set(self._cameras):
            self._cameras[name] = ConsoleCamera(self, name, self._console)
        if cameras and self._timer is None:
            self._listen()
        elif not cameras and self._timer is not None:
            self._silence()

    def _listen(self) -> None:
        console = self._console
        self._listeners = [
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10),
            self.create_subscription(ParameterEvent, "/parameter_events", self._on_event, 10),
            self.create_subscription(
                Transcript,
                "transcript",
                lambda each: console.show_text("transcript", _text(each)),
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

    def _silence(self) -> None:
        for listener in self._listeners:
            self.destroy_subscription(listener)
        assert self._timer is not None
        self.destroy_timer(self._timer)
        self._listeners, self._timer = [], None

    def _check(self) -> None:
        """Look what is there."""
        for camera in self._cameras.values():
            camera.choose()
        # One check later than it is found: until then it may not have found this node, and what is
        # sent to it would be lost.
        was_found, self._is_found = self._is_found, self._command.get_subscription_count() > 0
        is_there = self._remote.are_there and was_found and self._is_found
        if is_there and not self._parameters_are_known:
            self._remote.read()
        self._parameters_are_known = is_there
        self._console.set_presence(
            Presence(
                node=self._segmenter,
                is_there=is_there,
                explains=self._explain.service_is_ready(),
                hears=self.count_subscribers(self._audio.topic_name) > 0,
            )
        )

    def _on_parameters(self, settings: Sequence[Setting], cameras: Sequence[str]) -> None:
        self._console.set_settings(settings)
        self._console.set_cameras(cameras)

    def _on_event(self, event: ParameterEvent) -> None:
        if event.node == self._segmenter and self._remote.are_there:
            self._remote.read()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f"{self._segmenter.lstrip('/')}: "
        ours = [
            Health(
                name=each.name.removeprefix(prefix),
                level=_LEVELS.get(each.level, "error"),
                message=each.message,
                values={value.key: value.value for value in each.values},
            )
            for each in message.status
            if each.name.startswith(prefix)
        ]
        if ours:
            self._console.set_health(ours)

    def _publish_command(self, text: str, refusal: Future[str]) -> None:
        is_heard = self._command.get_subscription_count() > 0
        self._command.publish(String(data=text))
        refusal.set_result("" if is_heard else f"nobody listens to {self._command.topic_name}")

    def _ask_why(self, expression: str, camera: str, explanation: Future[Explanation]) -> None:
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


def _text(transcript: Transcript) -> str:
    """What was heard, and why it is no command where it is none."""
    heard = transcript.text or "(nothing)"
    return f"{heard}: {transcript.reason}" if transcript.reason else str(heard)
