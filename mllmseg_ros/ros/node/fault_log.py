# SPDX-License-Identifier: Apache-2.0
"""Log each kind of fault at most once in five seconds, and report it in the diagnostics."""

from __future__ import annotations

import threading
import time
import traceback
from typing import Any

from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.node.metrics import ModelMetrics

__all__ = ["FaultLog"]

_WARN_PERIOD_S = 5.0


class FaultLog:
    """May be used from any thread."""

    def __init__(self, logger: Any, metrics: ModelMetrics) -> None:
        """Write to a node's logger, and record faults in the metrics."""
        self._logger, self._metrics = logger, metrics
        self._lock = threading.Lock()
        self._quiet_until_s: dict[str, float] = {}  # monotonic time by kind of warning

    def report(self, text: str) -> None:
        """Record a fault, in one line, and warn of it."""
        self._metrics.failed(text)
        self.warn(text)

    def report_crash(self, what: str, error: BaseException) -> None:
        """Record that a thread or callback was interrupted by an unexpected exception.

        The diagnostics say ERROR; the traceback is logged at level debug.
        """
        line = f"{what} failed: {one_line(error)}"
        self._metrics.crashed(line)
        if self._is_due(line):
            self._logger.error(line)
            self._logger.debug("".join(traceback.format_exception(error)))

    def warn(self, text: str) -> None:
        """Log a warning; its kind is what stands before the first colon."""
        if self._is_due(text):
            self._logger.warning(text)

    def _is_due(self, text: str) -> bool:
        kind, now_s = text.partition(":")[0], time.monotonic()
        with self._lock:
            if now_s < self._quiet_until_s.get(kind, 0.0):
                return False
            self._quiet_until_s[kind] = now_s + _WARN_PERIOD_S
        return True
