# SPDX-License-Identifier: Apache-2.0
"""The thread that keeps the last answer on the newest image, at the camera's rate.

Between two looks of the model it follows the masks by optical flow; an answer that arrives late is
carried forward before it goes out. The inference thread asks it which images are worth a look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mllmseg_ros.ros.node.camera_image import Shot
from mllmseg_ros.ros.node.frame_slot import Arrival, FrameSlot
from mllmseg_ros.ros.node.request import Request, RequestDesk
from mllmseg_ros.segmentation import Segmentation
from mllmseg_ros.tracking.tracker import Tracked, Tracker

__all__ = ["Followed", "Following"]


@dataclass(frozen=True, kw_only=True)
class Followed:
    """An answer on the newest image."""

    request: Request
    shot: Shot
    tracks: Sequence[Tracked]
    latency_ns: int  # from taking up the image


class Following:
    """Follows the answers to the command in force. All methods may be called from any thread."""

    def __init__(
        self,
        desk: RequestDesk,
        slot: FrameSlot[Shot],
        *,
        period_s: Callable[[], float],
        is_stale: Callable[[Shot], bool],
        publish: Callable[[Followed], bool],
        wake_inference: Callable[[], None],
        report: Callable[[str], None],
    ) -> None:
        """Set up.

        Args:
            desk: tells the command in force.
            slot: the camera's newest image.
            period_s: s, shortest time between two answers, 0 for none.
            is_stale: whether an image is too old to answer on.
            publish: sends an answer out; False if its command is no longer in force.
            wake_inference: called when an image has been followed that may be worth a look.
            report: takes one line about something that failed.
        """
        self._desk, self._slot = desk, slot
        self._period_s, self._is_stale = period_s, is_stale
        self._publish, self._wake_inference, self._report = publish, wake_inference, report
        self._lock = threading.RLock()  # around all below
        self._tracker = Tracker()
        self._newest: Arrival[Shot] | None = None  # seen last
        self._key = 0  # of the image that is at the model, or was last
        self._request: Request | None = None  # whose answers are followed
        self._look_again = False
        self._looks_in_vain = 0
        self._next_due_s = 0.0  # monotonic
        self._wake = threading.Condition()
        self._woken = self._stopping = False
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        with self._wake:
            self._stopping = self._woken = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def wake(self) -> None:
        """Look: there is a new image."""
        with self._wake:
            self._woken = True
            self._wake.notify()

    def begin(self, arrival: Arrival[Shot]) -> Arrival[Shot]:
        """Choose the image for the model's next look: the newest that can be followed from.

        Args:
            arrival: the newest one that the caller knows.

        Raises:
            ValueError: if it is malformed.
        """
        with self._lock:
            self._see(arrival)
            assert self._newest is not None
            self._key = self._tracker.begin()
            self._look_again = False
            return self._newest

    def finish(
        self, request: Request, shot: Shot, segmentations: Sequence[Segmentation], began_ns: int
    ) -> bool:
        """Take the model's answers and publish them, carried to the newest image.

        Args:
            request: what was asked.
            shot: image that was looked at.
            segmentations: one per expression, in the order asked.
            began_ns: monotonic time at which that image was taken up.

        Returns:
            False if the answers came to nothing: the picture has jumped since, or another command
            is in force.
        """
        try:
            depth = shot.depth()
        except ValueError:
            depth = None  # the answer will say why
        with self._lock:
            if request is not self._desk.current:
                return False
            if not self._tracker.finish(self._key, segmentations, depth):
                self._looks_in_vain += 1
                return False
            self._looks_in_vain = 0
            self._request = request
            return self._send(began_ns)

    @property
    def looks_in_vain(self) -> int:
        """How many answers in a row came to nothing: the picture jumps faster than they come."""
        return self._looks_in_vain

    def wants_look(self, now_ns: int, key_age_s: float) -> bool:
        """Whether a look of the model would tell more than following does."""
        with self._lock:
            self._tracker.key_age_s = key_age_s
            return self._look_again or bool(self._tracker.wants_key_frame(now_ns))

    def look_again(self) -> None:
        """Have the next image looked at, because the model decides otherwise from now on."""
        with self._lock:
            self._look_again = True

    def release(self) -> None:
        """Show nothing any more, for another command came."""
        with self._lock:
            self._tracker.release()
            self._request = None

    def forget(self) -> None:
        """Forget images, answers and identities, because time has jumped."""
        with self._lock:
            self._tracker.forget()
            self._newest = self._request = None

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._woken)
                self._woken = False
                if self._stopping:
                    return
            try:
                self._follow()
            except ValueError:
                pass  # malformed: the inference thread says so
            except Exception as caught:  # nothing that a step does may end the thread
                self._report(f"following failed: {type(caught).__name__}: {caught}")
                self.forget()
            self._wake_inference()

    def _follow(self) -> None:
        """Take the newest image in, and answer on it what is known."""
        arrival = self._slot.peek()
        if arrival is None or self._desk.current is None:
            return
        began_ns = time.monotonic_ns()
        with self._lock:
            if self._newest is not None and arrival.number <= self._newest.number:
                return
            self._see(arrival)
            if self._request is not None and time.monotonic() >= self._next_due_s:
                self._send(began_ns)

    def _see(self, arrival: Arrival[Shot]) -> None:
        if self._newest is not None and arrival.number <= self._newest.number:
            return
        frame = arrival.item.frame()
        try:
            depth = arrival.item.depth()
        except ValueError:
            depth = None
        self._tracker.see(frame, depth)
        self._newest = arrival
        self._slot.mark_read(arrival.number)

    def _send(self, began_ns: int) -> bool:
        """Publish what is known of the newest image."""
        assert self._newest is not None
        assert self._request is not None
        if self._is_stale(self._newest.item):
            return False
        tracks = self._tracker.current()
        if not tracks:
            return False
        self._next_due_s = time.monotonic() + self._period_s()
        followed = Followed(
            request=self._request,
            shot=self._newest.item,
            tracks=tracks,
            latency_ns=time.monotonic_ns() - began_ns,
        )
        return self._publish(followed)
