# SPDX-License-Identifier: Apache-2.0
"""From audio to decisions, in a thread of its own.

Audio waits in a queue of bounded length; where recognition falls behind, the oldest goes, and the
utterance that lacks it is dropped with it. Knows nothing of ROS.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from mllmseg_ros.speech.activity import Endpointer
from mllmseg_ros.speech.audio import SAMPLE_RATE, Samples, Utterance
from mllmseg_ros.speech.decision import Decision, Rules, decide
from mllmseg_ros.speech.transcription import Recogniser, Transcription

__all__ = ["Listener"]

QUEUE_S = 20.0  # of audio that may wait


@dataclass(frozen=True, kw_only=True)
class Heard:
    """An utterance, what it says, and what becomes of it."""

    words: Transcription
    decision: Decision
    start_s: float  # of the speech, on the clock of who fed the audio
    end_s: float


@dataclass(frozen=True)
class _Hold:
    """The button of push-to-talk."""

    pressed: bool


class Listener:
    """Recognises what is fed to it; feeding never waits.

    Attributes:
        dropped_s: audio that was dropped because recognition was behind.
    """

    def __init__(
        self,
        endpointer: Endpointer,
        recogniser: Recogniser,
        rules: Rules,
        on_heard: Callable[[Heard], None],
        *,
        push_to_talk: bool = False,
    ) -> None:
        """Start the thread.

        Args:
            endpointer: finds utterances.
            recogniser: used in the thread only.
            rules: what becomes a command; may be set anew at any time.
            on_heard: called in the thread.
            push_to_talk: hear only what is said while a button is held; see :meth:`hold`.
        """
        self.rules = rules
        self.dropped_s = 0.0
        self._endpointer, self._recogniser, self._on_heard = endpointer, recogniser, on_heard
        self._changed = threading.Condition()
        self._queue: deque[tuple[Samples, float] | _Hold | None] = deque()
        self._waiting_s = 0.0
        self._closed = False
        self._hears = not push_to_talk
        self._offset_s = 0.0  # of the feeder's clock to the endpointer's
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def feed(self, samples: Samples, end_s: float) -> None:
        """Take audio whose last sample is of the time ``end_s``."""
        if not len(samples):
            return
        with self._changed:
            self._queue.append((samples, end_s))
            self._waiting_s += len(samples) / SAMPLE_RATE
            while self._waiting_s > QUEUE_S:
                self._drop_oldest()
            self._changed.notify()

    def hold(self, pressed: bool) -> None:
        """Press or release the button."""
        with self._changed:
            if not self._queue or self._queue[-1] != _Hold(pressed):  # told again and again
                self._queue.append(_Hold(pressed))
            self._changed.notify()

    def forget(self) -> None:
        """Drop what waits and what was begun: what came until now is not for us."""
        with self._changed:
            holds = [item for item in self._queue if isinstance(item, _Hold)]
            self._queue = deque([None, *holds[-1:]])
            self._waiting_s = 0.0
            self._changed.notify()

    def close(self) -> None:
        """End the thread; an utterance that is being recognised is waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _drop_oldest(self) -> None:
        for at, item in enumerate(self._queue):
            if isinstance(item, tuple):
                seconds = len(item[0]) / SAMPLE_RATE
                self._waiting_s -= seconds
                self.dropped_s += seconds
                self._queue[at] = None  # a gap: what was begun does not go on after it
                if at and self._queue[at - 1] is None:
                    del self._queue[at]
                return

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                item = self._queue.popleft()
                if isinstance(item, tuple):
                    self._waiting_s -= len(item[0]) / SAMPLE_RATE
            for utterance in self._utterances(item):
                self._recognise(utterance)

    def _utterances(self, item: tuple[Samples, float] | _Hold | None) -> list[Utterance]:
        if item is None:
            self._endpointer.reset()
            return []
        if isinstance(item, _Hold):
            was_held, self._hears = self._hears, item.pressed
            if item.pressed and not was_held:
                self._endpointer.reset()
            return self._timed(self._endpointer.flush()) if was_held and not item.pressed else []
        if not self._hears:
            return []
        samples, end_s = item
        found = self._endpointer.feed(samples)
        self._offset_s = end_s - self._endpointer.fed_s
        return self._timed(found)

    def _timed(self, utterances: list[Utterance]) -> list[Utterance]:
        """On the clock of who fed them."""
        return [
            replace(each, start_s=each.start_s + self._offset_s, end_s=each.end_s + self._offset_s)
            for each in utterances
        ]

    def _recognise(self, utterance: Utterance) -> None:
        try:
            words = self._recogniser(utterance)
            decision = decide(words, self.rules, clipped=utterance.is_clipped)
        except (RuntimeError, ValueError) as error:  # of a model; the next utterance may pass
            words = Transcription(text="", confidence=0.0)
            decision = Decision(command="", reason=f"recognition failed: {error}")
        self._on_heard(
            Heard(
                words=words,
                decision=decision,
                start_s=utterance.start_s,
                end_s=utterance.end_s,
            )
        )
