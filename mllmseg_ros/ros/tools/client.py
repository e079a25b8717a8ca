# SPDX-License-Identifier: Apache-2.0
"""A client of a running segmenter node, for scripts and for ``mllmseg ask``.

    from mllmseg_ros.client import Client

    with Client() as client:
        print(client.segment("the red mug").text)

It has a context and a node of its own, so that a script needs neither, and spins only in its calls.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.srv import Segment, SetExpressions

__all__ = ["Client", "describe"]

_POLL_S = 0.1
_QUEUE = 100  # results


class Client:
    """Sends requests to a segmenter node. Not thread-safe."""

    def __init__(
        self, camera: str = "", *, timeout_s: float = 10.0, ros_arguments: Sequence[str] = ()
    ) -> None:
        """Create a node; nothing is sent yet.

        Args:
            camera: name of the camera, of the node's parameter ``cameras``; "" if it has none.
            timeout_s: how long a call waits for the node and for its reply, s.
            ros_arguments: what would follow ``--ros-args``: remappings, a namespace.
        """
        self._camera, self._timeout_s = camera, timeout_s
        self._context = Context()
        rclpy.init(args=["--ros-args", *ros_arguments], context=self._context)
        self._node = rclpy.create_node(f"mllmseg_client_{os.getpid()}", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._segment = self._node.create_client(Segment, "segment")
        self._set_expressions = self._node.create_client(SetExpressions, "set_expressions")
        self._results: deque[SegmentationArray] = deque(maxlen=_QUEUE)
        prefix = f"{camera}/" if camera else ""
        self._node.create_subscription(
            SegmentationArray, f"{prefix}segmentations", self._on_result, _QUEUE
        )

    def segment(self, *expressions: str) -> SegmentationArray:
        """Get a result on the first image taken after the call; the command in force stays.

        Args:
            expressions: each as in a command: "the red mug"; a single one may be a sentence.

        Raises:
            TimeoutError: the node is not there or does not reply.
        """
        request = Segment.Request(expressions=list(expressions), camera=self._camera)
        return self._call(self._segment, request).answer

    def watch(self, *expressions: str) -> Iterator[SegmentationArray]:
        """Put a command in force and yield its results, until another command replaces it.

        When the iterator is closed, the command ends.

        Args:
            expressions: as for :meth:`segment`.

        Raises:
            TimeoutError: the node is not there or does not reply.
            ValueError: it refuses the command, with its reason.
        """
        request = SetExpressions.Request(expressions=list(expressions), camera=self._camera)
        reply = self._call(self._set_expressions, request)
        if not reply.success:
            raise ValueError(reply.message)
        is_in_force, since_ns = True, 0
        try:
            while is_in_force:
                self._executor.spin_once(timeout_sec=_POLL_S)
                while self._results and is_in_force:
                    result = self._results.popleft()
                    stamp_ns = nanoseconds(result.request_stamp)
                    if result.request_id == reply.request_id:
                        since_ns = stamp_ns
                        is_in_force = result.status not in _ENDED
                        yield result
                    elif since_ns:  # a later command; an earlier one may still have a result
                        is_in_force = stamp_ns <= since_ns
        finally:
            if is_in_force and self._context.ok():
                self._call(self._set_expressions, SetExpressions.Request(camera=self._camera))

    def close(self) -> None:
        """End the node; idempotent."""
        if self._context.ok():
            self._executor.shutdown()
            self._node.destroy_node()
            rclpy.shutdown(context=self._context)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_result(self, result: SegmentationArray) -> None:
        self._results.append(result)

    def _call(self, service: Any, request: Any) -> Any:
        name = self._node.resolve_service_name(service.srv_name)
        if not service.wait_for_service(self._timeout_s):
            raise TimeoutError(
                f"no node offers the service {name} (waited {self._timeout_s:g} s, "
                f"ROS_DOMAIN_ID is {os.environ.get('ROS_DOMAIN_ID', '0')}); start one with "
                "mllmseg.launch.py, or name its namespace: --ros-args -r __ns:=/robot"
            )
        future = service.call_async(request)
        self._executor.spin_until_future_complete(future, self._timeout_s)
        if not future.done():
            service.remove_pending_request(future)
            raise TimeoutError(f"{name} has not replied in {self._timeout_s:g} s")
        return future.result()


def describe(result: SegmentationArray) -> list[str]:
    """Describe a result for people: its status and text, then a line per entry.

    An entry has its status, score, box (x0 y0 x1 y1, px) and position (m).
    """
    lines = [f"{_RESULT_STATUS[result.status]}: {result.text}"]
    for entry in result.segmentations:
        line = f"{entry.role or 'target'}: {entry.expression}  {_ENTRY_STATUS[entry.status]}"
        if entry.score == entry.score:  # not NaN
            line += f"  score {entry.score:.2f}"
        if entry.status != Segmentation.STATUS_NO_TARGET and entry.box.width:
            x0, y0 = entry.box.x_offset, entry.box.y_offset
            line += f"  box {x0} {y0} {x0 + entry.box.width} {y0 + entry.box.height}"
        if entry.has_position:
            at = entry.position
            line += f"  at ({at.x:.3f}, {at.y:.3f}, {at.z:.3f}) m in {entry.frame_id}"
        lines.append(line)
    return lines


def _status_names(message: type) -> dict[int, str]:
    """Names of a message's statuses, without their prefix."""
    constants = {name: getattr(message, name) for name in dir(message)}
    return {
        value: name.removeprefix("STATUS_")
        for name, value in constants.items()
        if name.startswith("STATUS_")
    }


_RESULT_STATUS, _ENTRY_STATUS = _status_names(SegmentationArray), _status_names(Segmentation)
_ENDED = (
    SegmentationArray.STATUS_SUPERSEDED,
    SegmentationArray.STATUS_STOPPED,
    SegmentationArray.STATUS_ERROR,
)
