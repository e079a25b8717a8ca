# SPDX-License-Identifier: Apache-2.0
"""Look up transforms at the stamp of an image, with tf2_ros or with this package's own buffer.

The own buffer needs only the messages (tf2_msgs). TF is subscribed to when the first transform is
needed.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Protocol

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time

from mllmseg_ros.codecs.transforms import put_transforms
from mllmseg_ros.frame import bare_frame_id
from mllmseg_ros.geometry.transforms import (
    HISTORY_NS,
    TransformBuffer,
    TransformError,
    TransformExpiredError,
    check_stamp,
    pose_to_matrix,
)
from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.ros.package_choice import Choice, choose_implementation
from mllmseg_ros.ros.support.clock import RosClock

__all__ = ["TransformLookup", "Transforms", "matrix_at"]

_QUEUE = 100  # as in tf2_ros
# Absolute, as everywhere in ROS: all robots of a graph share one tree unless they are remapped.
_TOPIC, _STATIC_TOPIC = "/tf", "/tf_static"


class TransformLookup(Protocol):
    """Looks up transforms; what computes positions needs no more of TF."""

    def listen(self) -> None:
        """Subscribe to TF, before the first lookup. May be called from any thread.

        Raises:
            TransformError: if the packages for TF are not installed.
        """

    def matrix(
        self, target: str, source: str, stamp_ns: int, timeout_s: float
    ) -> NDArray[np.float64]:
        """Look up a transform at a stamp; wait for it if it is late.

        Args:
            target: frame to transform points to.
            source: frame of the points.
            stamp_ns: time, ns; not 0, which tf2 takes for the latest transform.
            timeout_s: maximum waiting time, s of real time.

        Returns:
            ``target_from_source`` (4, 4).

        Raises:
            TransformError: if it did not arrive in time, saying why.
        """


def matrix_at(
    transforms: TransformLookup, target: str, source: str, stamp_ns: int, timeout_s: float
) -> NDArray[np.float64]:
    """Look up ``target_from_source`` (4, 4) at the stamp of an image.

    Raises:
        TransformError: naming both frames and why there is no transform.
    """
    if not source:
        raise TransformError(f"the image has no frame_id, so there is no transform to {target!r}")
    try:
        return transforms.matrix(target, source, stamp_ns, timeout_s)
    except TransformError as error:
        raise TransformError(f"no transform from {source!r} to {target!r}: {error}") from None


class Transforms:
    """A node's TF. Implements :class:`TransformLookup`.

    :meth:`matrix` waits for messages, so it must not be called from the thread that spins the node.
    """

    def __init__(self, node: Node, report: Callable[[str], None]) -> None:
        """Create without subscriptions.

        Args:
            node: node to subscribe with.
            report: called with one line about a transform that was refused.
        """
        self._node, self._report, self._clock = node, report, RosClock(node)
        self._changed = threading.Condition()
        self._started = False
        self._buffer: _Buffer | None = None  # from the first lookup on
        self._unsubscribe: Callable[[], None] | None = None
        # Subscriptions are created by the thread that spins the node: rclpy's lists have no lock.
        self._start_subscribing = node.create_guard_condition(self._subscribe)

    def start(self, target_frame: str) -> None:
        """Allow subscriptions to TF; subscribe at once if there is a target frame.

        Args:
            target_frame: parameter ``target_frame``, "" for none.

        Raises:
            TransformError: if the packages for TF are not installed.
        """
        with self._changed:
            self._started = True
        if target_frame:
            try:
                self.listen()
            except TransformError as error:
                raise TransformError(f"parameter target_frame needs TF: {error}") from None

    def stop(self) -> None:
        """Unsubscribe and end all waiting lookups. Call from the thread that spins the node."""
        with self._changed:
            self._started, self._buffer = False, None
            self._changed.notify_all()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def clear(self) -> None:
        """Forget all transforms but the static ones, because time has jumped."""
        with self._changed:
            if self._buffer is not None:
                self._buffer.clear()

    def listen(self) -> None:
        """Subscribe to TF; see :class:`TransformLookup`."""
        with self._changed:
            if not self._started or self._buffer is not None:
                return
            self._buffer, line = _choose_buffer(self._notify, self._report, self._clock)
        self._node.get_logger().info(line)
        self._start_subscribing.trigger()

    def matrix(
        self, target: str, source: str, stamp_ns: int, timeout_s: float
    ) -> NDArray[np.float64]:
        """Look up a transform; see :class:`TransformLookup`."""
        if not stamp_ns:
            raise TransformError("the image has no stamp (0), so no transform can be looked up")
        self.listen()
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while self._buffer is not None:
                try:
                    return _check_finite(self._buffer.lookup(target, source, stamp_ns))
                except TransformExpiredError:
                    raise
                except TransformError as error:
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0:
                        raise TransformError(f"{error} (waited {timeout_s:g} s)") from None
                    self._changed.wait(left_s)
        raise TransformError("the node has stopped listening to TF")

    def _subscribe(self) -> None:
        with self._changed:
            buffer = self._buffer
        if buffer is not None and self._unsubscribe is None:
            self._unsubscribe = buffer.subscribe(self._node)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _Buffer(Protocol):
    """Keeps the transforms."""

    def subscribe(self, node: Node) -> Callable[[], None]:
        """Subscribe to the topics; returns a function that unsubscribes."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """As :meth:`mllmseg_ros.geometry.transforms.TransformBuffer.lookup`."""

    def clear(self) -> None:
        """As :meth:`mllmseg_ros.geometry.transforms.TransformBuffer.clear`."""


def _choose_buffer(
    on_change: Callable[[], None], report: Callable[[str], None], clock: RosClock
) -> tuple[_Buffer, str]:
    """Choose the buffer of transforms.

    Args:
        on_change: called when there are new transforms.
        report: called with one line about a transform that was refused.
        clock: stamps far ahead of it are refused.

    Returns:
        The buffer and one line for the log.

    Raises:
        TransformError: if no package for TF is installed, saying what to install.
    """
    choice: Choice[Callable[[], _Buffer]] = choose_implementation(
        "transforms are kept",
        package="tf2_ros",
        check=partial(import_module, "tf2_ros"),
        from_package=partial(Tf2Buffer, on_change, report, clock),
        own=partial(OwnBuffer, on_change, report, clock),
        own_name="our own buffer",
    )
    if choice.problem and importlib.util.find_spec("tf2_msgs") is None:
        raise TransformError(
            f"{choice.problem}, and tf2_msgs is not installed; install "
            "ros-$ROS_DISTRO-tf2-ros-py, or only ros-$ROS_DISTRO-tf2-msgs"
        )
    return choice.implementation(), choice.line


class OwnBuffer(TransformBuffer):
    """This package's buffer with its own subscriptions."""

    def __init__(
        self, on_change: Callable[[], None], report: Callable[[str], None], clock: RosClock
    ) -> None:
        super().__init__()
        self._on_change, self._report, self._clock = on_change, report, clock

    def subscribe(self, node: Node) -> Callable[[], None]:
        """Subscribe to both topics; returns a function that unsubscribes."""
        from tf2_msgs.msg import TFMessage

        moving = QoSProfile(depth=_QUEUE)
        latched = QoSProfile(depth=_QUEUE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscriptions = [
            node.create_subscription(
                TFMessage, _TOPIC, lambda message: self._put(message.transforms, False), moving
            ),
            node.create_subscription(
                TFMessage,
                _STATIC_TOPIC,
                lambda message: self._put(message.transforms, True),
                latched,
            ),
        ]

        def unsubscribe() -> None:
            for subscription in subscriptions:
                node.destroy_subscription(subscription)

        return unsubscribe

    def _put(self, transforms: Sequence[TransformStamped], static: bool) -> None:
        now_ns = _running_ns(self._clock)
        for reason in put_transforms(self, transforms, static=static, now_ns=now_ns):
            self._report(f"transform refused: {reason}")
        self._on_change()


class Tf2Buffer:
    """tf2_ros's buffer, which calls back on new transforms so that lookups need not poll."""

    def __init__(
        self, on_change: Callable[[], None], report: Callable[[str], None], clock: RosClock
    ) -> None:
        import tf2_ros

        class Buffer(tf2_ros.Buffer):
            def set_transform(self, transform: TransformStamped, authority: str) -> None:
                header, now_ns = transform.header, _running_ns(clock)
                if now_ns is not None:
                    try:
                        stamp_ns = nanoseconds(header.stamp)
                        check_stamp(header.frame_id, transform.child_frame_id, stamp_ns, now_ns)
                    except ValueError as error:
                        report(f"transform refused: {error}")
                        return
                super().set_transform(transform, authority)
                on_change()

            def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
                super().set_transform_static(transform, authority)
                on_change()

        self._tf2_ros = tf2_ros
        # Without a node, with which it would offer the service tf2_frames.
        self._buffer = Buffer(cache_time=Duration(nanoseconds=HISTORY_NS))

    def subscribe(self, node: Node) -> Callable[[], None]:
        """Subscribe to both topics; returns a function that unsubscribes."""
        listener = self._tf2_ros.TransformListener(self._buffer, node)
        unsubscribe: Callable[[], None] = listener.unregister
        return unsubscribe

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """As :meth:`mllmseg_ros.geometry.transforms.TransformBuffer.lookup`."""
        target, source = bare_frame_id(target), bare_frame_id(source)  # tf2 refuses the slash
        try:
            found = self._buffer.lookup_transform_core(target, source, Time(nanoseconds=stamp_ns))
        except self._tf2_ros.TransformException as error:
            # tf2 says only in its text whether the stamp is too early or too late.
            kind = TransformExpiredError if "into the past" in str(error) else TransformError
            raise kind(str(error)) from None
        at, turn = found.transform.translation, found.transform.rotation
        return pose_to_matrix((at.x, at.y, at.z), (turn.x, turn.y, turn.z, turn.w))

    def clear(self) -> None:
        """Forget all transforms but the static ones."""
        self._buffer.clear()


def _running_ns(clock: RosClock) -> int | None:
    """The ROS time, ns; None while simulated time has not begun."""
    return clock.now_ns() or None


def _check_finite(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(matrix).all():
        raise TransformExpiredError(f"the transform is not finite: {matrix[:3].tolist()}")
    return matrix
