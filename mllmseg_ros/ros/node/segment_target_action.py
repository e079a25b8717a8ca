# SPDX-License-Identifier: Apache-2.0
"""Action ``segment_target``: repeat inference until the target is confirmed present or absent."""

from __future__ import annotations

import math
import time
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile

from mllmseg_ros.action import SegmentTarget
from mllmseg_ros.error_text import one_line
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.parameters import MAX_REQUEST_S, SegmenterParameters
from mllmseg_ros.ros.node.private_requests import MAX_PRIVATE_REQUESTS, Delivery
from mllmseg_ros.ros.node.request_router import RequestRouter
from mllmseg_ros.ros.support.async_queue import AsyncQueue
from mllmseg_ros.ros.support.parameter_fields import LiveParameters

__all__ = ["Consensus", "SegmentTargetAction"]

_TICK_S = 0.1  # how soon a timeout or a cancellation is noticed while no result comes
_CLIENT_CHECK_S = 1.0
_DISCOVERY_S = 5.0  # how long the graph may take to show a goal's client
_DEPTH = 100  # goals, cancellations and requests of results that wait for the executor
_NAME = "segment_target"
_INFERRED = (
    SegmentationArray.STATUS_OK,
    SegmentationArray.STATUS_PARTIAL,
    SegmentationArray.STATUS_NO_TARGET,
    SegmentationArray.STATUS_LOW_CONFIDENCE,
)
_DECIDED = (SegmentTarget.Result.OUTCOME_FOUND, SegmentTarget.Result.OUTCOME_NOT_THERE)
_ABSENT = (SegmentationArray.STATUS_PARTIAL, SegmentationArray.STATUS_NO_TARGET)


class Consensus:
    """Counts consecutive images with the same outcome, until they suffice."""

    def __init__(self, n_frames: int, min_confidence: float) -> None:
        """Begin.

        Args:
            n_frames: images in a row that have to agree.
            min_confidence: what every entry's score (mask_score where that is NaN) must reach for
                its image to count as found.
        """
        self._n_frames, self._min_confidence = max(1, n_frames), min_confidence
        self._last_outcome: str = ""
        self.shortfall = ""  # by what the last image was found, but not with the confidence
        self.agreeing = 0  # consecutive images with the outcome of the last one

    def add(self, array: SegmentationArray) -> None:
        """Count the result on one more image."""
        outcome = self._outcome_of(array)
        self.agreeing = self.agreeing + 1 if outcome == self._last_outcome else 1
        self._last_outcome = outcome

    @property
    def is_found(self) -> bool:
        """Whether everything was found on enough images."""
        return self._last_outcome == "found" and self.agreeing >= self._n_frames

    @property
    def is_absent(self) -> bool:
        """Whether something was not there on enough images."""
        return self._last_outcome == "absent" and self.agreeing >= self._n_frames

    @property
    def is_unsure(self) -> bool:
        """Whether something was neither there nor not there for certain on enough images."""
        return self._last_outcome == "unsure" and self.agreeing >= self._n_frames

    def _outcome_of(self, array: SegmentationArray) -> str:
        self.shortfall = ""
        if array.status in _ABSENT:
            return "absent"
        if array.status != SegmentationArray.STATUS_OK:
            return "unsure"
        firsts = [each for each in array.segmentations if each.instance_index == 0]
        scores = [each.mask_score if math.isnan(each.score) else each.score for each in firsts]
        if min(scores) >= self._min_confidence:
            return "found"
        self.shortfall = (
            f"score {min(scores):.2f} is below min_confidence, {self._min_confidence:.2f}"
        )
        return "unsure"


class _Goal:
    """A goal that is being served."""

    def __init__(self, queue: AsyncQueue[Delivery | None], life_s: float) -> None:
        """Begin.

        Args:
            queue: takes its results, and None where it should look whether it has to end.
            life_s: s of real time for which it may be served.
        """
        self.queue = queue
        self.began_s = time.monotonic()
        self.ends_s = self.began_s + life_s
        self.subscribers: set[bytes] = set()  # to feedback in the beginning, its client among them
        self.may_be_abandoned = False  # one of them is gone
        self.is_abandoned = False

    def check_client(self, subscribers: set[bytes]) -> None:
        """Compare the subscribers to feedback, as each client is one, with those now.

        rclpy does not tell which of them has sent the goal.
        """
        if time.monotonic() < self.began_s + _DISCOVERY_S:
            self.subscribers |= subscribers
            return
        self.may_be_abandoned = not self.subscribers <= subscribers
        self.is_abandoned |= self.may_be_abandoned and not self.subscribers & subscribers


