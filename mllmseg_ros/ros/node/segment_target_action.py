# SPDX-License-Identifier: Apache-2.0
"""Action ``segment_target``: repeat inference until the target is confirmed present or absent."""

from __future__ import annotations

import math
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from mllmseg_ros.action import SegmentTarget
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.node.private_requests import Delivery
from mllmseg_ros.ros.node.request_router import RequestRouter
from mllmseg_ros.ros.support.async_queue import AsyncQueue

__all__ = ["Consensus", "SegmentTargetAction"]

_TICK_S = 0.1  # how soon a timeout or a cancellation is noticed while no result comes
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

    def _outcome_of(self, array: SegmentationArray) -> str:
        if array.status in _ABSENT:
            return "absent"
        if array.status != SegmentationArray.STATUS_OK:
            return "unsure"
        firsts = [each for each in array.segmentations if each.instance_index == 0]
        scores = [each.mask_score if math.isnan(each.score) else each.score for each in firsts]
        return "found" if min(scores) >= self._min_confidence else "unsure"


class SegmentTargetAction:
    """Serves any number of goals side by side."""

    def __init__(self, node: Node, router: RequestRouter) -> None:
        """Offer the action."""
        self._node, self._router = node, router
        self._queues: set[AsyncQueue[Delivery | None]] = set()
        group = ReentrantCallbackGroup()
        self._server = ActionServer(
            node,
            SegmentTarget,
            "segment_target",
            self._execute,
            callback_group=group,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )
        node.create_timer(_TICK_S, self._tick, callback_group=group)

    def _tick(self) -> None:
        for queue in tuple(self._queues):
            queue.put(None)

    async def _execute(self, handle: Any) -> SegmentTarget.Result:
        queue: AsyncQueue[Delivery | None] = AsyncQueue(self._router.guard)
        goal = handle.request
        self._queues.add(queue)
        private_request = self._router.ask(goal.expressions, goal.camera, queue, repeats=True)
        try:
            return await self._until_decided(handle, queue)
        finally:
            self._queues.discard(queue)
            if private_request is not None:
                self._router.withdraw(private_request)

    async def _until_decided(
        self, handle: Any, queue: AsyncQueue[Delivery | None]
    ) -> SegmentTarget.Result:
        goal = handle.request
        result = SegmentTarget.Result()
        consensus = Consensus(goal.frames, goal.min_confidence)
        deadline_ns = self._now_ns() + int(max(0.0, goal.timeout) * 1e9)
        while True:
            delivery = await queue.take()
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
            if outcome == SegmentTarget.Result.OUTCOME_UNKNOWN and (
                goal.timeout > 0 and self._now_ns() > deadline_ns
            ):
                outcome = (
                    SegmentTarget.Result.OUTCOME_NOT_THERE
                    if consensus.is_absent
                    else SegmentTarget.Result.OUTCOME_TIMED_OUT
                )
            if outcome == SegmentTarget.Result.OUTCOME_UNKNOWN:
                continue
            if outcome in _DECIDED:  # "not there" is no failure
                handle.succeed()
            else:
                handle.abort()
            return _ended(result, outcome, result.answer.text or "no image came in time")

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
        return int(outcomes.OUTCOME_UNKNOWN)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)


def _ended(result: SegmentTarget.Result, outcome: int, text: str) -> SegmentTarget.Result:
    result.outcome, result.text = outcome, text
    return result
