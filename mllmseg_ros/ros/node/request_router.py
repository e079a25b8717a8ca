# SPDX-License-Identifier: Apache-2.0
"""Requests of topics, services and actions, on their way to the cameras that they are for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rclpy.node import Node
from sensor_msgs.msg import Image

from mllmseg_ros.ros.node.active_camera import ActiveCamera
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.private_requests import Delivery, PrivateRequest
from mllmseg_ros.ros.node.request import EndReason, Request, RequestEvent, RequestFactory
from mllmseg_ros.ros.node.result_messages import event_message
from mllmseg_ros.ros.support.async_queue import AsyncQueue
from mllmseg_ros.ros.support.clock import RosClock
from mllmseg_ros.ros.support.parameter_fields import LiveParameters

__all__ = ["RequestRouter"]

_LOGGED_CHARS = 80
_STOPPED = "stopped on command"


class RequestRouter:
    """Turns text into requests; refuses private ones while the node is not active.

    Attributes:
        guard: triggered to make the executor resume its coroutines.
    """

    def __init__(
        self,
        node: Node,
        *,
        parameters: LiveParameters[SegmenterParameters],
        clock: RosClock,
        log: FaultLog,
    ) -> None:
        """Set up.

        Args:
            node: whose executor runs services and actions.
            parameters: of the node.
            clock: of the node.
            log: takes refused commands.
        """
        self._logger, self._parameters, self._clock = node.get_logger(), parameters, clock
        self._log = log
        self._factory = RequestFactory()
        self.guard = node.create_guard_condition(lambda: None)
        self._cameras: Sequence[ActiveCamera] = ()  # none while the node is not active
        self._inference_wakeup = threading.Event()

    def open(self, cameras: Sequence[ActiveCamera], inference_wakeup: threading.Event) -> None:
        """Accept requests for these cameras."""
        self._inference_wakeup = inference_wakeup
        self._cameras = cameras

    def close(self) -> None:
        """Refuse requests from now on."""
        self._cameras = ()

    def wake_inference(self) -> None:
        """Wake the inference thread."""
        self._inference_wakeup.set()

    def command(self, text: str, cameras: Sequence[ActiveCamera]) -> None:
        """Put a command in force that came on a topic."""
        self._submit(self._receive(text, remember=True), cameras)

    def set_expressions(self, expressions: Sequence[str], camera: str) -> tuple[Request, str]:
        """Put expressions in force.

        Args:
            expressions: several, or a single one that may be a sentence; none is a stop.
            camera: its name; "" for all.

        Returns:
            The request, and why it was refused ("" if it was not).
        """
        request = self._receive_expressions(expressions, remember=True)
        try:
            self._submit(request, self._named(camera))
        except ValueError as error:
            return request, str(error)
        return request, request.refusal

    def ask(
        self,
        expressions: Sequence[str],
        camera: str,
        queue: AsyncQueue[Delivery] | AsyncQueue[Delivery | None],
        *,
        image: Image | None = None,
        repeats: bool = False,
        on_present_image: bool = False,
        is_single: bool = False,
        wanted_s: float = 0.0,
    ) -> PrivateRequest | None:
        """Ask for results that go to the caller alone.

        Args:
            expressions: several, or a single one that may be a sentence.
            camera: its name; "" where there is only one.
            queue: takes the results, or the message that says why there is none.
            image: to segment; None for what the camera shows from now on.
            repeats: a result on every image, until :meth:`withdraw`.
            on_present_image: the image that the camera has already counts too.
            is_single: refuse what names several targets.
            wanted_s: s of real time for which the caller would wait, where that is longer than
                parameter ``request_timeout``.

        Returns:
            The request; None where it was refused, or was a stop: that ends the commands in force,
            whichever way it comes.
        """
        request = self._receive_expressions(expressions, remember=False)
        try:
            if request.is_stop and request.text.strip():
                self._submit(request, self._named(camera))
                event = RequestEvent(request=request, reason=EndReason.STOPPED, text=_STOPPED)
                queue.put(Delivery(message=event_message(event)))
                return None
            _check_targets(request, is_single=is_single)
            active = self._one(camera)
            private_request = PrivateRequest(
                request,
                queue,
                image=active.reader.wrap(image) if image is not None else None,
                repeats=repeats,
                on_present_image=on_present_image,
                life_s=self._parameters.now.request_life_s(wanted_s),
            )
            active.private_requests.add(private_request)
        except ValueError as error:
            _refuse(request, queue, error)
            return None
        self.wake_inference()
        return private_request

    def withdraw(self, private_request: PrivateRequest) -> None:
        """Ask for no further results."""
        for camera in self._cameras:
            camera.private_requests.remove(private_request)

    def _submit(self, request: Request, cameras: Sequence[ActiveCamera]) -> None:
        for camera in cameras:
            camera.submit(request)
        # Escaped and cut: untrusted text must not control the terminal that shows the log.
        shown = ascii(request.text[:_LOGGED_CHARS])
        if request.command is None:
            self._log.warn(f"command refused: {request.refusal} ({shown})")
        else:
            note = f", {ascii(request.note)[1:-1]}" if request.note else ""
            self._logger.info(f"command {request.request_id}: {shown}{note}")
        self.wake_inference()

    def _receive(self, text: str, *, remember: bool) -> Request:
        language = self._parameters.now.language
        return self._factory.receive(
            text, self._clock.now_ns(), language=language, remember=remember
        )

    def _receive_expressions(self, expressions: Sequence[str], *, remember: bool) -> Request:
        return self._factory.receive_expressions(
            expressions,
            self._clock.now_ns(),
            language=self._parameters.now.language,
            remember=remember,
        )

    def _named(self, camera: str) -> Sequence[ActiveCamera]:
        """Cameras of a name; all for an empty one."""
        if not self._cameras:
            raise ValueError("the node is not active")
        found = [each for each in self._cameras if not camera or each.name == camera]
        if not found:
            raise ValueError(f"camera is {camera!r}, accepted: {self._names()}")
        return found

    def _one(self, camera: str) -> ActiveCamera:
        found = self._named(camera)
        by_name = [each for each in found if each.name == camera]
        if len(found) == 1 or by_name:
            return (by_name or found)[0]
        raise ValueError(f"no camera given, accepted: {self._names()}")

    def _names(self) -> str:
        return ", ".join(repr(each.name) for each in self._cameras)


def _check_targets(request: Request, *, is_single: bool) -> None:
    command = request.accepted
    if command.is_stop:
        raise ValueError("no expression is given; expected at least one")
    if is_single and len(command.expressions) != 1:
        raise ValueError("several expressions are given; ask about one at a time")


def _refuse(
    request: Request, queue: AsyncQueue[Delivery] | AsyncQueue[Delivery | None], error: ValueError
) -> None:
    event = RequestEvent(request=request, reason=EndReason.REFUSED, text=str(error))
    queue.put(Delivery(message=event_message(event)))
