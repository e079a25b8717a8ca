# SPDX-License-Identifier: Apache-2.0
"""Recognise speech in a background thread.

Audio is queued up to a limit. If recognition is too slow, the oldest audio is dropped, together
with the utterance that it belongs to. A failure costs the utterance in which it happens, and is
reported. Does not use ROS.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from mllmseg_ros.error_text import one_line
from mllmseg_ros.speech.activity import Endpointer
from mllmseg_ros.speech.audio import SAMPLE_RATE, Samples, Utterance
from mllmseg_ros.speech.decision import Decision, Dialogue
from mllmseg_ros.speech.transcription import Recogniser, Transcription

__all__ = ["Listener"]

QUEUE_S = 20.0  # maximum length of queued audio
HELD_S = 1.5  # without a repetition, the push-to-talk button counts as released


@dataclass(frozen=True, kw_only=True)
class RecognisedUtterance:
    """A recognised utterance and the decision on it."""

    transcription: Transcription
    decision: Decision
    start_s: float  # of the speech, on the clock of the caller of feed()
    end_s: float


@dataclass(frozen=True)
class _ButtonEvent:
    """A press or release of the push-to-talk button."""

    pressed: bool
    is_lost: bool = False  # released because the press was not repeated


class Listener:
    """Recognises audio in a background thread; feeding never blocks.

    Attributes:
        dropped_s: length of the audio dropped because recognition was too slow.
    """

    def __init__(
        self,
        endpointer: Endpointer,
        recogniser: Recogniser,
        dialogue: Dialogue,
        on_utterance: Callable[[RecognisedUtterance], None],
        on_problem: Callable[[str], None],
        *,
        push_to_talk: bool = False,
    ) -> None:
        """Start the thread.

        Args:
            endpointer: detects utterances.
            recogniser: used in the thread only.
            dialogue: decides which utterances are commands.
            on_utterance: called in the thread with each utterance.
            on_problem: called in the thread with one line about a failure, after which it goes on.
            push_to_talk: recognise speech only while a button is held; see
                :meth:`set_talk_button`.
        """
        self.dropped_s = 0.0
        self._endpointer, self._recogniser = endpointer, recogniser
        self._dialogue = dialogue
        self._on_utterance, self._on_problem = on_utterance, on_problem
        self._condition = threading.Condition()
        self._queue: deque[tuple[Samples, float] | _ButtonEvent | None] = deque()
        self._queued_s = 0.0
        self._closed = False
        self._pressed_until_s = math.inf  # monotonic
        self._is_pressed = False  # as queued; the thread is behind
        self._is_listening = not push_to_talk
        self._must_reset = False  # after a failure
        self._offset_s = 0.0  # from the endpointer's clock to the caller's
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def feed(self, samples: Samples, end_s: float) -> None:
        """Add audio whose last sample was recorded at ``end_s``."""
        if not len(samples):
            return
        with self._condition:
            self._release_if_lost()
            self._queue.append((samples, end_s))
            self._queued_s += len(samples) / SAMPLE_RATE
            while self._queued_s > QUEUE_S:
                self._drop_oldest()
            self._condition.notify()

    def set_talk_button(self, pressed: bool) -> None:
        """Press or release the push-to-talk button.

        A press must be repeated while the button is held. HELD_S after the last repetition it is
        released, and what was said is discarded: whoever held it may be gone.
        """
        with self._condition:
            self._release_if_lost()
            self._pressed_until_s = time.monotonic() + HELD_S if pressed else math.inf
            if pressed != self._is_pressed:
                self._is_pressed = pressed
                self._queue.append(_ButtonEvent(pressed))
            self._condition.notify()

    def _release_if_lost(self) -> None:
        if time.monotonic() >= self._pressed_until_s:
            self._pressed_until_s, self._is_pressed = math.inf, False
            self._queue.append(_ButtonEvent(pressed=False, is_lost=True))

    def reset(self) -> None:
        """Drop queued audio and the current utterance."""
        with self._condition:
            button_events = [item for item in self._queue if isinstance(item, _ButtonEvent)]
            self._queue = deque([None, *button_events[-1:]])
            self._queued_s = 0.0
            self._condition.notify()

    def close(self) -> None:
        """End the thread, after the recognition in progress."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _drop_oldest(self) -> None:
        for at, item in enumerate(self._queue):
            if isinstance(item, tuple):
                seconds = len(item[0]) / SAMPLE_RATE
                self._queued_s -= seconds
                self.dropped_s += seconds
                self._queue[at] = None  # a gap, which ends the current utterance
                if at and self._queue[at - 1] is None:
                    del self._queue[at]
                return

    def _run(self) -> None:
        while True:
            with self._condition:
                left_s = self._pressed_until_s - time.monotonic()
                self._condition.wait_for(
                    lambda: self._queue or self._closed,
                    None if math.isinf(left_s) else max(0.0, left_s),
                )
                if self._closed:
                    return
                self._release_if_lost()
                if not self._queue:
                    continue
                item = self._queue.popleft()
                if isinstance(item, tuple):
                    self._queued_s -= len(item[0]) / SAMPLE_RATE
            try:
                for utterance in self._find_utterances(item):
                    self._recognise(utterance)
            except BaseException as error:  # the panic of a tokenizer is not an Exception
                self._must_reset = True
                self._on_problem(f"audio is lost: {one_line(error)}")

    def _find_utterances(
        self, item: tuple[Samples, float] | _ButtonEvent | None
    ) -> list[Utterance]:
        if item is None:
            self._endpointer.reset()
            return []
        if self._must_reset:
            self._endpointer.reset()
            self._must_reset = False
        if isinstance(item, _ButtonEvent):
            was_pressed, self._is_listening = self._is_listening, item.pressed
            if item.is_lost:
                self._on_problem(
                    f"push_to_talk was not repeated for {HELD_S} s: it is released, and what was "
                    "said is discarded"
                )
            if item.is_lost or (item.pressed and not was_pressed):
                self._endpointer.reset()
            return (
                self._to_feeder_clock(self._endpointer.flush())
                if was_pressed and not item.pressed
                else []
            )
        if not self._is_listening:
            return []
        samples, end_s = item
        utterances = self._endpointer.feed(samples)
        self._offset_s = end_s - self._endpointer.fed_s
        return self._to_feeder_clock(utterances)

    def _to_feeder_clock(self, utterances: list[Utterance]) -> list[Utterance]:
        """Convert times to the clock of the caller of feed()."""
        return [
            replace(each, start_s=each.start_s + self._offset_s, end_s=each.end_s + self._offset_s)
            for each in utterances
        ]

    def _recognise(self, utterance: Utterance) -> None:
        try:
            transcription = self._recogniser(utterance)
            decision = self._dialogue.decide(transcription, clipped=utterance.is_clipped)
        except BaseException as error:  # of a model; the next utterance may succeed
            transcription = Transcription(text="", confidence=0.0)
            decision = Decision(command="", reason=f"recognition failed: {one_line(error)}")
        self._on_utterance(
            RecognisedUtterance(
                transcription=transcription,
                decision=decision,
                start_s=utterance.start_s,
                end_s=utterance.end_s,
            )
        )
