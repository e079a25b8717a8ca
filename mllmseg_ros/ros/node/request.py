# SPDX-License-Identifier: Apache-2.0
"""The life of a command: received, then answered once for the first time, or ended without.

Each camera has a desk. One command is in force there at a time; beside it lie errands, which are
what services and actions ask for and which are answered to the asker alone. The desk decides who
may answer a command, so that every command gets exactly one first answer whatever the threads do.
It knows commands and times, nothing of images, models or ROS.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mllmseg_ros.language.command import Command
from mllmseg_ros.language.conversation import Conversation

__all__ = ["Reception", "RequestDesk"]

MAX_ERRANDS = 16  # of one camera at a time


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
    refusal: str = ""  # why it was refused
    note: str = ""  # how it was understood, where that is not plain from the text

    @property
    def is_stop(self) -> bool:
        """Whether it ends the command before it instead of naming something."""
        return self.command is not None and self.command.is_stop


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something to publish about a request."""

    request: Request
    ending: Ending
    text: str  # one line for people


class Reception:
    """Makes requests of what people and programs ask. May be called from any thread.

    This is where text becomes a command, whichever way it came: in structured form, or as people
    say it. A node has one conversation, so that "the other one" follows on any camera's topic.
    """

    def __init__(self, language: Callable[[], str] = lambda: "en") -> None:
        """Begin.

        Args:
            language: returns the key of the language spoken now
                (:data:`mllmseg_ros.language.conversation.LANGUAGES`).
        """
        self._language, self._conversation = language, Conversation()
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def receive(self, text: str, now_ns: int, *, remember: bool = True) -> Request:
        """Read a command and give it an id of its own, also where it is refused.

        Args:
            text: as received.
            now_ns: ROS time, ns.
            remember: "again" and "the other one" may mean this one later; not what is asked beside
                the command in force.
        """
        request_id = f"{self._prefix}-{next(self._numbers)}"
        command, refusal, note = None, "", ""
        try:
            heard = self._conversation.hear(text, self._language(), remember=remember)
            command, note = heard.command, heard.note
        except ValueError as error:
            refusal = str(error)
        return Request(
            request_id=request_id,
            text=text,
            stamp_ns=now_ns,
            command=command,
            refusal=refusal,
            note=note,
        )


class Errand:
    """A request whose answers go to who asked.

    Attributes:
        request: what is asked; never a stop, never refused.
        image: message to look at; None for the newest one that was taken after the request
            (that is there, where it ``asks_why``).
        deliver: takes an answer or a :class:`Notice`; returns whether the next image is wanted too.
        asks_why: an answer comes with what was looked at: the image and its encoding.
        after_ns: ROS time from which on images count.
        last_number: number of the image that it was last answered on.
        waiting_since_ns: ROS time of the request or of its last answer.
    """

    def __init__(
        self,
        request: Request,
        deliver: Callable[..., bool],
        image: Any | None = None,
        *,
        asks_why: bool = False,
    ) -> None:
        assert request.command is not None
        self.request, self.deliver, self.image = request, deliver, image
        self.asks_why = asks_why
        self.last_number = 0
        self.waiting_since_ns = request.stamp_ns
        # Why something was said is asked of the image that is there.
        self.after_ns = 0 if asks_why else request.stamp_ns


class RequestDesk:
    """Holds what is asked of one camera. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Request | None = None
        self._answered = False  # the current request has had its first answer
        self._stale = False  # STALE_INPUT was said and no image was answered since
        self._waiting_since_ns = 0  # command or last answer, whichever is later
        self._errands: list[Errand] = []

    @property
    def current(self) -> Request | None:
        """The request in force."""
        with self._lock:
            return self._current

    @property
    def errands(self) -> tuple[Errand, ...]:
        """The errands not yet done."""
        with self._lock:
            return tuple(self._errands)

    def submit(self, request: Request) -> list[Notice]:
        """Take a command in. What it names is in force from here on.

        Returns:
            What to publish about it and about the one before it, in this order.
        """
        if request.command is None:
            return [Notice(request=request, ending=Ending.REFUSED, text=request.refusal)]
        if request.is_stop:
            notices = self.stop(f"stopped by command {request.request_id}")
            own = Notice(request=request, ending=Ending.STOPPED, text="stopped on command")
            return [*notices, own]
        with self._lock:
            notices = self._end(Ending.SUPERSEDED, f"superseded by command {request.request_id}")
            self._current = request
            self._answered = self._stale = False
            self._waiting_since_ns = request.stamp_ns
        return notices

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
        """Take a request out of force that needs no further answer."""
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

    def add(self, errand: Errand) -> None:
        """Take an errand in.

        Raises:
            ValueError: if there are too many already.
        """
        with self._lock:
            if len(self._errands) >= MAX_ERRANDS:
                raise ValueError(
                    f"{MAX_ERRANDS} requests are being answered already, accepted are "
                    f"{MAX_ERRANDS} at a time"
                )
            self._errands.append(errand)

    def remove(self, errand: Errand) -> bool:
        """Take an errand out; False if somebody else has."""
        with self._lock:
            there = errand in self._errands
            if there:
                self._errands.remove(errand)
            return there

    def overdue_errands(self, now_ns: int, limit_ns: int) -> list[Errand]:
        """Errands that have seen no image for ``limit_ns``, each once an outage."""
        with self._lock:
            overdue = [
                each
                for each in self._errands
                if each.image is None and now_ns - each.waiting_since_ns > limit_ns
            ]
            for each in overdue:
                each.waiting_since_ns = now_ns
            return overdue

    def restart_clock(self, now_ns: int) -> None:
        """Count waiting times from now on, because ROS time has jumped."""
        with self._lock:
            self._waiting_since_ns = now_ns
            for each in self._errands:
                each.after_ns = each.waiting_since_ns = now_ns

    def _end(self, ending: Ending, reason: str) -> list[Notice]:
        if self._current is None or self._answered:
            return []
        return [Notice(request=self._current, ending=ending, text=reason)]
