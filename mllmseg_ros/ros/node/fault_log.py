# SPDX-License-Identifier: Apache-2.0
"""Warnings of the node: each kind at most once in five seconds, faults also in the diagnostics."""

from __future__ import annotations

import threading
import time
from typing import Any

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

    def warn(self, text: str) -> None:
        """Log a warning; its kind is what stands before the first colon."""
        kind, now_s = text.partition(":")[0], time.monotonic()
        with self._lock:
            if now_s < self._quiet_until_s.get(kind, 0.0):
                return
            self._quiet_until_s[kind] = now_s + _WARN_PERIOD_S
        self._logger.warning(text)
