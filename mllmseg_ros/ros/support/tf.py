# SPDX-License-Identifier: Apache-2.0
"""TF at the stamp of an image: by tf2_ros where it is installed, else by a buffer of our own.

Our own needs the messages alone (tf2_msgs). Nothing is subscribed to before a transform is asked
for.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time

from mllmseg_ros.codecs.transforms import put_transforms
from mllmseg_ros.geometry.transforms import (
    HISTORY_NS,
    TransformBuffer,
    TransformError,
    TransformExpiredError,
    pose_to_matrix,
)

__all__ = ["TransformLookup", "Transforms", "matrix_at"]

_QUEUE = 100  # as tf2_ros
# Absolute, as everywhere in ROS: all robots of a graph share one tree unless they are remapped.
_TOPIC, _STATIC_TOPIC = "/tf", "/tf_static"


class TransformLookup(Protocol):
    """What positions need of TF."""

    def listen(self) -> None:
        """Begin to listen, for a transform will be asked for. May be called from any thread.

        Raises:
            TransformError: if what TF needs is not installed.
        """

    def matrix(
        self, target: str, source: str, stamp_ns: int, timeout_s: float
    ) -> NDArray[np.float64]:
        """Tell where a frame was at a stamp, waiting for the transform if it is late.

        Args:
            target: frame to express points in.
            source: frame that they are given in.
            stamp_ns: ns, not 0, which tf2 would take for the latest.
            timeout_s: s of real time.

        Returns:
            ``target_from_source`` (4, 4).

        Raises:
            TransformError: if it did not come in time, saying why.
        """


def matrix_at(
    transforms: TransformLookup, target: str, source: str, stamp_ns: int, timeout_s: float
) -> NDArray[np.float64]:
    """``target_from_source`` (4, 4) at the stamp of an image.

    Raises:
        TransformError: naming both frames, and why there is none.
    """
    if not source:
        raise TransformError(f"the image names no frame (frame_id) to go to {target!r} from")
    try:
        return transforms.matrix(target, source, stamp_ns, timeout_s)
    except TransformError as error:
        raise TransformError(f"no transform from {source!r} to {target!r}: {error}") from None


class Transforms:
    """A node's TF. Implements :class:`TransformLookup`.

    :meth:`matrix` waits for messages, so it has to be called from another thread than the one that
    spins the node.
    """

    def __init__(self, node: Node, report: Callable[[str], None]) -> None:
        """Set up; listens to nothing yet.

        Args:
            node: to subscribe with.
            report: takes one line about a transform that was refused.
        """
        self._node, self._report = node, report
        self._changed = threading.Condition()
        self._started = False
        self._tree: _Tree | None = None  # from the first need on
        self._unsubscribe: Callable[[], None] | None = None
        # Subscriptions are made where the node is spun: rclpy's lists have no lock.
        self._begin = node.create_guard_condition(self._subscribe)

    def start(self, target_frame: str) -> None:
        """Allow to listen; begin at once where a transform will be asked for.

        Args:
            target_frame: that of the parameter, "" for none.

        Raises:
            TransformError: if what TF needs is not installed.
        """
        with self._changed:
            self._started = True
        if target_frame:
            try:
                self.listen()
            except TransformError as error:
                raise TransformError(f"parameter target_frame asks for TF: {error}") from None

    def stop(self) -> None:
        """Stop listening; waiting threads are told so. Call from the thread that spins the node."""
        with self._changed:
            self._started, self._tree = False, None
            self._changed.notify_all()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def clear(self) -> None:
        """Forget what was at other times, because time has jumped."""
        with self._changed:
            if self._tree is not None:
                self._tree.clear()

    def listen(self) -> None:
        """Begin to listen; see :class:`TransformLookup`."""
        with self._changed:
            if not self._started or self._tree is not None:
                return
            self._tree, line = _choose_tree(self._notify, self._report)
        self._node.get_logger().info(line)
        self._begin.trigger()

    def matrix(
        self, target: str, source: str, stamp_ns: int, timeout_s: float
    ) -> NDArray[np.float64]:
        """Look up, and wait; see :class:`TransformLookup`."""
        if not stamp_ns:
            raise TransformError("the image has no stamp (0), so there is no moment to look at")
        self.listen()
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while self._tree is not None:
                try:
                    return _finite(self._tree.lookup(target, source, stamp_ns))
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
            tree = self._tree
        if tree is not None and self._unsubscribe is None:
            self._unsubscribe = tree.subscribe(self._node)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _Tree(Protocol):
    """What keeps the transforms."""

    def subscribe(self, node: Node) -> Callable[[], None]:
        """Feed it from the topics; returns what ends that."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """As :meth:`mllmseg_ros.geometry.transforms.TransformBuffer.lookup`."""

    def clear(self) -> None:
        """As :meth:`mllmseg_ros.geometry.transforms.TransformBuffer.clear`."""


def _choose_tree(changed: Callable[[], None], report: Callable[[str], None]) -> tuple[_Tree, str]:
    """Pick what keeps the transforms.

    Args:
        changed: called when there are new transforms.
        report: takes one line about a transform that was refused.

    Returns:
        It, and one line that says which it is and why.

    Raises:
        TransformError: if nothing of TF is installed, saying what to install.
    """
    reason = "tf2_ros is not installed"
    if importlib.util.find_spec("tf2_ros") is not None:
        try:
            return Tf2Tree(changed), "transforms are kept by tf2_ros"
        except ImportError as error:  # built for another Python
            reason = f"tf2_ros cannot be imported: {error}"
    if importlib.util.find_spec("tf2_msgs") is None:
        raise TransformError(
            f"{reason}, and tf2_msgs neither; install ros-$ROS_DISTRO-tf2-ros-py, or "
            "ros-$ROS_DISTRO-tf2-msgs alone"
        )
    return OwnTree(changed, report), f"transforms are kept by our own buffer ({reason})"


class OwnTree(TransformBuffer):
    """Our own buffer, fed by our own subscriptions."""

    def __init__(self, changed: Callable[[], None], report: Callable[[str], None]) -> None:
        super().__init__()
        self._changed, self._report = changed, report

    def subscribe(self, node: Node) -> Callable[[], None]:
        """Listen to both topics; returns what ends that."""
        from tf2_msgs.msg import TFMessage

        moving = QoSProfile(depth=_QUEUE)
        latched = QoSProfile(depth=_QUEUE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        ours = [
            node.create_subscription(
                TFMessage, _TOPIC, lambda message: self._take(message.transforms, False), moving
            ),
            node.create_subscription(
                TFMessage,
                _STATIC_TOPIC,
                lambda message: self._take(message.transforms, True),
                latched,
            ),
        ]

        def unsubscribe() -> None:
            for each in ours:
                node.destroy_subscription(each)

        return unsubscribe

    def _take(self, transforms: Sequence[TransformStamped], static: bool) -> None:
        for reason in put_transforms(self, transforms, static=static):
            self._report(f"transform refused: {reason}")
        self._changed()


class Tf2Tree:
    """tf2_ros, told to say when something is new, so that nobody has to poll."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Set up.

        Raises:
            ImportError: if tf2_ros is not there or does not fit.
        """
        import tf2_ros

        class Buffer(tf2_ros.Buffer):
            def set_transform(self, transform: TransformStamped, authority: str) -> None:
                super().set_transform(transform, authority)
                changed()

            def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
                super().set_transform_static(transform, authority)
                changed()

        self._tf2_ros = tf2_ros
        # Without a node, for which it would open the service tf2_frames.
        self._buffer = Buffer(cache_time=Duration(nanoseconds=HISTORY_NS))

    def subscribe(self, node: Node) -> Callable[[], None]:
        """Listen to both topics; returns what ends that."""
        end: Callable[[], None] = self._tf2_ros.TransformListener(self._buffer, node).unregister
        return end

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """As :meth:`mllmseg_ros.geometry.transforms.TransformBuffer.lookup`."""
        try:
            found = self._buffer.lookup_transform_core(target, source, Time(nanoseconds=stamp_ns))
        except self._tf2_ros.TransformException as error:
            # tf2 names the direction in its text alone.
            kind = TransformExpiredError if "into the past" in str(error) else TransformError
            raise kind(str(error)) from None
        at, turn = found.transform.translation, found.transform.rotation
        return pose_to_matrix((at.x, at.y, at.z), (turn.x, turn.y, turn.z, turn.w))

    def clear(self) -> None:
        """Forget all but what is static."""
        self._buffer.clear()


def _finite(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(matrix).all():
        raise TransformExpiredError(f"the transform is not finite: {matrix[:3].tolist()}")
    return matrix
