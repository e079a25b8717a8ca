# SPDX-License-Identifier: Apache-2.0
"""Node ``console``: a web page for the segmenter's topics, services and parameters.

rclpy runs in the main thread and the page's event loop in another; they pass work to each other
without waiting. Commands are published by the page's thread itself, so that nothing can queue ahead
of stop. While no page is open, the node has no subscriptions, so that the segmenter draws nothing
for it.
"""

from __future__ import annotations

import array
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import ParameterEvent
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from std_msgs.msg import Bool, String, UInt8MultiArray

from mllmseg_ros.error_text import one_line
from mllmseg_ros.msg import Transcript
from mllmseg_ros.ros.console.camera import ConsoleCamera
from mllmseg_ros.ros.console.parameters import ConsoleParameters
from mllmseg_ros.ros.console.remote_parameters import RemoteParameters
from mllmseg_ros.ros.support.parameter_fields import declare
from mllmseg_ros.ros.support.service_calls import ServiceCalls, complete
from mllmseg_ros.srv import Explain
from mllmseg_ros.web.console import Console
from mllmseg_ros.web.console_routes import EXPLANATION_TIMEOUT_S, console_application
from mllmseg_ros.web.serving_thread import ServingThread
from mllmseg_ros.web.state import Explanation, Health, Presence, Setting, SettingValue

__all__ = ["ConsoleNode"]

_CHECK_S = 0.5
_UNWATCHED_S = 5.0  # how long a camera stays subscribed that no page shows any more
MAX_WAITING = 32  # requests that the executor has not begun
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
        try:
            self._segmenter = self.resolve_service_name(settings.segmenter)
        except Exception:  # rclpy raises RuntimeError and others, with names of its own files
            raise ValueError(
                f"parameter segmenter is {settings.segmenter[:80]!r}, accepted: the name of a node"
            ) from None
        self._command = self.create_publisher(String, "command", 10)
        self._talk = self.create_publisher(Bool, "push_to_talk", 10)
        self._audio = self.create_publisher(UInt8MultiArray, "audio", 100)
        self._calls = ServiceCalls(self)
        self._remote = RemoteParameters(self, self._segmenter, self._calls, self._on_parameters)
        self._explain: Client = self.create_client(Explain, "explain")
        # Not executor.create_task: a page may connect before there is an executor.
        self._waiting: deque[tuple[Future, Callable[[Future], None]]] = deque()
        self._wake = self.create_guard_condition(self._serve_pages)
        self._watched: frozenset[str] = frozenset()
        self._cameras: dict[str, ConsoleCamera] = {}
        self._watched_s: dict[str, float] = {}  # by camera: monotonic time at which it was shown
        self._page_subscriptions: list[Subscription] = []
        self._timer: Timer | None = None
        self._parameters_are_known = self._is_found = False
        self._console = Console(self, rate_hz=settings.rate)
        access = settings.access()
        try:
            self._web = ServingThread(
                console_application(access, self._console), access, self._log_web
            )
        except OSError as error:
            raise ValueError(f"the page cannot be served, see parameter port: {error}") from None
        self.get_logger().info(f"console at {self._web.url}")

    @property
    def done(self) -> int | None:
        """Exit status: 1 if the web server has ended by itself, else None."""
        return 1 if self._web.failure else None

    def stop(self) -> None:
        """Stop the web server."""
        if self._web.failure:
            self.get_logger().error(f"the web server has ended: {self._web.failure}")
        self._web.stop()

    # Called by the pages, in the web server's thread

    def watch(self, cameras: frozenset[str]) -> None:
        """Subscribe to these cameras; without cameras to nothing."""
        self._watched = cameras
        self._wake.trigger()

    def command(self, text: str) -> str:
        """Publish a command, in the calling thread."""
        has_subscriber = self._command.get_subscription_count() > 0
        self._command.publish(String(data=text))
        return "" if has_subscriber else f"{self._command.topic_name} has no subscriber"

    def talk(self, held: bool) -> None:
        """Publish whether push to talk is held."""
        self._talk.publish(Bool(data=held))

    def audio(self, pcm: bytes) -> None:
        """Publish audio."""
        self._audio.publish(UInt8MultiArray(data=array.array("B", pcm)))

    def set(self, name: str, value: SettingValue) -> Future[str]:
        """Change a parameter of the segmenter."""
        return self._request(lambda refusal: self._remote.set(name, value, refusal))

    def explain(self, expression: str, camera: str) -> Future[Explanation]:
        """Request an explanation from the segmenter."""
        return self._request(lambda reply: self._request_explanation(expression, camera, reply))

    def _request(self, send: Callable[[Future], None]) -> Future:
        """Let the executor's thread send a request, unless it is cancelled before."""
        reply: Future = Future()
        if len(self._waiting) >= MAX_WAITING:
            reply.set_exception(ValueError("the console is busy: nothing was changed, try again"))
        else:
            self._waiting.append((reply, send))
            self._wake.trigger()
        return reply

    def _log_web(self, line: str) -> None:
        self.get_logger().warning(line)

    # Called in the executor's thread

    def _serve_pages(self) -> None:
        self._watch(self._watched)
        for _ in range(len(self._waiting)):
            reply, send = self._waiting.popleft()
            if not reply.set_running_or_notify_cancel():
                continue
            try:
                send(reply)
            except Exception as error:
                reply.set_exception(ValueError(one_line(error, with_type=False)))

    def _watch(self, cameras: frozenset[str]) -> None:
        """Subscribe to new cameras at once; the others stay for a while, or until no page is open.

        A page that switches between cameras repeatedly does not recreate its subscriptions.
        """
        now_s = time.monotonic()
        self._watched_s.update(dict.fromkeys(cameras, now_s))
        for name in set(self._cameras) - cameras:
            if not cameras or now_s > self._watched_s[name] + _UNWATCHED_S:
                self._cameras.pop(name).destroy()
                del self._watched_s[name]
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
        self._watch(self._watched)
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

    def _request_explanation(self, expression: str, camera: str, reply: Future) -> None:
        if not self._explain.service_is_ready():
            raise ValueError("the segmenter offers no service `explain`")
        request = Explain.Request(expression=expression, camera=camera)
        self._calls.send(
            self._explain,
            request,
            EXPLANATION_TIMEOUT_S,
            lambda response: complete(reply, lambda: _convert_explanation(response)),
        )


def _convert_explanation(response: Explain.Response) -> Explanation:
    if not response.success:
        raise ValueError(response.text)
    return Explanation(text=response.text, png=bytes(response.panel.data))


def _format_transcript(transcript: Transcript) -> str:
    """Format recognised speech, with the reason if it is not a command."""
    heard = transcript.text or "(nothing)"
    return f"{heard}: {transcript.reason}" if transcript.reason else str(heard)
