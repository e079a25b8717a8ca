# SPDX-License-Identifier: Apache-2.0
"""Publishes the results of one camera, to all subscribers or to one caller.

Called from the executor, the tracking and the inference thread.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from mllmseg_ros.geometry.boxes import BoxHistory
from mllmseg_ros.ros.node.camera import Camera
from mllmseg_ros.ros.node.camera_image import CameraImage
from mllmseg_ros.ros.node.current_command import CurrentCommand
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.private_requests import Delivery, PrivateRequest
from mllmseg_ros.ros.node.request import Request, RequestEvent
from mllmseg_ros.ros.node.result import (
    InferenceResult,
    Result,
    TrackedResult,
    locate_inference,
    locate_tracked,
)
from mllmseg_ros.ros.node.result_messages import array_message, event_message
from mllmseg_ros.ros.support.clock import RosClock
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.segmentation import Status

__all__ = ["ResultPublisher"]


class ResultPublisher:
    """Publishes for one camera. All methods may be called from any thread."""

    def __init__(
        self,
        camera: Camera,
        command: CurrentCommand,
        *,
        parameters: LiveParameters[SegmenterParameters],
        clock: RosClock,
        log: FaultLog,
    ) -> None:
        """Set up.

        Args:
            camera: has the publishers.
            command: grants the right to publish a result.
            parameters: of the node.
            clock: of the node.
            log: takes why a result has no position.
        """
        self._camera, self._command = camera, command
        self._image_topic = camera.resolve("image")
        self._compressed_topic = camera.compressed_image_topic
        self._parameters, self._clock, self._log = parameters, clock, log
        self._boxes = BoxHistory()
        self._lock = threading.Lock()  # a mask never comes after the stop that ended it

    def publish_inference(self, inference: InferenceResult) -> bool:
        """Publish a result on the image inferred on; False if its command is no longer in force."""
        with self._camera.metrics.publish.timing():
            return self._publish(self._locate(inference), inference.image)

    def publish_tracked(self, tracked: TrackedResult) -> bool:
        """Publish a result on a newer image; False if its command is no longer in force.

        Called by one thread at a time, which holds the lock of the tracker.
        """
        with self._camera.metrics.publish.timing():
            result = locate_tracked(tracked)
            instance_set = self._boxes.steady(result.instance_set)
            return self._publish(replace(result, instance_set=instance_set), tracked.image)

    def deliver(self, private_request: PrivateRequest, inference: InferenceResult) -> None:
        """Hand a result to the caller alone."""
        with self._camera.metrics.publish.timing():
            result = self._locate(inference)
            message = array_message(result, self._topic_of(inference.image))
            private_request.queue.put(
                Delivery(message=message, inference=None if result.error else inference)
            )
            self._record(result, inference.image)

    def deliver_event(self, private_request: PrivateRequest, event: RequestEvent) -> None:
        """Notify only the caller why there is no result."""
        private_request.queue.put(Delivery(message=event_message(event)))

    def submit(self, request: Request) -> None:
        """Put a command in force, or end the one in force, and publish what that ends."""
        with self._lock:
            self._publish_events(self._command.submit(request))
            if request.is_stop:
                self._publish_nothing_selected()

    def stop(self, reason: str) -> None:
        """End the command in force, and publish that nothing is selected any more."""
        with self._lock:
            was_in_force = self._command.request is not None
            self._publish_events(self._command.stop(reason))
            if was_in_force:
                self._publish_nothing_selected()

    def check_stale(self, limit_ns: int, period_ns: int, reason: str) -> None:
        """Publish STALE_INPUT where the command in force waits for an image."""
        with self._lock:
            now_ns = self._clock.now_ns()
            self._publish_events(self._command.check_stale(now_ns, limit_ns, period_ns, reason))

    def _locate(self, inference: InferenceResult) -> Result:
        return locate_inference(inference, self._parameters.now.splitting)

    def _publish(self, result: Result, image: CameraImage) -> bool:
        messages = self._camera.outputs.prepare(result, self._topic_of(image))
        with self._lock:
            if not self._command.claim(result.request, self._clock.now_ns()):
                return False
            for publisher, message in messages:
                publisher.publish(message)
            if self._parameters.now.mode == "on_demand":
                self._command.drop(result.request)
        self._record(result, image)
        return True

    def _record(self, result: Result, image: CameraImage) -> None:
        """Count a result that has gone out, and log what it lacks."""
        if result.instance_set.note:
            self._log.report(result.instance_set.note)
        absent = {
            each.expression_index: each.segmentation.status is Status.NO_TARGET
            for each in result.instances
        }
        age_ns = self._clock.now_ns() - image.stamp_ns
        self._camera.metrics.published(age_ns, list(absent.values()))

    def _topic_of(self, image: CameraImage) -> str:
        return self._compressed_topic if image.is_compressed else self._image_topic

    def _publish_events(self, events: Sequence[RequestEvent]) -> None:
        for event in events:
            self._camera.outputs.publish_event(event)

    def _publish_nothing_selected(self) -> None:
        self._camera.outputs.publish_nothing_selected(self._newest_image())

    def _newest_image(self) -> tuple[Header, NDArray[np.uint8]] | None:
        """Header and pixels (H, W, 3) RGB of the newest image, if it can be read."""
        newest = self._camera.slot.peek()
        if newest is None:
            return None
        try:
            rgb = newest.item.frame().rgb
        except Exception:  # the inference thread reports malformed images
            return None
        return newest.item.header, rgb
