# SPDX-License-Identifier: Apache-2.0
"""The inference thread: newest images and what is asked of them in, answers out.

One model serves all cameras. The thread sleeps until there is something to do, gives the cameras
fair turns, encodes an image once however many requests ask about it, and never falls behind: it
always takes the newest image. Knows neither nodes nor topics.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mllmseg_ros.frame import Frame
from mllmseg_ros.ros.node.frame_slot import Arrival, FrameSlot
from mllmseg_ros.ros.node.request import Ending, Errand, Notice, Request, RequestDesk
from mllmseg_ros.segmentation import Segmentation

__all__ = ["InferenceThread", "Source", "age_text"]

M = TypeVar("M")  # an image as it came
C = TypeVar("C")  # an encoded image


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may change while the thread runs."""

    max_age_ns: int  # ns, older images are not answered on; 0 = no limit
    period_s: float  # s, shortest time between two looks for the same command


@dataclass(frozen=True, kw_only=True)
class Result(Generic[M]):
    """One answered (or failed) request on one image."""

    request: Request
    image: M
    frame: Frame
    segmentations: Sequence[Segmentation]  # one per expression; none where looking failed
    began_ns: int  # monotonic time at which the image was taken up
    model: str = ""  # name of the model that looked; "" where it did not come to that
    encoded: object | None = None  # what it looked at, for who wants to know more than the answer
    error: str = ""  # why looking failed
    hopeless: bool = False  # it will fail on every image: the words are at fault


class Source(Protocol[M]):
    """A camera, as the thread sees it. All but the slot and the desk is called from it alone."""

    desk: RequestDesk
    slot: FrameSlot[M]

    def stamp_ns(self, image: M) -> int:
        """Stamp of an image, ns."""

    def frame(self, image: M) -> Frame:
        """Convert an image; raises ValueError for a malformed one."""

    def limits(self) -> Limits:
        """What holds now."""

    def wants(self, request: Request) -> bool:
        """Whether a further look for the command in force would tell more than is known."""

    def begin(self, arrival: Arrival[M]) -> Arrival[M]:
        """Choose the image to look at for the command in force, this one or a newer one."""

    def publish(self, result: Result[M]) -> bool:
        """Publish the answer to a command; False if that is no longer in force."""

    def deliver(self, errand: Errand, outcome: Result[M] | Notice) -> bool:
        """Hand an answer to who asked; returns whether the next image is wanted too."""


@dataclass(frozen=True, kw_only=True)
class Steps(Generic[C]):
    """The model and the clock; called from the thread alone."""

    now_ns: Callable[[], int]  # ROS time
    encode: Callable[[Frame], C]
    model: Callable[[C], str]  # name of the model that encoded
    segment: Callable[[C, Request], Sequence[Segmentation]]
    report: Callable[[str], None]  # one line about an image that could not be used


class _Turn(Generic[M]):
    """What the thread remembers of one camera."""

    def __init__(self, source: Source[M]) -> None:
        self.source = source
        self.finished: tuple[int, str] = (0, "")  # number of the image, id of the request
        self.next_due_s = 0.0  # monotonic time of the next look for the same command
        self.last_problem = ""