class SegmentTargetAction:
    """Serves goals side by side, each until it is decided, canceled, abandoned or out of time."""

    def __init__(
        self,
        node: Node,
        router: RequestRouter,
        parameters: LiveParameters[SegmenterParameters],
        log: FaultLog,
    ) -> None:
        """Offer the action.

        Args:
            node: that offers it.
            router: the way to the cameras.
            parameters: of the node.
            log: takes what failed.
        """
        self._node, self._router = node, router
        self._parameters, self._log = parameters, log
        self._goals: set[_Goal] = set()
        self._feedback_topic = node.resolve_topic_name(f"{_NAME}/_action/feedback")
        group = ReentrantCallbackGroup()
        waiting = QoSProfile(depth=_DEPTH)
        self._server = ActionServer(
            node,
            SegmentTarget,
            _NAME,
            self._execute,
            callback_group=group,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            goal_service_qos_profile=waiting,
            result_service_qos_profile=waiting,
            cancel_service_qos_profile=waiting,
        )
        # Of the steady clock: ROS time may be paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_TICK_S, self._tick, callback_group=group, clock=steady)
        node.create_timer(_CLIENT_CHECK_S, self._check_clients, callback_group=group, clock=steady)

    def _tick(self) -> None:
        for goal in tuple(self._goals):
            goal.queue.put(None)

    def _check_clients(self) -> None:
        """End the goals whose client is gone; if there is no room for another, those that may be.

        Of the latter the oldest, one at a time.
        """
        if not self._goals:
            return
        ends = self._node.get_subscriptions_info_by_topic(self._feedback_topic)
        subscribers = {bytes(each.endpoint_gid) for each in ends}
        for goal in self._goals:
            goal.check_client(subscribers)
        doubtful = [goal for goal in self._goals if goal.may_be_abandoned]
        if doubtful and len(self._goals) >= MAX_PRIVATE_REQUESTS:
            min(doubtful, key=lambda goal: goal.began_s).is_abandoned = True

    async def _execute(self, handle: Any) -> SegmentTarget.Result:
        try:
            return await self._serve(handle)
        except Exception as error:  # rclpy would send an empty result
            self._log.report_crash("a goal", error)
            if handle.is_active:
                handle.abort()
            outcome = SegmentTarget.Result.OUTCOME_ERROR
            return _ended(SegmentTarget.Result(), outcome, one_line(error))

    async def _serve(self, handle: Any) -> SegmentTarget.Result:
        if not 0 <= handle.request.min_confidence <= 1:
            handle.abort()
            reason = f"min_confidence is {handle.request.min_confidence:g}, accepted: 0 to 1"
            return _ended(SegmentTarget.Result(), SegmentTarget.Result.OUTCOME_ERROR, reason)
        queue: AsyncQueue[Delivery | None] = AsyncQueue(self._router.guard)
        wanted, timeout_s = handle.request, _timeout_s(handle.request)
        goal = _Goal(queue, self._parameters.now.request_life_s(timeout_s))
        private_request = self._router.ask(
            wanted.expressions, wanted.camera, queue, repeats=True, wanted_s=timeout_s
        )
        self._goals.add(goal)
        try:
            return await self._until_decided(handle, goal)
        finally:
            self._goals.discard(goal)
            if private_request is not None:
                self._router.withdraw(private_request)

    async def _until_decided(self, handle: Any, served: _Goal) -> SegmentTarget.Result:
        goal = handle.request
        result = SegmentTarget.Result()
        consensus = Consensus(goal.frames, goal.min_confidence)
        deadline_ns = self._now_ns() + int(_timeout_s(goal) * 1e9)
        while True:
            delivery = await served.queue.take()
            if delivery is not None:
                answer = result.answer = delivery.message
                outcome = self._outcome(answer, consensus, waits=goal.timeout > 0)
                if answer.status in _INFERRED:
                    feedback = SegmentTarget.Feedback(answer=answer, agreeing=consensus.agreeing)
                    handle.publish_feedback(feedback)
            else:
                outcome = SegmentTarget.Result.OUTCOME_UNKNOWN
            if handle.is_cancel_requested:
                handle.canceled()
                return _ended(result, SegmentTarget.Result.OUTCOME_CANCELED, "canceled")
            if outcome == SegmentTarget.Result.OUTCOME_UNKNOWN and served.is_abandoned:
                handle.abort()
                text = "its client is gone"
                return _ended(result, SegmentTarget.Result.OUTCOME_CANCELED, text)
            is_late = goal.timeout > 0 and self._now_ns() > deadline_ns
            if outcome == SegmentTarget.Result.OUTCOME_UNKNOWN and (
                is_late or time.monotonic() > served.ends_s
            ):
                outcome = (
                    SegmentTarget.Result.OUTCOME_NOT_THERE
                    if consensus.is_absent
                    else SegmentTarget.Result.OUTCOME_TIMED_OUT
                )
            if outcome == SegmentTarget.Result.OUTCOME_UNKNOWN:
                continue
            if outcome in _DECIDED:  # "not there" is not a failure
                handle.succeed()
            else:
                handle.abort()
            reasons = (result.answer.text or "no image came in time", consensus.shortfall)
            return _ended(result, outcome, "; ".join(filter(None, reasons)))

    def _outcome(self, array: SegmentationArray, consensus: Consensus, *, waits: bool) -> int:
        """Outcome after one more result; OUTCOME_UNKNOWN where it is too early to say."""
        outcomes = SegmentTarget.Result
        if array.status == SegmentationArray.STATUS_ERROR:
            return int(outcomes.OUTCOME_ERROR)
        if array.status == SegmentationArray.STATUS_STOPPED:
            return int(outcomes.OUTCOME_CANCELED)
        if array.status == SegmentationArray.STATUS_STALE_INPUT:
            return int(outcomes.OUTCOME_UNKNOWN if waits else outcomes.OUTCOME_TIMED_OUT)
        consensus.add(array)
        if consensus.is_found:
            return int(outcomes.OUTCOME_FOUND)
        if consensus.is_absent and not waits:
            return int(outcomes.OUTCOME_NOT_THERE)
        if consensus.is_unsure and not waits:
            return int(outcomes.OUTCOME_UNSURE)
        return int(outcomes.OUTCOME_UNKNOWN)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)


def _timeout_s(goal: SegmentTarget.Goal) -> float:
    """The goal's timeout, which may be any number of its message; 0 where it has none."""
    return min(goal.timeout, MAX_REQUEST_S) if goal.timeout > 0 else 0.0


def _ended(result: SegmentTarget.Result, outcome: int, text: str) -> SegmentTarget.Result:
    result.outcome, result.text = outcome, text
    return result
