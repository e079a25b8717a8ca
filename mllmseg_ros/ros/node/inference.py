# SPDX-License-Identifier: Apache-2.0
"""The inference thread: newest images and requests in, results out.

One model serves all cameras. The thread sleeps until there is something to do, gives the cameras
fair turns, encodes an image once for all requests, and takes the newest image, or the one that a
request brings.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.node.camera_image import CameraImage
from mllmseg_ros.ros.node.current_command import CurrentCommand
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.frame_slot import Arrival, FrameSlot
from mllmseg_ros.ros.node.inference_backend import EncodedImage, InferenceBackend
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.private_requests import PrivateRequest, PrivateRequests
from mllmseg_ros.ros.node.request import EndReason, Request, RequestEvent
from mllmseg_ros.ros.node.result import InferenceResult
from mllmseg_ros.ros.node.result_publisher import ResultPublisher
from mllmseg_ros.ros.node.tracking_thread import Outcome, TrackingThread
from mllmseg_ros.ros.support import systemd
from mllmseg_ros.ros.support.clock import RosClock, format_age
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.ros.support.worker_thread import WorkerThread
from mllmseg_ros.segmentation import Segmentation

__all__ = ["InferenceThread", "RequestedCamera"]

_MAX_PAUSE_S = 1.0  # between two keep-alive messages to systemd's watchdog
_RETRY_S = 0.1  # after an unexpected exception in a step, or an image without its depth


class RequestedCamera(Protocol):
    """What the thread needs of :class:`~mllmseg_ros.ros.node.active_camera.ActiveCamera`."""

    slot: FrameSlot[CameraImage]
    command: CurrentCommand
    private_requests: PrivateRequests
    tracking: TrackingThread
    publisher: ResultPublisher
    problem: str  # set here: why the newest image was not used, "" if it was


class _Turn:
    """State of one camera in the inference thread."""

    def __init__(self, camera: RequestedCamera) -> None:
        self.camera = camera
        self.finished: tuple[int, str] = (0, "")  # number of the image, id of the request
        self.next_due_s = 0.0  # monotonic time of the next inference for the same command


class InferenceThread:
    """Answers the requests of each camera on its newest image, until it is stopped."""

    def __init__(
        self,
        cameras: Sequence[RequestedCamera],
        backend: InferenceBackend,
        *,
        parameters: LiveParameters[SegmenterParameters],
        clock: RosClock,
        wakeup: threading.Event,
        log: FaultLog,
    ) -> None:
        """Set up.

        Args:
            cameras: to serve.
            backend: the model.
            parameters: of the node.
            clock: of the node.
            wakeup: set when there is a new image, request or parameter.
            log: takes images that could not be used, and what failed.
        """
        self._turns = [_Turn(camera) for camera in cameras]  # in the order of service
        self._backend, self._parameters, self._clock = backend, parameters, clock
        self._wakeup, self._log = wakeup, log
        self._lock = threading.Lock()
        self._is_working = False
        self._stopping = False
        self._epoch = 0  # counts jumps of time; what was begun before one is discarded
        self._encoding_is_invalid = False
        self._encoded: tuple[CameraImage, EncodedImage] | None = None  # the newest
        self._n_results = 0
        self._thread = WorkerThread("inference", self._run, log.report_crash)

    @property
    def is_busy(self) -> bool:
        """Whether the thread works, or is about to."""
        return self._is_working or self._wakeup.is_set()

    @property
    def n_results(self) -> int:
        """Number of inferences that became a result."""
        return self._n_results

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def reset(self) -> None:
        """Discard encodings and unfinished work, because time has jumped."""
        with self._lock:
            self._epoch += 1
            self._encoded = None
        self._wakeup.set()

    def invalidate_encoding(self) -> None:
        """Discard encodings before the next inference, because another model encodes now."""
        self._encoding_is_invalid = True
        self._wakeup.set()

    def stop(self) -> None:
        """End the thread after the step it is in."""
        self._stopping = True
        self._wakeup.set()
        self._thread.join()
        self.reset()

    def _run(self) -> None:
        pause_s = 0.0  # the thread may have been interrupted before it served
        while not self._stopping:
            self._is_working = pause_s == 0.0  # never idle between two pieces of work
            self._wakeup.wait(pause_s)
            self._is_working = True
            self._wakeup.clear()
            systemd.notify("WATCHDOG=1")
            if self._stopping:
                return
            if self._encoding_is_invalid:
                self._encoding_is_invalid = False
                self._encoded = None
                self._backend.free_replaced()
            pause_s = self._serve_next()

    def _serve_next(self) -> float:
        """Serve the first camera with work; returns how long to sleep unless woken.

        The camera that was served goes to the end of the queue.
        """
        pauses = [_MAX_PAUSE_S]
        for turn in tuple(self._turns):
            try:
                pause_s = self._serve(turn)
            except BaseException as caught:  # the other cameras have their turn nevertheless
                pause_s = _RETRY_S
                turn.camera.problem = f"the last result failed: {one_line(caught)}"
                self._log.report_crash("a result", caught)
            if pause_s == 0.0:
                self._turns.remove(turn)
                self._turns.append(turn)
                return 0.0
            if pause_s is not None:
                pauses.append(pause_s)
        return min(pauses)

    def _serve(self, turn: _Turn) -> float | None:
        """Infer on one image if there is reason to; 0 if so, else how long there will be none."""
        camera = turn.camera
        for private_request in camera.private_requests.pending:
            if private_request.image is not None:
                self._infer(turn, Arrival(0, private_request.image), None, (private_request,))
                return 0.0
        arrival = camera.slot.peek()
        if arrival is None:
            return None
        age_ns = self._age_ns(arrival)
        if self._parameters.now.is_stale(age_ns):
            camera.problem = f"the newest image is {format_age(age_ns)}"
            return None
        private_requests = _due_private_requests(camera, arrival)
        request, pause_s = self._due_command(turn, arrival)
        if request is None and not private_requests:
            return pause_s
        if arrival.item.gives_way():
            return _RETRY_S
        if request is not None:
            turn.next_due_s = time.monotonic() + self._parameters.now.period_s
            arrival = _begin_inference(camera, arrival)
        self._infer(turn, arrival, request, private_requests)
        return 0.0

    def _due_command(
        self, turn: _Turn, arrival: Arrival[CameraImage]
    ) -> tuple[Request | None, float | None]:
        """The command in force if it needs inference now, else in how many seconds it may."""
        camera = turn.camera
        request = camera.command.request
        if request is None or turn.finished == (arrival.number, request.request_id):
            return None, None
        if camera.command.awaits_first_result(request):
            return request, None
        early_s = turn.next_due_s - time.monotonic()
        if early_s > 0:
            return None, early_s
        return (request, None) if camera.tracking.needs_inference() else (None, None)

    def _infer(
        self,
        turn: _Turn,
        arrival: Arrival[CameraImage],
        command: Request | None,
        private_requests: Sequence[PrivateRequest],
    ) -> None:
        """Infer on one image for the command in force and for private requests."""
        camera = turn.camera
        began_ns, epoch = time.monotonic_ns(), self._epoch
        camera.slot.mark_read(arrival.number)
        try:
            arrival.item.frame()  # kept by the image
        except Exception as caught:  # a library's conversion may raise anything
            reason = str(caught) if isinstance(caught, ValueError) else one_line(caught)
            self._refuse(camera, arrival, private_requests, reason)
            return
        camera.problem = ""
        first = self._read_first(arrival.item, command)  # takes longest; others are read after it
        if command is not None:
            # A command that came during the encoding is answered on this image, unless that is too
            # old by now.
            request = camera.command.request
            is_stale = self._parameters.now.is_stale(self._age_ns(arrival))
            if request is not None and (request is command or not is_stale):
                answered = first if request is command else None
                result = self._segment(request, arrival.item, began_ns, answered)
                if epoch != self._epoch:
                    return
                turn.finished = (arrival.number, request.request_id)
                self._n_results += _publish(camera, result)
                if result.is_permanent:
                    camera.command.drop(request)
        for each in private_requests:
            if each not in camera.private_requests.pending:
                continue
            failed = first if command is None else None  # a command's may be due to its words
            result = self._segment(each.request, arrival.item, began_ns, failed)
            if epoch != self._epoch:
                return
            each.last_number = arrival.number
            each.outage.end(self._clock.now_ns())
            self._n_results += 1
            try:
                camera.publisher.deliver(each, result)
            except Exception as caught:  # the caller waits for an answer
                self._log.report_crash("a result", caught)
                _end_refused(camera, each, one_line(caught))
            if not each.repeats or result.is_permanent:
                camera.private_requests.remove(each)

    def _read_first(
        self, image: CameraImage, command: Request | None
    ) -> Sequence[Segmentation] | Exception | None:
        """Encode an image, and answer the command in the same pass of the language model.

        Returns:
            The command's answer, None where it was not asked, or why the pass failed.
        """
        try:
            if command is None or self._has_encoded(image):
                self._encode(image)
                return None
            self._encoded = None  # frees its memory before the next one needs it
            encoded, segmentations = self._backend.encode_and_segment(
                image.frame(), command.accepted.expressions
            )
            self._encoded = (image, encoded)
            return segmentations
        except Exception as caught:
            return caught

    def _segment(
        self,
        request: Request,
        image: CameraImage,
        began_ns: int,
        answer: Sequence[Segmentation] | Exception | None = None,
    ) -> InferenceResult:
        """Ask the model if need be; the one place where a failure becomes a result."""
        segmentations: Sequence[Segmentation] = ()
        model, encoded = self._backend.model, None
        failure: Exception | None = None
        try:
            if isinstance(answer, Exception):
                raise answer
            encoded = self._encode(image)
            model = encoded.model
            segmentations = (
                self._backend.segment(encoded, request.accepted.expressions)
                if answer is None
                else answer
            )
        except Exception as caught:
            failure = caught
        is_permanent = isinstance(failure, ValueError)
        if failure is not None:
            self._log.report(f"inference failed: {one_line(failure)}")
        return InferenceResult(
            request=request,
            image=image,
            segmentations=segmentations,
            began_ns=began_ns,
            model=model.name,
            score_threshold=model.score_threshold,
            encoded=encoded,
            error=one_line(failure) if failure else "",
            is_permanent=is_permanent,
        )

    def _refuse(
        self,
        camera: RequestedCamera,
        arrival: Arrival[CameraImage],
        private_requests: Sequence[PrivateRequest],
        reason: str,
    ) -> None:
        """Leave a malformed image out; a caller that sent it with a request gets an event."""
        camera.problem = f"the newest image is malformed: {reason}"
        self._log.report(f"image ignored: {reason}")
        camera.slot.discard(arrival.number)
        for each in private_requests:
            if each.image is not None:
                _end_refused(camera, each, reason)

    def _age_ns(self, arrival: Arrival[CameraImage]) -> int:
        return self._clock.now_ns() - arrival.item.stamp_ns

    def _encode(self, image: CameraImage) -> EncodedImage:
        """The encoding of an image, computed once."""
        encoded = self._encoded
        if encoded is None or encoded[0] is not image:
            self._encoded = encoded = None  # frees its memory before the next one needs it
            encoded = (image, self._backend.encode(image.frame()))
            self._encoded = encoded
        return encoded[1]

    def _has_encoded(self, image: CameraImage) -> bool:
        return self._encoded is not None and self._encoded[0] is image


def _begin_inference(
    camera: RequestedCamera, arrival: Arrival[CameraImage]
) -> Arrival[CameraImage]:
    try:
        return camera.tracking.begin_inference(arrival)
    except ValueError:
        return arrival  # malformed, as reading it will report


def _end_refused(camera: RequestedCamera, private_request: PrivateRequest, reason: str) -> None:
    """Notify a caller why there will be no result."""
    event = RequestEvent(request=private_request.request, reason=EndReason.REFUSED, text=reason)
    camera.publisher.deliver_event(private_request, event)
    camera.private_requests.remove(private_request)


def _due_private_requests(
    camera: RequestedCamera, arrival: Arrival[CameraImage]
) -> tuple[PrivateRequest, ...]:
    """Private requests for this image that had no result on it."""
    return tuple(
        each
        for each in camera.private_requests.pending
        if arrival.item.stamp_ns >= each.after_ns and each.last_number != arrival.number
    )


def _publish(camera: RequestedCamera, result: InferenceResult) -> bool:
    """Publish on the newest image where the result can be tracked there, else on its own."""
    outcome = camera.tracking.finish_inference(result)
    if outcome is Outcome.UNTRACKED:
        return camera.publisher.publish_inference(camera.tracking.decide(result))
    return outcome is Outcome.PUBLISHED
