# SPDX-License-Identifier: Apache-2.0
"""The command in force of one camera: each gets a first result, STALE_INPUT, or one closing event.

Threads ask here for the right to publish a result, so that nothing follows a stop.
"""

from __future__ import annotations

import threading

from mllmseg_ros.ros.node.outage import Outage
from mllmseg_ros.ros.node.request import EndReason, Request, RequestEvent

__all__ = ["CurrentCommand"]


class CurrentCommand:
    """The request in force, at most one. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._request: Request | None = None
        self._has_result = False  # the request has had its first result, or STALE_INPUT
        self._outage = Outage()

    @property
    def request(self) -> Request | None:
        """The request in force."""
        with self._lock:
            return self._request

    def submit(self, request: Request) -> list[RequestEvent]:
        """Put a command in force.

        Returns:
            What to publish about it and about the one before it, in this order.
        """
        if request.command is None:
            return [RequestEvent(request=request, reason=EndReason.REFUSED, text=request.refusal)]
        if request.is_stop:
            events = self.stop(f"stopped by command {request.request_id}")
            own = RequestEvent(request=request, reason=EndReason.STOPPED, text="stopped on command")
            return [*events, own]
        with self._lock:
            events = self._end(EndReason.SUPERSEDED, f"superseded by command {request.request_id}")
            self._request, self._has_result = request, False
            self._outage = Outage(request.stamp_ns)
        return events

    def stop(self, reason: str) -> list[RequestEvent]:
        """End the request in force."""
        with self._lock:
            events = self._end(EndReason.STOPPED, reason)
            self._request = None
        return events

    def awaits_first_result(self, request: Request) -> bool:
        """Whether this request is in force and has no result yet."""
        with self._lock:
            return request is self._request and not self._has_result

    def claim(self, request: Request, now_ns: int) -> bool:
        """Ask for the right to publish a result; False if the request is no longer in force."""
        with self._lock:
            if request is not self._request:
                return False
            self._has_result = True
            self._outage.end(now_ns)
            return True

    def drop(self, request: Request) -> None:
        """Take a request out of force that needs no further result."""
        with self._lock:
            if request is self._request:
                self._request = None

    def check_stale(
        self, now_ns: int, limit_ns: int, period_ns: int, reason: str
    ) -> list[RequestEvent]:
        """Tell STALE_INPUT, once per outage, when there was no result for ``limit_ns``.

        After the first result the next one may take ``period_ns`` longer.
        """
        with self._lock:
            if self._request is None:
                return []
            if not self._outage.report_once(
                now_ns, limit_ns + (period_ns if self._has_result else 0)
            ):
                return []
            self._has_result = True
            return [RequestEvent(request=self._request, reason=EndReason.STALE_INPUT, text=reason)]

    def restart_clock(self, now_ns: int) -> None:
        """Count waiting times from now on, because ROS time has jumped."""
        with self._lock:
            self._outage.restart(now_ns)

    def _end(self, reason: EndReason, text: str) -> list[RequestEvent]:
        if self._request is None or self._has_result:
            return []
        return [RequestEvent(request=self._request, reason=reason, text=text)]
