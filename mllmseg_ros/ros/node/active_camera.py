# SPDX-License-Identifier: Apache-2.0
"""One camera while the node is active: created complete on activate, dropped on deactivate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image

from mllmseg_ros.codecs.depth_pairing import DepthPairing
from mllmseg_ros.geometry.transforms import TransformError
from mllmseg_ros.ros.node.camera import Camera
from mllmseg_ros.ros.node.camera_image import CameraImageReader
from mllmseg_ros.ros.node.current_command import CurrentCommand
from mllmseg_ros.ros.node.diagnostics import Thresholds
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.inputs import CameraInputs
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.private_requests import PrivateRequests
from mllmseg_ros.ros.node.request import EndReason, Request, RequestEvent
from mllmseg_ros.ros.node.result_publisher import ResultPublisher
from mllmseg_ros.ros.node.tracking_thread import TrackingThread
from mllmseg_ros.ros.support.clock import RosClock, format_age
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.ros.support.tf import TransformLookup

__all__ = ["ActiveCamera"]


class ActiveCamera:
    """Subscribes to a camera, holds its requests, and tracks and publishes their results.

    Attributes:
        name: of the camera.
        slot: its newest image.
        command: the command in force.
        private_requests: of services and actions.
        reader: wraps its image messages, also those that come with a request.
        publisher: takes results.
        tracking: the thread that tracks results into newer images.
        problem: why the newest image was not used, "" if it was; set by the inference thread.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera: Camera,
        *,
        rgb_from_image: Callable[[Image], NDArray[np.uint8]],
        transforms: TransformLookup,
        parameters: LiveParameters[SegmenterParameters],
        clock: RosClock,
        inference_wakeup: threading.Event,
        log: FaultLog,
    ) -> None:
        """Subscribe, and begin to track.

        Args:
            node: owner of the subscriptions.
            camera: its publishers and metrics.
            rgb_from_image: one of :mod:`mllmseg_ros.ros.messages.cv_bridge_conversion`.
            transforms: the node's TF.
            parameters: of the node.
            clock: of the node.
            inference_wakeup: set when there is something to do for the inference thread.
            log: takes what could not be used.
        """
        self.name, self.slot = camera.name, camera.slot
        self.command, self.private_requests = CurrentCommand(), PrivateRequests()
        self.problem = ""
        self._camera, self._parameters, self._clock = camera, parameters, clock
        self._inference_wakeup = inference_wakeup
        self._depth_pairing = DepthPairing()
        self._frames: tuple[str, ...] = ()  # of the newest images, the last two that differ
        self._transforms, self._log = transforms, log
        self.reader = CameraImageReader(
            rgb_from_image=rgb_from_image,
            depth_pairing=self._depth_pairing,
            transforms=transforms,
            parameters=parameters,
            metrics=camera.metrics,
            image_topic=camera.resolve("image"),
            depth_topic=camera.resolve("depth/image"),
        )
        self.publisher = ResultPublisher(
            camera, self.command, parameters=parameters, clock=clock, log=log
        )
        self.tracking = TrackingThread(
            self.slot,
            self.command,
            self.publisher,
            parameters=parameters,
            clock=clock,
            inference_wakeup=inference_wakeup,
            log=log,
        )
        self._inputs = CameraInputs(
            node,
            camera.prefix,
            image_transport=parameters.now.image_transport,
            on_image=self._on_image,
            on_depth=self._on_depth,
            depth_pairing=self._depth_pairing,
            qos=camera.qos,
        )
        self.tracking.start()

    @property
    def topics(self) -> list[str]:
        """Fully qualified names of the topics subscribed to."""
        return self._inputs.topics

    def close(self, reason: str) -> None:
        """Unsubscribe and end all requests; the inference thread may still be at work.

        Args:
            reason: one line for the callers.
        """
        self._inputs.destroy()
        self.tracking.stop()
        self.publisher.stop(reason)
        self.end_private_requests(reason)

    def forget_images(self) -> None:
        """Drop every image. Only after :meth:`close`, when the inference thread has ended.

        This object is in reference cycles, which Python may not collect for an hour: it counts
        objects, not the megabytes of their images.
        """
        self.slot.clear()
        self._depth_pairing.clear()
        self.tracking.forget_images()

    def end_private_requests(self, reason: str) -> None:
        """Notify every caller that there will be no further result."""
        for each in self.private_requests.pending:
            if self.private_requests.remove(each):
                event = RequestEvent(request=each.request, reason=EndReason.STOPPED, text=reason)
                self.publisher.deliver_event(each, event)

    def end_expired_requests(self) -> None:
        """End the private requests whose time is over."""
        for each in self.private_requests.find_expired(time.monotonic()):
            if self.private_requests.remove(each):
                limit_s = self._parameters.now.request_timeout
                text = f"no result in time, request_timeout is {limit_s} s: {self._silence()}"
                event = RequestEvent(request=each.request, reason=EndReason.STALE_INPUT, text=text)
                self.publisher.deliver_event(each, event)

    def restart_clock(self) -> None:
        """Forget what came before ROS time jumped."""
        self.slot.clear()
        self._depth_pairing.clear()
        self.tracking.reset()
        now_ns = self._clock.now_ns()
        self.command.restart_clock(now_ns)
        self.private_requests.restart_clock(now_ns)

    def submit(self, request: Request) -> None:
        """Put a command in force, or end the one in force."""
        self._camera.metrics.requested()
        self.publisher.submit(request)
        if request.command is not None:
            self.tracking.clear()

    def check_stale(self) -> None:
        """Publish that no image has arrived, where a request waits for one."""
        parameters = self._parameters.now
        if not parameters.max_age_ns:
            return
        now_ns, newest = self._clock.now_ns(), self.slot.peek()
        if newest is None:
            reason = self._silence()
        elif parameters.is_stale(age_ns := now_ns - newest.item.stamp_ns):
            reason = f"the newest image is {format_age(age_ns)}, max_age is {parameters.max_age}"
        else:
            reason = self.problem or "images arrive, but none has a result yet"
        self.publisher.check_stale(parameters.max_age_ns, int(parameters.period_s * 1e9), reason)
        for each in self.private_requests.find_stale(now_ns, parameters.max_age_ns):
            event = RequestEvent(request=each.request, reason=EndReason.STALE_INPUT, text=reason)
            self.publisher.deliver_event(each, event)
            if not each.repeats:
                self.private_requests.remove(each)

    def _silence(self) -> str:
        """Why there is no usable image."""
        return self.problem or next(iter(self._inputs.wrong_image_types), "no image has arrived")

    def status(self, node_name: str, limits: Thresholds) -> DiagnosticStatus:
        """Status for ``/diagnostics``."""
        return self._camera.status(
            node_name,
            is_active=True,
            has_request=self.command.request is not None,
            period_s=self._parameters.now.period_s,
            problem=self.problem,
            wrong_types=self._inputs.wrong_types,
            limits=limits,
        )

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._check_frame(message.header.frame_id)
        image = self.reader.wrap(message)
        self._camera.metrics.arrived(self._clock.now_ns() - image.stamp_ns)
        self.slot.put(image)
        self.tracking.wake()
        self._inference_wakeup.set()

    def _check_frame(self, frame_id: str) -> None:
        """Report images of several cameras on one topic, which come in turn."""
        if frame_id in self._frames[:1]:
            return
        if frame_id in self._frames:
            shown = " and ".join(ascii(each[:64]) for each in sorted((*self._frames[:1], frame_id)))
            topic = self._camera.resolve("image")
            self._log.report(f"images of frames {shown} arrive alternately on one topic, {topic}")
        self._frames = (frame_id, *self._frames[:1])

    def _on_depth(self, message: Image | CompressedImage) -> None:
        if self._depth_pairing.put_depth(message):
            try:
                self._transforms.listen()
            except TransformError as error:
                self._log.report(f"depth image in another frame: {error}")
