# SPDX-License-Identifier: Apache-2.0
"""What programs ask by service and action, on its way to the desk of a camera.

Topic, service and action share one path from here on: :mod:`mllmseg_ros.ros.node.request`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rclpy.node import Node
from sensor_msgs.msg import Image

from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.node.camera_stream import CameraStream
from mllmseg_ros.ros.node.request import Ending, Errand, Notice, Reception, Request
from mllmseg_ros.ros.node.result_messages import notice_message

__all__ = ["Asking"]

Deliver = Callable[[SegmentationArray], bool]


class Asking:
    """Turns expressions into requests and finds the camera that they are for."""

    def __init__(
        self,
        node: Node,
        streams: Sequence[CameraStream],
        reception: Reception,
        wake_inference: Callable[[], None],
    ) -> None:
        """Set up.

        Args:
            node: whose executor runs services and actions.
            streams: the node's cameras.
            reception: gives requests their ids.
            wake_inference: makes the inference thread look for what there is to do.
        """
        self._node, self._streams = node, streams
        self._reception, self._wake_inference = reception, wake_inference
        self._guard = node.create_guard_condition(lambda: None)
        self.is_active = False

    def wake_executor(self) -> None:
        """Make the executor look at its coroutines again, from any thread."""
        self._guard.trigger()

    def receive(self, expressions: Sequence[str], *, remember: bool) -> Request:
        """Make a request of expressions; without any it is a stop.

        Args:
            expressions: several, or a single one that may be a sentence ("pick up the mug").
            remember: later commands may refer to it.
        """
        now_ns = int(self._node.get_clock().now().nanoseconds)
        text = "; ".join(expressions)
        request = self._reception.receive(text, now_ns, remember=remember)
        several = next((each for each in expressions if ";" in each), None)
        if request.command is None or several is None:
            return request
        return _refused(request, f"{several!r} has a ';' in it; name each thing by itself")

    def named(self, camera: str) -> list[CameraStream]:
        """Cameras of a name; all for an empty one.

        Raises:
            ValueError: if there is none.
        """
        found = [each for each in self._streams if not camera or each.name == camera]
        if not found:
            names = ", ".join(repr(each.name) for each in self._streams)
            raise ValueError(f"camera is {camera!r}, accepted: {names}")
        return found

    def ask(
        self,
        expressions: Sequence[str],
        camera: str,
        deliver: Deliver,
        image: Image | None = None,
    ) -> SegmentationArray | None:
        """Ask for answers.

        Args:
            expressions: what to look for.
            camera: name of the camera.
            deliver: called with each answer, from another thread; returns whether it wants more.
            image: to look at; None for what the camera shows from now on.

        Returns:
            None where answers will come, else the message that says why not.
        """

        def errand(request: Request, stream: CameraStream) -> Errand:
            return Errand(request, deliver, stream.shot(image) if image is not None else None)

        return self._ask(self.receive(expressions, remember=False), camera, errand)

    def ask_why(
        self, expression: str, camera: str, deliver: Callable[..., bool]
    ) -> SegmentationArray | None:
        """Ask for one answer on the image that the camera has, with what was looked at.

        Args:
            expression: names one thing, or is a sentence that does.
            camera: name of the camera.
            deliver: called once, from another thread, with the answer and a pair of the image and
                its encoding; with the answer alone where nothing was looked at.

        Returns:
            None where an answer will come, else the message that says why not.
        """

        def errand(request: Request, stream: CameraStream) -> Errand:
            assert request.command is not None
            if len(request.command.expressions) != 1:
                raise ValueError("several things are named; ask about one after the other")
            return Errand(request, deliver, asks_why=True)

        return self._ask(self.receive([expression], remember=False), camera, errand)

    def _ask(
        self, request: Request, camera: str, errand: Callable[[Request, CameraStream], Errand]
    ) -> SegmentationArray | None:
        try:
            if request.command is None:
                raise ValueError(request.refusal)
            if request.is_stop:
                raise ValueError("nothing is named to look for; accepted: at least one expression")
            if not self.is_active:
                raise ValueError("the node is not active")
            stream = self._one(camera)
            stream.desk.add(errand(request, stream))
        except ValueError as error:
            notice = Notice(request=request, ending=Ending.REFUSED, text=str(error))
            return notice_message(notice)
        self._wake_inference()
        return None

    def end(self, deliver: Deliver) -> None:
        """Ask for no further answers."""
        for stream in self._streams:
            for errand in stream.desk.errands:
                if errand.deliver == deliver:
                    stream.desk.remove(errand)

    def _one(self, camera: str) -> CameraStream:
        found = self.named(camera)
        by_name = [each for each in found if each.name == camera]
        if len(found) == 1 or by_name:
            return (by_name or found)[0]
        names = ", ".join(repr(each.name) for each in self._streams)
        raise ValueError(f"no camera is named, accepted: {names}")


def _refused(request: Request, reason: str) -> Request:
    return Request(
        request_id=request.request_id,
        text=request.text,
        stamp_ns=request.stamp_ns,
        command=None,
        refusal=reason,
    )
