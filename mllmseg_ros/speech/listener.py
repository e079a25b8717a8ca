# SPDX-License-Identifier: Apache-2.0
"""Recognise speech in a background thread.

Audio is queued up to a limit. If recognition is too slow, the oldest audio is dropped, together
with the utterance that it belongs to. Does not use ROS.
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

QUEUE_S = 20.0  # maximum length of queued audio


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


class Listener:
    """Recognises audio in a background thread; feeding never blocks.

    Attributes:
        dropped_s: length of the audio dropped because recognition was too slow.
    """

    def __init__(
        self,
        endpointer: Endpointer,
        recogniser: Recogniser,
        rules: Rules,
        on_utterance: Callable[[RecognisedUtterance], None],
        *,
        push_to_talk: bool = False,
    ) -> None:
        """Start the thread.

        Args:
            endpointer: detects utterances.
            recogniser: used in the thread only.
            rules: which utterances are commands; can be replaced at any time.
            on_utterance: called in the thread with each utterance.
            push_to_talk: recognise speech only while a button is held; see
                :meth:`set_talk_button`.
        """
        self.rules = rules
        self.dropped_s = 0.0
        self._endpointer, self._recogniser, self._on_utterance = (
            endpointer,
            recogniser,
            on_utterance,
        )
        self._condition = threading.Condition()
        self._queue: deque[tuple[Samples, float] | _ButtonEvent | None] = deque()
        self._queued_s = 0.0
        self._closed = False
        self._is_listening = not push_to_talk
        self._offset_s = 0.0  # from the endpointer's clock to the caller's
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def feed(self, samples: Samples, end_s: float) -> None:
        """Add audio whose last sample was recorded at ``end_s``."""
        if not len(samples):
            return
        with self._condition:
            self._queue.append((samples, end_s))
            self._queued_s += len(samples) / SAMPLE_RATE
            while self._queued_s > QUEUE_S:
                self._drop_oldest()
            self._condition.notify()

    def set_talk_button(self, pressed: bool) -> None:
        """Press or release the push-to-talk button."""
        with self._condition:
            if not self._queue or self._queue[-1] != _ButtonEvent(pressed):  # repeated messages
                self._queue.append(_ButtonEvent(pressed))
            self._condition.notify()

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
                self._condition.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                item = self._queue.popleft()
                if isinstance(item, tuple):
                    self._queued_s -= len(item[0]) / SAMPLE_RATE
            for utterance in self._find_utterances(item):
                self._recognise(utterance)

    def _find_utterances(
        self, item: tuple[Samples, float] | _ButtonEvent | None
    ) -> list[Utterance]:
        if item is None:
            self._endpointer.reset()
            return []
        if isinstance(item, _ButtonEvent):
            was_pressed, self._is_listening = self._is_listening, item.pressed
            if item.pressed and not was_pressed:
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
            decision = decide(transcription, self.rules, clipped=utterance.is_clipped)
        except (RuntimeError, ValueError) as error:  # of a model; the next utterance may succeed
            transcription = Transcription(text="", confidence=0.0)
            decision = Decision(command="", reason=f"recognition failed: {error}")
        self._on_utterance(
            RecognisedUtterance(
                transcription=transcription,
                decision=decision,
                start_s=utterance.start_s,
                end_s=utterance.end_s,
            )
        )
