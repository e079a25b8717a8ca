# SPDX-License-Identifier: Apache-2.0
"""How long a request has waited for a result, and whether that was reported."""

from __future__ import annotations

__all__ = ["Outage"]


class Outage:
    """Reports once when no result has come for too long. Not thread-safe."""

    def __init__(self, since_ns: int = 0) -> None:
        """Count from a ROS time, ns."""
        self._since_ns, self._reported = since_ns, False

    def end(self, now_ns: int) -> None:
        """Count anew: there was a result."""
        self._since_ns, self._reported = now_ns, False

    def restart(self, now_ns: int) -> None:
        """Count from now on, because ROS time has jumped."""
        self._since_ns = now_ns

    def report_once(self, now_ns: int, limit_ns: int) -> bool:
        """Whether the limit has just been passed; True once per outage."""
        if self._reported or now_ns - self._since_ns <= limit_ns:
            return False
        self._reported = True
        return True
