# SPDX-License-Identifier: Apache-2.0
"""The inference thread: newest image and current request in, answers out.

Sleeps until there is something to do, encodes each image once however many requests ask about it,
and never falls behind: it always takes the newest image. Knows neither nodes nor topics; what it
calls comes in as functions. Entry points: :class:`InferenceThread`, :func:`age_text`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mllmseg_ros.frame import Frame
from mllmseg_ros.instances import Located
from mllmseg_ros.ros.frame_slot import Arrival, FrameSlot
from mllmseg_ros.ros.request import Request, RequestDesk
from mllmseg_ros.segmentation import Segmentation

M = TypeVar("M")  # message of an image
C = TypeVar("C")  # encoded image


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may change while the thread runs."""

    max_age_ns: int  # ns, older images are not answered on; 0 = no limit
    period_s: float  # s, shortest time between two answers to the same request


@dataclass(frozen=True, kw_only=True)
class Result(Generic[M]):
    """One answered (or failed) request on one image."""

    request: Request
    message: M  # of the image
    frame: Frame
    located: Located  # at least one instance per target, none where it failed
    latency_ns: int  # from taking up the image
    error: str = ""  # why looking failed


@dataclass(frozen=True, kw_only=True)
class Steps(Generic[M, C]):
    """What the thread does, in this order; called from it alone."""

    now_ns: Callable[[], int]  # ROS time
    stamp_ns: Callable[[M], int]  # stamp of an image message
    to_frame: Callable[[M], Frame]  # raises ValueError for a malformed image
    encode: Callable[[Frame], C]
    segment: Callable[[C, Request], Sequence[Segmentation]]
    locate: Callable[[Frame, Sequence[Segmentation]], Located]
    publish: Callable[[Result[M]], bool]  # False if the request is no longer in force
    report: Callable[[str], None]  # one line about an image that could not be used


class InferenceThread(Generic[M, C]):
    """Answers the request in force on the newest image until it is stopped."""

    def __init__(
        self,
        desk: RequestDesk,
        slot: FrameSlot[M],
        steps: Steps[M, C],
        limits: Callable[[], Limits],
    ) -> None:
        self._desk, self._slot, self._steps, self._limits = desk, slot, steps, limits
        self._wake = threading.Condition()
        self._woken = False
        self._stopping = False
        self._busy = False
        self._epoch = 0  # counts jumps of time; what was begun before one is thrown away
        self._finished: tuple[int, str] = (0, "")  # number of the image, id of the request
        self._encoded: tuple[int, Frame, C] | None = None  # the newest encoding and its image
        self._next_due_s = 0.0  # monotonic time of the next answer to the same request
        self._last_problem = ""
        self._answered = 0
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    @property
    def busy(self) -> bool:
        """Whether an image is being looked at right now."""
        return self._busy

    @property
    def answered(self) -> int:
        """Number of answers published."""
        return self._answered

    @property
    def last_problem(self) -> str:
        """Why the newest image was not used, "" if it was."""
        return self._last_problem

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def wake(self) -> None:
        """Look again: there is a new image, a new request or a new limit."""
        with self._wake:
            self._woken = True
            self._wake.notify()

    def forget(self) -> None:
        """Throw away encodings and unfinished work, because time has jumped."""
        with self._wake:
            self._epoch += 1
            self._encoded = None
        self.wake()

    def stop(self) -> None:
        """End the thread after the step it is in."""
        with self._wake:
            self._stopping = True
        self.wake()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        pause_s: float | None = None
        while True:
            with self._wake:
                self._busy = self._woken  # never idle between two pieces of work
                self._wake.wait_for(lambda: self._woken, pause_s)
                self._woken, self._busy = False, True
                if self._stopping:
                    return
            try:
                pause_s = self._work()
            except Exception as caught:  # nothing that a step does may end the thread
                pause_s = None
                self._last_problem = f"the last answer failed: {_one_line(caught)}"
                self._steps.report(f"answer failed: {_one_line(caught)}")

    def _work(self) -> float | None:
        """Do what there is to do; returns how long to sleep unless woken, None for ever."""
        request, arrival = self._desk.current, self._slot.peek()
        if request is None or arrival is None:
            return None
        if self._finished == (arrival.number, request.request_id):
            return None
        limits = self._limits()
        age_ns = self._age_ns(arrival)
        if is_stale(age_ns, limits.max_age_ns):
            self._last_problem = f"the newest image is {age_text(age_ns)}"
            return None
        if not self._desk.needs_first_answer(request):
            early_s = self._next_due_s - time.monotonic()
            if early_s > 0:
                return early_s
        self._next_due_s = time.monotonic() + limits.period_s
        self._answer(arrival)
        return 0.0

    def _answer(self, arrival: Arrival[M]) -> None:
        """Look at one image for the request in force, and publish what is seen."""
        began_ns, epoch = time.monotonic_ns(), self._epoch
        self._slot.mark_read(arrival.number)
        try:
            frame = self._frame(arrival)
        except Exception as caught:  # a conversion that is not ours may raise anything
            reason = str(caught) if isinstance(caught, ValueError) else _one_line(caught)
            self._last_problem = f"the newest image is malformed: {reason}"
            self._steps.report(f"image ignored: {reason}")
            self._slot.discard(arrival.number)
            return
        self._last_problem = ""
        asked = request = self._desk.current
        located = Located(instances=())
        failure: Exception | None = None
        try:
            context = self._context(arrival.number, frame)
            # A command that came during the encoding is answered on this image, if that is not
            # too old by now.
            request = self._desk.current
            if request is None:
                return
            max_age_ns = self._limits().max_age_ns
            if request is not asked and is_stale(self._age_ns(arrival), max_age_ns):
                return
            located = self._steps.locate(frame, self._steps.segment(context, request))
        except Exception as caught:  # the one place where a failure becomes an answer
            failure = caught
            located = Located(instances=())
            self._steps.report(f"inference failed: {_one_line(caught)}")
        if request is None or epoch != self._epoch:
            return
        self._finished = (arrival.number, request.request_id)
        self._answered += self._steps.publish(
            Result(
                request=request,
                message=arrival.item,
                frame=frame,
                located=located,
                latency_ns=time.monotonic_ns() - began_ns,
                error=_one_line(failure) if failure else "",
            )
        )
        if isinstance(failure, ValueError):  # the words are at fault, not this image
            self._desk.drop(request)

    def _age_ns(self, arrival: Arrival[M]) -> int:
        return self._steps.now_ns() - self._steps.stamp_ns(arrival.item)

    def _frame(self, arrival: Arrival[M]) -> Frame:
        if self._encoded is not None and self._encoded[0] == arrival.number:
            return self._encoded[1]
        return self._steps.to_frame(arrival.item)

    def _context(self, number: int, frame: Frame) -> C:
        if self._encoded is None or self._encoded[0] != number:
            self._encoded = None  # frees its memory before the next one needs it
            self._encoded = (number, frame, self._steps.encode(frame))
        return self._encoded[2]


def is_stale(age_ns: int, max_age_ns: int) -> bool:
    """Whether an image is too old, or stamped as far ahead of time; 0 is no limit."""
    return bool(max_age_ns) and abs(age_ns) > max_age_ns


def age_text(age_ns: int) -> str:
    """An age for people."""
    return f"{age_ns / 1e9:.3f} s old" if age_ns >= 0 else f"{-age_ns / 1e9:.3f} s ahead of time"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
