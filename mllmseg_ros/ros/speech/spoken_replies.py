# SPDX-License-Identifier: Apache-2.0
"""Compose what to say in reply to a spoken command."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence

from mllmseg_ros.error_text import escape_invisible
from mllmseg_ros.language.result_sentences import ExpressionResult, describe_results
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.segmentation import Status

__all__ = ["SpokenReplies"]

_STATUS = {
    Segmentation.STATUS_FOUND: Status.FOUND,
    Segmentation.STATUS_NO_TARGET: Status.NO_TARGET,
    Segmentation.STATUS_LOW_CONFIDENCE: Status.LOW_CONFIDENCE,
}
_WITHOUT_RESULT = {
    SegmentationArray.STATUS_STALE_INPUT: "I have no camera image.",
    SegmentationArray.STATUS_ERROR: "That did not work.",
    SegmentationArray.STATUS_SUPERSEDED: "",
    SegmentationArray.STATUS_STOPPED: "",
}
_MAX_UNCONFIRMED_S = 3.0
_MAX_PENDING = 16  # older commands will get no result any more


class SpokenReplies:
    """Keeps the spoken commands that have no result yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: deque[tuple[str, float]] = deque(maxlen=_MAX_PENDING)  # command, since when

    def add_command(self, command: str) -> None:
        """Add a spoken command that is published."""
        with self._lock:
            self._pending.append((command, time.monotonic()))

    def reply_to(self, result: SegmentationArray) -> str:
        """Return what to say; "" unless it is the first result of a spoken command.

        For a short time, a result that further inferences are to confirm does not count.
        """
        with self._lock:
            pending = next((each for each in self._pending if each[0] == result.command), None)
            if pending is None:
                return ""
            is_unconfirmed = any(entry.unconfirmed for entry in result.segmentations)
            if is_unconfirmed and time.monotonic() < pending[1] + _MAX_UNCONFIRMED_S:
                return ""
            self._pending.remove(pending)
        if result.status in _WITHOUT_RESULT:
            return _WITHOUT_RESULT[result.status]
        return escape_invisible(describe_results(_summarise(result.segmentations)))


def _summarise(entries: Sequence[Segmentation]) -> list[ExpressionResult]:
    """Summarise the entries of each expression; the first instance has its status."""
    counts = Counter(entry.expression_index for entry in entries)
    return [
        ExpressionResult(
            expression=entry.expression,
            status=_STATUS[entry.status],
            count=counts[entry.expression_index],
            doubt=entry.doubt,
        )
        for entry in entries
        if entry.instance_index == 0 and entry.status in _STATUS
    ]
