# SPDX-License-Identifier: Apache-2.0
"""What to say to the answer of a command that was spoken."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence

from mllmseg_ros.language.result_sentences import ExpressionResult, describe_results
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.segmentation import Status

__all__ = ["SpokenAnswers"]

_STATUS = {
    Segmentation.STATUS_FOUND: Status.FOUND,
    Segmentation.STATUS_NO_TARGET: Status.NO_TARGET,
    Segmentation.STATUS_LOW_CONFIDENCE: Status.LOW_CONFIDENCE,
}
_WITHOUT = {
    SegmentationArray.STATUS_STALE_INPUT: "I see no picture.",
    SegmentationArray.STATUS_ERROR: "That did not work.",
    SegmentationArray.STATUS_SUPERSEDED: "",
    SegmentationArray.STATUS_STOPPED: "",
}
_MOST_PENDING = 16  # commands without an answer: nobody answers them any more


class SpokenAnswers:
    """Knows which commands were spoken and wait for their first answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: deque[str] = deque(maxlen=_MOST_PENDING)

    def asked(self, command: str) -> None:
        """A command goes out."""
        with self._lock:
            self._pending.append(command)

    def heard(self, answer: SegmentationArray) -> str:
        """What to say; "" where it is not the first answer to a command that was spoken."""
        with self._lock:
            if answer.command not in self._pending:
                return ""
            self._pending.remove(answer.command)
        if answer.status in _WITHOUT:
            return _WITHOUT[answer.status]
        return describe_results(_seen(answer.segmentations))


def _seen(entries: Sequence[Segmentation]) -> list[ExpressionResult]:
    """An entry per expression; of several instances the first says what became of it."""
    counts = Counter(entry.expression_index for entry in entries)
    return [
        ExpressionResult(
            expression=entry.expression,
            status=_STATUS[entry.status],
            count=counts[entry.expression_index],
        )
        for entry in entries
        if entry.instance_index == 0 and entry.status in _STATUS
    ]
