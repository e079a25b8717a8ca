# SPDX-License-Identifier: Apache-2.0
"""The life of a command: received, then answered once for the first time, or ended without.

One command is in force at a time. The desk decides who may answer it, so that every command gets
exactly one first answer whatever the threads do. It knows commands and times, nothing of images,
models or ROS. Entry point: :class:`RequestDesk`.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from dataclasses import dataclass
from enum import Enum

from mllmseg_ros.command import Command, parse_command


class Ending(Enum):
    """Why a request gets a message that no image is behind."""

    REFUSED = "REFUSED"
    SUPERSEDED = "SUPERSEDED"
    STOPPED = "STOPPED"
    STALE_INPUT = "STALE_INPUT"  # the only one after which the request stays in force


@dataclass(frozen=True, kw_only=True)
class Request:
    """One received command."""

    request_id: str  # unique, over restarts too
    text: str  # as received
    stamp_ns: int  # ns, ROS time of reception
    command: Command | None  # None: refused


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something to publish about a request."""

    request: Request
    ending: Ending
    text: str  # one line for people


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What came of a command."""

    request: Request
    notices: list[Notice]  # about it and the one before it, in the order to publish


class RequestDesk:
    """Holds the request in force. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._current: Request | None = None
        self._answered = False  # the current request has had its first answer
        self._stale = False  # STALE_INPUT was said and no image was answered since
        self._waiting_since_ns = 0  # command or last answer, whichever is later

    @property
    def current(self) -> Request | None:
        """The request in force."""
        with self._lock:
            return self._current

    def submit(self, text: str, now_ns: int) -> Submission:
        """Take a command in. What it names is in force from here on."""
        request_id = f"{self._prefix}-{next(self._numbers)}"
        try:
            command = parse_command(text)
        except ValueError as error:
            request = Request(request_id=request_id, text=text, stamp_ns=now_ns, command=None)
            refusal = Notice(request=request, ending=Ending.REFUSED, text=str(error))
            return Submission(request=request, notices=[refusal])
        request = Request(request_id=request_id, text=text, stamp_ns=now_ns, command=command)
        if command.is_stop:
            notices = self.stop(f"stopped by command {request_id}")
            own = Notice(request=request, ending=Ending.STOPPED, text="stopped on command")
            return Submission(request=request, notices=[*notices, own])
        with self._lock:
            notices = self._end(Ending.SUPERSEDED, f"superseded by command {request_id}")
            self._current = request
            self._answered = self._stale = False
            self._waiting_since_ns = now_ns
        return Submission(request=request, notices=notices)

    def stop(self, reason: str) -> list[Notice]:
        """End the request in force."""
        with self._lock:
            notices = self._end(Ending.STOPPED, reason)
            self._current = None
        return notices

    def needs_first_answer(self, request: Request) -> bool:
        """Whether this request is in force and still waits for its first answer."""
        with self._lock:
            return request is self._current and not self._answered

    def claim(self, request: Request, now_ns: int) -> bool:
        """Ask for the right to publish an answer; False if the request is no longer in force."""
        with self._lock:
            if request is not self._current:
                return False
            self._answered, self._stale = True, False
            self._waiting_since_ns = now_ns
            return True

    def drop(self, request: Request) -> None:
        """Take a request out of force that can never be answered."""
        with self._lock:
            if request is self._current:
                self._current = None

    def check_stale(self, now_ns: int, limit_ns: int, period_ns: int, reason: str) -> list[Notice]:
        """Say STALE_INPUT, once an outage, when no image was answered for ``limit_ns``.

        After the first answer the next one may take ``period_ns`` longer.
        """
        with self._lock:
            waited_ns = now_ns - self._waiting_since_ns
            overdue = waited_ns > limit_ns + (period_ns if self._answered else 0)
            if self._current is None or self._stale or not overdue:
                return []
            self._answered = self._stale = True
            return [Notice(request=self._current, ending=Ending.STALE_INPUT, text=reason)]

    def restart_clock(self, now_ns: int) -> None:
        """Count waiting times from now on, because ROS time has jumped."""
        with self._lock:
            self._waiting_since_ns = now_ns

    def _end(self, ending: Ending, reason: str) -> list[Notice]:
        if self._current is None or self._answered:
            return []
        return [Notice(request=self._current, ending=ending, text=reason)]
