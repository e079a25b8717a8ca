# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: its topics, its newest image, what is asked of it, and its answers.

Everything that comes from a camera goes out under the same prefix.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth, Located, OtherFrame
from mllmseg_ros.ros.messages.image_msgs import nanoseconds, rgb_from_compressed
from mllmseg_ros.ros.messages.point_cloud import CloudBuilder
from mllmseg_ros.ros.node.camera_image import Shot, locate, locate_tracks
from mllmseg_ros.ros.node.depth_pairing import DepthPairing
from mllmseg_ros.ros.node.diagnostics import CameraReading, Thresholds, camera_status
from mllmseg_ros.ros.node.frame_slot import Arrival, FrameSlot
from mllmseg_ros.ros.node.inference import Limits, Result, age_text, is_stale
from mllmseg_ros.ros.node.inputs import CameraInputs, CommandInput
from mllmseg_ros.ros.node.metrics import CameraMeter
from mllmseg_ros.ros.node.outputs import CameraOutputs
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.request import Ending, Errand, Notice, Request, RequestDesk
from mllmseg_ros.ros.node.result_messages import Answer, array_message, notice_message
from mllmseg_ros.ros.node.tracking_thread import Followed, Following
from mllmseg_ros.ros.support.qos import QosWatch
from mllmseg_ros.ros.support.tf import TransformLookup, matrix_at
from mllmseg_ros.segmentation import Status

__all__ = ["CameraStream"]

_MOST_IN_VAIN = 3  # looks in a row, of a picture that jumps all the time


