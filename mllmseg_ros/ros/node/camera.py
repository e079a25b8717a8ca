# SPDX-License-Identifier: Apache-2.0
"""The part of a camera that outlives deactivation: topic names, publishers, metrics."""

from __future__ import annotations

from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode

from mllmseg_ros.ros.messages.point_cloud import CloudBuilder
from mllmseg_ros.ros.node.camera_image import CameraImage
from mllmseg_ros.ros.node.diagnostics import CameraReading, Thresholds, camera_status
from mllmseg_ros.ros.node.frame_slot import FrameSlot
from mllmseg_ros.ros.node.metrics import CameraMetrics
from mllmseg_ros.ros.node.outputs import CameraOutputs
from mllmseg_ros.ros.support.qos import QosWatch
from mllmseg_ros.ros.support.transports import transport_topic

__all__ = ["Camera"]


class Camera:
    """One camera of the node.

    Attributes:
        name: "" where its topics have no prefix.
        prefix: of all its topics: "", or the name and a slash.
        slot: its newest image; empty while the node is inactive.
        metrics: what is measured of it.
        qos: watches for publishers and subscribers whose QoS does not match.
        outputs: its publishers.
    """

    def __init__(self, node: LifecycleNode, name: str, cloud_from_points: CloudBuilder) -> None:
        """Create the publishers.

        Args:
            node: owner of the topics.
            name: of the camera.
            cloud_from_points: one of :mod:`mllmseg_ros.ros.messages.point_cloud`.
        """
        self.name, self.prefix = name, f"{name}/" if name else ""
        self.slot: FrameSlot[CameraImage] = FrameSlot()
        self.metrics, self.qos = CameraMetrics(), QosWatch(node)
        self.outputs = CameraOutputs(node, self.prefix, cloud_from_points, self.qos)
        self._node = node

    def resolve(self, topic: str) -> str:
        """Fully qualified name of one of its topics."""
        return str(self._node.resolve_topic_name(self.prefix + topic))

    @property
    def compressed_image_topic(self) -> str:
        """Fully qualified name of its compressed images."""
        return transport_topic(self._node, f"{self.prefix}image", "compressed")

    def status(
        self,
        node_name: str,
        *,
        is_active: bool,
        has_request: bool,
        period_s: float,
        problem: str,
        wrong_types: Sequence[str] = (),
        limits: Thresholds,
    ) -> DiagnosticStatus:
        """Status for ``/diagnostics``.

        Args:
            node_name: as it stands before the colon.
            is_active: the node subscribes to the camera.
            has_request: a command is in force.
            period_s: s, shortest time between two results.
            problem: why the newest image was not used, "" if it was.
            wrong_types: publishers of another message type, a line each.
            limits: thresholds of warnings and errors.
        """
        reading = CameraReading(
            is_active=is_active,
            metrics=self.metrics,
            received=self.slot.received,
            dropped=self.slot.dropped,
            has_request=has_request,
            period_s=period_s,
            problem=problem,
            mismatches=self.qos.check(),
            wrong_types=wrong_types,
        )
        name = f"{node_name}: camera {self.name}".rstrip()
        return camera_status(name, self.resolve("image"), reading, limits)