class InferenceThread(Generic[M, C]):
    """Answers what is asked of each camera on its newest image, until it is stopped."""

    def __init__(self, sources: Sequence[Source[M]], steps: Steps[C]) -> None:
        self._turns = [_Turn(source) for source in sources]  # who is to be served first
        self._turn_of = {id(turn.source): turn for turn in self._turns}
        self._steps = steps
        self._wake = threading.Condition()
        self._woken = False
        self._stopping = False
        self._busy = False
        self._renewals: list[Callable[[], None]] = []  # to call once the encodings are thrown away
        self._epoch = 0  # counts jumps of time; what was begun before one is thrown away
        self._encoded: tuple[M, Frame, C] | None = None  # the newest encoding and its image
        self._answered = 0
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    @property
    def busy(self) -> bool:
        """Whether an image is being looked at right now."""
        return self._busy

    @property
    def answered(self) -> int:
        """Number of looks that became an answer."""
        return self._answered

    def last_problem(self, source: Source[M]) -> str:
        """Why the newest image of a camera was not used, "" if it was."""
        return self._turn_of[id(source)].last_problem

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

    def renew(self, then: Callable[[], None]) -> None:
        """Encode anew from the next look on, because another model encodes now.

        Args:
            then: called from the thread, between two looks, when nothing of before is held here.
        """
        with self._wake:
            self._renewals.append(then)
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
                renewals, self._renewals = self._renewals, []
            for then in renewals:
                self._encoded = None
                then()
            pause_s = self._work()

    def _work(self) -> float | None:
        """Serve the first camera with work; returns how long to sleep unless woken, None for ever.

        Who was served goes to the end of the queue.
        """
        pauses = []
        for turn in tuple(self._turns):
            try:
                pause_s = self._serve(turn)
            except Exception as caught:  # nothing that a step does may end the thread
                pause_s = None
                turn.last_problem = f"the last answer failed: {_one_line(caught)}"
                self._steps.report(f"answer failed: {_one_line(caught)}")
            if pause_s == 0.0:
                self._turns.remove(turn)
                self._turns.append(turn)
                return 0.0
            if pause_s is not None:
                pauses.append(pause_s)
        return min(pauses, default=None)

    def _serve(self, turn: _Turn[M]) -> float | None:
        """Look at one image if there is reason to; 0 if so, else how long there will be none."""
        source = turn.source
        for errand in source.desk.errands:
            if errand.image is not None:
                self._look(turn, Arrival(0, errand.image), None, (errand,))
                return 0.0
        arrival = source.slot.peek()
        if arrival is None:
            return None
        limits = source.limits()
        age_ns = self._age_ns(turn, arrival)
        if is_stale(age_ns, limits.max_age_ns):
            turn.last_problem = f"the newest image is {age_text(age_ns)}"
            return None
        errands = self._due_errands(turn, arrival)
        request, pause_s = self._due_request(turn, arrival)
        if request is None and not errands:
            return pause_s
        if request is not None:
            turn.next_due_s = time.monotonic() + limits.period_s
            arrival = self._begun(source, arrival)
        self._look(turn, arrival, request, errands)
        return 0.0

    def _begun(self, source: Source[M], arrival: Arrival[M]) -> Arrival[M]:
        try:
            return source.begin(arrival)
        except ValueError:
            return arrival  # malformed, as the look will tell

    def _due_errands(self, turn: _Turn[M], arrival: Arrival[M]) -> tuple[Errand, ...]:
        """Errands that this image is for and that were not answered on it."""
        stamp_ns = turn.source.stamp_ns(arrival.item)
        return tuple(
            errand
            for errand in turn.source.desk.errands
            if stamp_ns >= errand.after_ns and errand.last_number != arrival.number
        )

    def _due_request(
        self, turn: _Turn[M], arrival: Arrival[M]
    ) -> tuple[Request | None, float | None]:
        """The command in force if it is to be answered now, else in how many seconds it may be."""
        request = turn.source.desk.current
        if request is None or turn.finished == (arrival.number, request.request_id):
            return None, None
        if turn.source.desk.needs_first_answer(request):
            return request, None
        early_s = turn.next_due_s - time.monotonic()
        if early_s > 0:
            return None, early_s
        return (request, None) if turn.source.wants(request) else (None, None)

    def _look(
        self,
        turn: _Turn[M],
        arrival: Arrival[M],
        asked: Request | None,
        errands: Sequence[Errand],
    ) -> None:
        """Look at one image for the command in force and for errands, and answer them."""
        source = turn.source
        began_ns, epoch = time.monotonic_ns(), self._epoch
        source.slot.mark_read(arrival.number)
        try:
            frame = self._frame(source, arrival.item)
        except Exception as caught:  # a conversion that is not ours may raise anything
            reason = str(caught) if isinstance(caught, ValueError) else _one_line(caught)
            self._refuse(turn, arrival, errands, reason)
            return
        turn.last_problem = ""
        failure: Exception | None = None
        try:
            self._context(arrival.item, frame)  # takes longest; what is asked is read after it
        except Exception as caught:
            failure = caught
        if asked is not None:
            # A command that came during the encoding is answered on this image, if that is not too
            # old by now.
            request = source.desk.current
            grown_old = is_stale(self._age_ns(turn, arrival), source.limits().max_age_ns)
            if request is not None and (request is asked or not grown_old):
                result = self._answer(request, arrival.item, frame, began_ns, failure)
                if epoch != self._epoch:
                    return
                turn.finished = (arrival.number, request.request_id)
                self._answered += source.publish(result)
                if result.hopeless:
                    source.desk.drop(request)
        for errand in errands:
            if errand not in source.desk.errands:
                continue
            result = self._answer(errand.request, arrival.item, frame, began_ns, failure)
            if epoch != self._epoch:
                return
            errand.last_number = arrival.number
            errand.waiting_since_ns = self._steps.now_ns()
            self._answered += 1
            if not source.deliver(errand, result) or result.hopeless:
                source.desk.remove(errand)

    def _answer(
        self,
        request: Request,
        image: M,
        frame: Frame,
        began_ns: int,
        failure: Exception | None,
    ) -> Result[M]:
        """Ask the model; the one place where a failure becomes an answer."""
        segmentations: Sequence[Segmentation] = ()
        hopeless, model, context = False, "", None
        if failure is None:
            try:
                context = self._context(image, frame)
                model = self._steps.model(context)
                segmentations = self._steps.segment(context, request)
            except Exception as caught:
                failure, hopeless = caught, isinstance(caught, ValueError)
        if failure is not None:
            self._steps.report(f"inference failed: {_one_line(failure)}")
        return Result(
            request=request,
            image=image,
            frame=frame,
            segmentations=segmentations,
            began_ns=began_ns,
            model=model,
            encoded=context,
            error=_one_line(failure) if failure else "",
            hopeless=hopeless,
        )

    def _refuse(
        self, turn: _Turn[M], arrival: Arrival[M], errands: Sequence[Errand], reason: str
    ) -> None:
        """Leave a malformed image; only who has sent it along with a request is told."""
        source = turn.source
        turn.last_problem = f"the newest image is malformed: {reason}"
        self._steps.report(f"image ignored: {reason}")
        source.slot.discard(arrival.number)
        for errand in errands:
            if errand.image is not None:
                notice = Notice(request=errand.request, ending=Ending.REFUSED, text=reason)
                source.deliver(errand, notice)
                source.desk.remove(errand)

    def _age_ns(self, turn: _Turn[M], arrival: Arrival[M]) -> int:
        return self._steps.now_ns() - turn.source.stamp_ns(arrival.item)

    def _frame(self, source: Source[M], image: M) -> Frame:
        if self._encoded is not None and self._encoded[0] is image:
            return self._encoded[1]
        return source.frame(image)

    def _context(self, image: M, frame: Frame) -> C:
        if self._encoded is None or self._encoded[0] is not image:
            self._encoded = None  # frees its memory before the next one needs it
            self._encoded = (image, frame, self._steps.encode(frame))
        return self._encoded[2]


def is_stale(age_ns: int, max_age_ns: int) -> bool:
    """Whether an image is too old, or stamped as far ahead of time; 0 is no limit."""
    return bool(max_age_ns) and abs(age_ns) > max_age_ns


def age_text(age_ns: int) -> str:
    """An age for people."""
    return f"{age_ns / 1e9:.3f} s old" if age_ns >= 0 else f"{-age_ns / 1e9:.3f} s ahead of time"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