class CameraStream:
    """A source of the inference thread (:class:`mllmseg_ros.ros.node.inference.Source`)."""

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        *,
        settings: Callable[[], SegmenterParameters],
        rgb_from_image: Callable[[Image], NDArray[np.uint8]],
        cloud_from_points: CloudBuilder,
        transforms: TransformLookup,
        report: Callable[[str], None],
    ) -> None:
        """Create the publishers.

        Args:
            node: owner of the topics.
            name: of the camera, "" where its topics have no prefix.
            settings: returns the parameters that hold now.
            rgb_from_image: one of :mod:`mllmseg_ros.ros.messages.cv_bridge_conversion`.
            cloud_from_points: one of :mod:`mllmseg_ros.ros.messages.point_cloud`.
            transforms: the node's TF.
            report: takes one line about something that could not be used.
        """
        self.name = name
        self.desk = RequestDesk()
        self.slot: FrameSlot[Shot] = FrameSlot()
        self._node, self._settings, self._report = node, settings, report
        self._prefix = f"{name}/" if name else ""
        self._rgb_from_image = rgb_from_image
        self._meter, self._qos = CameraMeter(), QosWatch(node)
        self._outputs = CameraOutputs(node, self._prefix, cloud_from_points, self._qos)
        self._transforms = transforms
        self._depth = DepthPairing(report, transforms)
        self._publishing = threading.Lock()  # a mask never comes after the stop that ended it
        self._inputs: CameraInputs | None = None
        self._command: CommandInput | None = None
        self._model = ""
        self._score_limit: Callable[[], float] = lambda: 0.5
        self._following: Following | None = None
        self._wake: Callable[[], None] = lambda: None

    # Lifecycle

    def listen(
        self,
        model: str,
        score_limit: Callable[[], float],
        wake: Callable[[], None],
        on_command: Callable[[str], None],
    ) -> list[str]:
        """Subscribe.

        Args:
            model: name of the model that answers first.
            score_limit: returns the score from which on it says that a target is there.
            wake: called when there is something to look at.
            on_command: called with each command to this camera alone.

        Returns:
            Fully qualified names of the topics listened to.
        """
        self._model, self._score_limit, self._wake = model, score_limit, wake
        self._following = Following(
            self.desk,
            self.slot,
            period_s=lambda: self.limits().period_s,
            is_stale=self._is_stale,
            publish=self._publish_followed,
            wake_inference=wake,
            report=self._report,
        )
        self._following.start()
        self._inputs = CameraInputs(
            self._node,
            self._prefix,
            image_transport=self._settings().image_transport,
            on_image=self._on_image,
            depth=self._depth,
            qos=self._qos,
        )
        topics = self._inputs.topics
        if self._prefix:
            self._command = CommandInput(
                self._node, f"{self._prefix}command", on_command, self._qos
            )
            topics.append(self._command.topic)
        return topics

    def silence(self, reason: str) -> None:
        """Unsubscribe and end what is asked."""
        for listener in (self._inputs, self._command):
            if listener is not None:
                listener.destroy()
        self._inputs = self._command = None
        if self._following is not None:
            self._following.stop()
        self._following = None
        in_force = self.desk.current is not None
        with self._publishing:
            self._send(self.desk.stop(reason))
            if in_force:
                self._send_empty_mask()
        self.end_errands(reason)
        self._wake = lambda: None

    def end_errands(self, reason: str) -> None:
        """Tell every asker that there will be no further answer."""
        for errand in self.desk.errands:
            if self.desk.remove(errand):
                notice = Notice(request=errand.request, ending=Ending.STOPPED, text=reason)
                errand.deliver(notice_message(notice))

    def forget(self) -> None:
        """Forget images and depths."""
        self.slot.clear()
        self._depth.clear()

    def restart_clock(self, now_ns: int) -> None:
        """Forget what came before ROS time jumped."""
        self.forget()
        if self._following is not None:
            self._following.forget()
        self.desk.restart_clock(now_ns)

    # In

    def shot(self, message: Image | CompressedImage) -> Shot:
        """Wrap an image of this camera together with the depth that belongs to it."""
        tolerance_ns = int(self._settings().depth_tolerance * 1e9)
        expected = self._depth.expect(nanoseconds(message.header.stamp), tolerance_ns)

        def depth_of(frame: Frame) -> Depth | None:
            settings = self._settings()
            return self._depth.depth_of(
                frame,
                expected,
                rectified=settings.rectified,
                timeout_s=settings.transform_timeout,
            )

        return Shot(message, self._to_frame, depth_of, self._other_frame_of)

    def submit(self, request: Request) -> None:
        """Put a command in force, or end the one in force."""
        self._meter.asked()
        with self._publishing:
            self._send(self.desk.submit(request))
            if request.is_stop:
                self._send_empty_mask()
        if request.command is not None and self._following is not None:
            self._following.release()

    def look_again(self) -> None:
        """Have the command in force answered anew, because parameters have changed."""
        if self._following is not None:
            self._following.look_again()

    def check_stale(self, now_ns: int, reason: str) -> None:
        """Tell who waits for an image that none has come."""
        limits = self.limits()
        if not limits.max_age_ns:
            return
        newest = self.slot.peek()
        if newest is not None:
            age = age_text(now_ns - newest.item.stamp_ns)
            reason = f"the newest image is {age}, max_age is {self._settings().max_age}"
        reason = reason or "no image has come"
        period_ns = int(limits.period_s * 1e9)
        with self._publishing:
            self._send(self.desk.check_stale(now_ns, limits.max_age_ns, period_ns, reason))
        for errand in self.desk.overdue_errands(now_ns, limits.max_age_ns):
            notice = Notice(request=errand.request, ending=Ending.STALE_INPUT, text=reason)
            if not errand.deliver(notice_message(notice)):
                self.desk.remove(errand)

    def _on_image(self, message: Image | CompressedImage) -> None:
        shot = self.shot(message)
        self._meter.arrived(self._now_ns() - shot.stamp_ns)
        self.slot.put(shot)
        following = self._follows()
        if following is not None:
            following.wake()
        self._wake()

    def _other_frame_of(self, frame: Frame) -> OtherFrame | None:
        settings = self._settings()
        target = settings.target_frame
        if target in ("", frame.frame_id):
            return None
        matrix = matrix_at(
            self._transforms, target, frame.frame_id, frame.stamp_ns, settings.transform_timeout
        )
        return OtherFrame(frame_id=target, from_camera=matrix)

    def _to_frame(self, message: Image | CompressedImage) -> Frame:
        compressed = isinstance(message, CompressedImage)
        with self._meter.convert.timing():
            rgb = rgb_from_compressed(message) if compressed else self._rgb_from_image(message)
        header = message.header
        return Frame(rgb=rgb, stamp_ns=nanoseconds(header.stamp), frame_id=header.frame_id)

    # A source of the inference thread

    def stamp_ns(self, image: Shot) -> int:
        """Stamp of an image, ns."""
        return image.stamp_ns

    def frame(self, image: Shot) -> Frame:
        """Convert an image; raises ValueError for a malformed one."""
        return image.frame()

    def limits(self) -> Limits:
        """What holds now."""
        rate = self._settings().max_rate
        return Limits(
            max_age_ns=int(self._settings().max_age * 1e9), period_s=1 / rate if rate else 0.0
        )

    def wants(self, request: Request) -> bool:
        """Whether a further look for the command in force would tell more than following does."""
        following = self._follows()
        if following is None:
            return True
        return following.wants_look(self._now_ns(), self._settings().key_frame_age)

    def begin(self, arrival: Arrival[Shot]) -> Arrival[Shot]:
        """Choose the image to look at for the command in force, this one or a newer one."""
        following = self._follows()
        return arrival if following is None else following.begin(arrival)

    def publish(self, result: Result[Shot]) -> bool:
        """Publish the answer to a command; False if that is no longer in force."""
        self._model = result.model or self._model
        following = self._follows()
        if following is not None and not result.error:
            if following.finish(
                result.request, result.image, result.segmentations, result.began_ns
            ):
                return True
            # What cannot be carried to the newest image goes out on its own only where the command
            # has no answer yet, or would get none.
            waits = self.desk.needs_first_answer(result.request)
            if not waits and following.looks_in_vain < _MOST_IN_VAIN:
                return False
        with self._meter.publish.timing():
            return self._send_answer(self._answer(result), result.image)

    def deliver(self, errand: Errand, outcome: Result[Shot] | Notice) -> bool:
        """Hand an answer to who asked; returns whether the next image is wanted too."""
        if isinstance(outcome, Notice):
            return errand.deliver(notice_message(outcome))
        with self._meter.publish.timing():
            answer = self._answer(outcome)
            model = outcome.model or self._model
            message = array_message(answer, self._topic_of(outcome.image), model)
            if errand.asks_why and not answer.error:
                wants_more = errand.deliver(message, (outcome.image, outcome.encoded))
            else:
                wants_more = errand.deliver(message)
            self._note(answer, outcome.image)
        return wants_more

    # Out

    def _publish_followed(self, followed: Followed) -> bool:
        with self._meter.publish.timing():
            return self._send_answer(self._answer_of(followed), followed.shot)

    def _answer_of(self, followed: Followed) -> Answer:
        located = locate_tracks(followed.shot, followed.tracks)
        return self._built(followed.request, followed.shot, located, followed.latency_ns)

    def _send_answer(self, answer: Answer, shot: Shot) -> bool:
        messages = self._outputs.prepare(answer, self._topic_of(shot), self._model)
        with self._publishing:
            if not self.desk.claim(answer.request, self._now_ns()):
                return False
            for publisher, message in messages:
                publisher.publish(message)
            if self._settings().mode == "on_demand":
                self.desk.drop(answer.request)
        self._note(answer, shot)
        return True

    def _note(self, answer: Answer, shot: Shot) -> None:
        """Count an answer that has gone out."""
        absent = {
            each.expression_index: each.segmentation.status is Status.NO_TARGET
            for each in answer.instances
        }
        self._meter.answered(self._now_ns() - shot.stamp_ns, list(absent.values()))

    def status(self, node_name: str, problem: str, limits: Thresholds) -> DiagnosticStatus:
        """What the diagnostics say of this camera now.

        Args:
            node_name: as it stands before the colon.
            problem: why the newest image was not used, "" if it was.
            limits: from where on something is wrong.
        """
        reading = CameraReading(
            is_active=self._inputs is not None,
            meter=self._meter,
            received=self.slot.received,
            dropped=self.slot.dropped,
            has_request=self.desk.current is not None,
            period_s=self.limits().period_s,
            problem=problem,
            mismatches=self._qos.check(),
        )
        name = f"{node_name}: camera {self.name}".rstrip()
        return camera_status(name, self._resolved("image"), reading, limits)

    def _answer(self, result: Result[Shot]) -> Answer:
        located, error = Located(instances=()), result.error
        if not error:
            try:
                located = locate(result.image, result.segmentations)
            except Exception as caught:  # a step that is not ours may raise anything
                error = " ".join(f"{type(caught).__name__}: {caught}".split())
                self._report(f"position failed: {error}")
        latency_ns = time.monotonic_ns() - result.began_ns
        return self._built(result.request, result.image, located, latency_ns, error)

    def _built(
        self, request: Request, shot: Shot, located: Located, latency_ns: int, error: str = ""
    ) -> Answer:
        if located.note:
            self._report(located.note)
        return Answer(
            request=request,
            header=shot.header,
            rgb=shot.frame().rgb,
            located=located,
            latency_ns=latency_ns,
            score_limit=self._score_limit(),
            error=error,
        )

    def _topic_of(self, image: Shot) -> str:
        transport = "image/compressed" if image.is_compressed else "image"
        return self._resolved(transport)

    def _resolved(self, topic: str) -> str:
        return str(self._node.resolve_topic_name(self._prefix + topic))

    def _follows(self) -> Following | None:
        """Who follows, while somebody is to."""
        return self._following if self._settings().tracking else None

    def _is_stale(self, shot: Shot) -> bool:
        return is_stale(self._now_ns() - shot.stamp_ns, self.limits().max_age_ns)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _send(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            self._outputs.publish_notice(notice)

    def _send_empty_mask(self) -> None:
        newest, behind = self.slot.peek(), None
        if newest is not None:
            try:
                rgb = newest.item.frame().rgb
                behind = newest.item.header, (rgb.shape[0], rgb.shape[1])
            except Exception:  # noqa: S110 - the inference thread reports malformed images
                pass
        self._outputs.publish_nothing_selected(behind)
