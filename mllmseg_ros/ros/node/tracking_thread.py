# SPDX-License-Identifier: Apache-2.0
"""The thread that keeps the last result on the newest image, at the camera's rate.

Between two inferences it tracks the masks by optical flow; a result that is late is carried to the
newest image before it goes out. The inference thread asks it which images need inference.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum

from mllmseg_ros.error_text import one_line
from mllmseg_ros.geometry.instances import Depth
from mllmseg_ros.ros.node.camera_image import CameraImage
from mllmseg_ros.ros.node.current_command import CurrentCommand
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.frame_slot import Arrival, FrameSlot
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.request import Request
from mllmseg_ros.ros.node.result import InferenceResult, TrackedResult
from mllmseg_ros.ros.node.result_publisher import ResultPublisher
from mllmseg_ros.ros.support.clock import RosClock
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.ros.support.worker_thread import WorkerThread
from mllmseg_ros.tracking.decisions import DecisionRule, Decisions
from mllmseg_ros.tracking.tracker import Tracker

__all__ = ["Outcome", "TrackingThread"]

_MAX_DISCARDED = 3  # results in a row, of images that jump all the time


class Outcome(Enum):
    """Outcome of handing an inference result to the tracker."""

    PUBLISHED = "PUBLISHED"  # on the newest image
    DISCARDED = "DISCARDED"  # another command is in force, or the next inference is soon
    UNTRACKED = "UNTRACKED"  # to be published on the image inferred on


class TrackingThread:
    """Tracks the results of the command in force. All methods may be called from any thread."""

    def __init__(
        self,
        slot: FrameSlot[CameraImage],
        command: CurrentCommand,
        publisher: ResultPublisher,
        *,
        parameters: LiveParameters[SegmenterParameters],
        clock: RosClock,
        inference_wakeup: threading.Event,
        log: FaultLog,
    ) -> None:
        """Set up.

        Args:
            slot: the camera's newest image.
            command: the command in force.
            publisher: takes tracked results.
            parameters: of the node; without ``tracking`` nothing is tracked.
            clock: of the node.
            inference_wakeup: set when an image was tracked that may need inference.
            log: takes what failed.
        """
        self._slot, self._command, self._publisher = slot, command, publisher
        self._parameters, self._clock, self._log = parameters, clock, log
        self._inference_wakeup = inference_wakeup
        self._lock = threading.RLock()  # around all below
        self._tracker = Tracker()
        self._newest: Arrival[CameraImage] | None = None  # tracked last
        self._key = 0  # of the image that went to the model last
        self._key_image: CameraImage | None = None
        self._inference: InferenceResult | None = None  # that is tracked
        self._inference_is_due = False
        self._discarded_results = 0  # in a row
        self._decisions = Decisions()  # of results that are not tracked
        self._decided: Request | None = None  # whose they are
        self._next_due_s = 0.0  # monotonic
        # Set by the executor, which must not wait for the lock; done by the next who holds it.
        self._clear_is_due = self._reset_is_due = False
        self._wakeup = threading.Event()
        self._stopping = False
        self._thread = WorkerThread("tracking", self._run, log.report_crash)

    def start(self) -> None:
        """Begin to track."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wakeup.set()
        self._thread.join()

    def wake(self) -> None:
        """Track into the newest image."""
        self._wakeup.set()

    def needs_inference(self) -> bool:
        """Whether the newest image needs inference, because tracking it is not enough."""
        parameters = self._parameters.now
        if not parameters.tracking:
            return True
        with self._locked():
            self._tracker.key_age_s = parameters.key_frame_age
            return self._inference_is_due or bool(
                self._tracker.needs_key_image(self._clock.now_ns())
            )

    def request_inference(self) -> None:
        """Run inference on the next image, because the decision parameters have changed."""
        self._inference_is_due = True

    def begin_inference(self, arrival: Arrival[CameraImage]) -> Arrival[CameraImage]:
        """Choose the image for the next inference: the newest that can be tracked from.

        Args:
            arrival: the newest one that the caller knows.

        Raises:
            ValueError: if it is malformed.
        """
        if not self._parameters.now.tracking:
            return arrival
        self._read(arrival.item)
        with self._locked():
            newest = self._update(arrival)
            self._inference_is_due = False
            self._key = self._tracker.begin_inference()
            self._key_image = newest.item
            return newest

    def finish_inference(self, inference: InferenceResult) -> Outcome:
        """Take a result of the model and publish it on the newest image."""
        if not self._parameters.now.tracking or inference.error:
            return Outcome.UNTRACKED
        depth = self._read(inference.image)
        with self._locked():
            if self._carry(inference, depth):
                return Outcome.PUBLISHED
            # What cannot be carried to the newest image goes out on its own only where the command
            # has no result yet, or would get none.
            if self._command.awaits_first_result(inference.request):
                return Outcome.UNTRACKED
            if self._discarded_results < _MAX_DISCARDED:
                return Outcome.DISCARDED
            return Outcome.UNTRACKED

    def decide(self, inference: InferenceResult) -> InferenceResult:
        """Decide by the last inferences of a command about a result that is not tracked."""
        if inference.error:
            return inference
        with self._locked():
            if inference.request is not self._decided:
                self._decided = inference.request
                self._decisions.reset()
            rule = self._rule(inference)
            decided = self._decisions.decide(inference.segmentations, rule)
        return replace(inference, segmentations=decided)

    def clear(self) -> None:
        """Publish nothing more of this command, because another one came."""
        self._clear_is_due = True

    def reset(self) -> None:
        """Forget images, results and tracks, because ROS time has jumped."""
        self._reset_is_due = True

    def forget_images(self) -> None:
        """Forget all at once. Only after :meth:`stop`."""
        self.reset()
        with self._locked():
            pass  # it is done when the lock is taken

    def _run(self) -> None:
        self.reset()  # the thread may have been interrupted in the middle of a step
        while not self._stopping:
            self._wakeup.wait()
            self._wakeup.clear()
            if self._stopping:
                return
            if not self._parameters.now.tracking:
                continue
            try:
                self._track_newest()
            except ValueError:
                pass  # malformed: the inference thread says so
            except Exception as caught:  # nothing that a step does may end the thread
                self._log.report(f"tracking failed: {one_line(caught)}")
                self.reset()
            self._inference_wakeup.set()

    def _track_newest(self) -> None:
        """Take the newest image in, and publish on it what is known."""
        arrival = self._slot.peek()
        if arrival is None or self._command.request is None:
            return
        began_ns = time.monotonic_ns()
        self._read(arrival.item)
        with self._locked():
            if self._newest is not None and arrival.number <= self._newest.number:
                return
            newest = self._update(arrival)
            if self._inference is not None and time.monotonic() >= self._next_due_s:
                self._publish(self._inference, newest.item, began_ns)

    def _rule(self, inference: InferenceResult) -> DecisionRule:
        return self._parameters.now.decision_rule(inference.model, inference.score_threshold)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock, and first do what the executor has asked for."""
        with self._lock:
            if self._reset_is_due:
                self._reset_is_due = self._clear_is_due = False
                self._tracker.reset()
                self._newest = self._inference = self._key_image = self._decided = None
            if self._clear_is_due:
                self._clear_is_due = False
                self._tracker.clear()
                self._inference = None
            yield

    def _read(self, image: CameraImage) -> Depth | None:
        """Convert an image and wait for its depth, before the lock is taken.

        Raises:
            ValueError: if the image is malformed.
        """
        image.frame()
        try:
            return image.depth()
        except ValueError:
            return None  # the result will have the reason

    def _update(self, arrival: Arrival[CameraImage]) -> Arrival[CameraImage]:
        """Track into an image, unless a later one was tracked; returns the newest."""
        if self._newest is not None and arrival.number <= self._newest.number:
            return self._newest
        self._tracker.update(arrival.item.frame(), self._read(arrival.item))
        self._newest = arrival
        self._slot.mark_read(arrival.number)
        return arrival

    def _carry(self, inference: InferenceResult, depth: Depth | None) -> bool:
        """Publish on the newest image; False where that cannot be."""
        newest = self._newest
        if newest is None or inference.request is not self._command.request:
            return False
        if inference.image is not self._key_image:  # tracking was off when it was chosen
            self._discarded_results += 1
            return False
        rule = self._rule(inference)
        self._tracker.splitting = self._parameters.now.splitting
        if not self._tracker.finish_inference(self._key, inference.segmentations, depth, rule):
            self._discarded_results += 1
            return False
        self._discarded_results = 0
        self._inference = inference
        return self._publish(inference, newest.item, inference.began_ns)

    def _publish(self, inference: InferenceResult, image: CameraImage, began_ns: int) -> bool:
        """Publish what is known of the newest image."""
        parameters = self._parameters.now
        if parameters.is_stale(self._clock.now_ns() - image.stamp_ns):
            return False
        tracks = self._tracker.current()
        if not tracks:
            return False
        self._next_due_s = time.monotonic() + parameters.period_s
        tracked = TrackedResult(inference=inference, image=image, tracks=tracks, began_ns=began_ns)
        return self._publisher.publish_tracked(tracked)
