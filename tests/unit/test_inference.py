# SPDX-License-Identifier: Apache-2.0
"""The inference thread with arithmetic in place of a model: an image is its stamp."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from mllmseg_ros.frame import Frame
from mllmseg_ros.instances import Located
from mllmseg_ros.ros.frame_slot import FrameSlot
from mllmseg_ros.ros.inference import InferenceThread, Limits, Result, Steps
from mllmseg_ros.ros.request import Ending, Request, RequestDesk

SECOND = 1_000_000_000


class Rig:
    """Slot, desk and thread; ``gate`` holds the encoder where a test asks for it."""

    def __init__(self) -> None:
        self.desk, self.slot = RequestDesk(), FrameSlot()
        self.now_ns, self.period_s = 100 * SECOND, 0.0
        self.encoded: list[int] = []
        self.results: queue.Queue[Result] = queue.Queue()
        self.reports: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.encoding = threading.Event()
        self.failure: Exception | None = None
        self.broken: Exception | None = None  # what publishing raises
        steps = Steps(
            now_ns=lambda: self.now_ns,
            stamp_ns=lambda message: abs(message),
            to_frame=self.to_frame,
            encode=self.encode,
            segment=self.segment,
            locate=lambda frame, segmentations: Located(instances=()),
            publish=self.publish,
            report=self.reports.append,
        )
        limits = lambda: Limits(max_age_ns=SECOND, period_s=self.period_s)  # noqa: E731
        self.thread = InferenceThread(self.desk, self.slot, steps, limits)
        self.thread.start()

    def to_frame(self, message: int) -> Frame:
        if message < 0:
            raise ValueError("malformed")
        return Frame(rgb=np.zeros((2, 2, 3), np.uint8), stamp_ns=message, frame_id="camera")

    def encode(self, frame: Frame) -> int:
        self.encoding.set()
        self.gate.wait(10)
        self.encoded.append(frame.stamp_ns)
        return frame.stamp_ns

    def segment(self, context: int, request: Request) -> list:
        if self.failure is not None:
            raise self.failure
        return []

    def publish(self, result: Result) -> bool:
        if self.broken is not None:
            raise self.broken
        if not self.desk.claim(result.request, self.now_ns):
            return False
        self.results.put(result)
        return True

    def image(self, stamp_ns: int) -> None:
        self.slot.put(stamp_ns)
        self.thread.wake()

    def command(self, text: str) -> list:
        notices = self.desk.submit(text, self.now_ns).notices
        self.thread.wake()
        return notices

    def result(self) -> tuple[str, int]:
        result = self.results.get(timeout=10)
        return result.request.text, result.frame.stamp_ns

    def is_quiet(self) -> bool:
        try:
            self.results.get(timeout=0.2)
        except queue.Empty:
            return True
        return False


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.gate.set()
    rig.thread.stop()


def test_every_new_image_is_answered_once(rig: Rig) -> None:
    rig.command("the mug")
    for stamp_ns in (100 * SECOND, 100 * SECOND + 1):
        rig.image(stamp_ns)
        assert rig.result() == ("the mug", stamp_ns)
    rig.thread.wake()
    assert rig.is_quiet()


def test_a_new_command_reuses_the_encoding_of_a_fresh_image(rig: Rig) -> None:
    rig.image(100 * SECOND)
    assert rig.is_quiet()
    rig.command("the mug")
    assert rig.result() == ("the mug", 100 * SECOND)
    rig.command("the bowl")
    assert rig.result() == ("the bowl", 100 * SECOND)
    assert rig.encoded == [100 * SECOND]


def test_an_old_image_is_left_and_the_next_one_taken(rig: Rig) -> None:
    rig.image(98 * SECOND)
    rig.command("the mug")
    assert rig.is_quiet()
    rig.image(99 * SECOND + SECOND // 2)
    assert rig.result() == ("the mug", 99 * SECOND + SECOND // 2)


def test_the_newest_image_wins_and_the_newest_command_too(rig: Rig) -> None:
    rig.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.encoding.wait(10)
    for step in (1, 2, 3):
        rig.image(100 * SECOND + step)
    (notice,) = rig.command("the bowl")
    assert notice.ending is Ending.SUPERSEDED
    rig.gate.set()
    # The command came while the first image was being encoded: it is answered on that one at once.
    assert rig.result() == ("the bowl", 100 * SECOND)
    assert rig.result() == ("the bowl", 100 * SECOND + 3)
    assert rig.is_quiet()
    assert rig.encoded == [100 * SECOND, 100 * SECOND + 3]


def test_a_command_during_the_encoding_is_not_answered_on_what_has_grown_old(rig: Rig) -> None:
    rig.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.encoding.wait(10)
    rig.command("the bowl")
    rig.now_ns = 102 * SECOND
    rig.gate.set()
    assert rig.is_quiet()
    rig.image(102 * SECOND)
    assert rig.result() == ("the bowl", 102 * SECOND)


def test_an_image_from_the_future_is_no_newest_image(rig: Rig) -> None:
    rig.image(3700 * SECOND)
    rig.command("the mug")
    assert rig.is_quiet()
    assert "3600.000 s ahead of time" in rig.thread.last_problem
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)


def test_whatever_a_step_raises_the_thread_goes_on(rig: Rig) -> None:
    rig.broken = KeyError("publisher")
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.is_quiet()
    assert rig.reports == ["answer failed: KeyError: 'publisher'"]
    assert not rig.thread.busy
    rig.broken = None
    rig.image(100 * SECOND + 1)
    assert rig.result() == ("the mug", 100 * SECOND + 1)


def test_stop_during_the_work_silences_it(rig: Rig) -> None:
    rig.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.encoding.wait(10)
    rig.command("stop")
    rig.gate.set()
    assert rig.is_quiet()


def test_a_jump_of_time_throws_unfinished_work_away(rig: Rig) -> None:
    rig.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.encoding.wait(10)
    rig.slot.clear()
    rig.thread.forget()
    rig.gate.set()
    assert rig.is_quiet()
    rig.now_ns = 5 * SECOND
    rig.image(5 * SECOND)
    assert rig.result() == ("the mug", 5 * SECOND)


def test_a_malformed_image_is_reported_and_the_next_one_taken(rig: Rig) -> None:
    rig.command("the mug")
    rig.image(-100 * SECOND)
    assert rig.is_quiet()
    assert rig.reports == ["image ignored: malformed"]
    assert "malformed" in rig.thread.last_problem
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)
    assert rig.thread.last_problem == ""


def test_a_failure_is_an_answer_and_the_next_image_is_tried(rig: Rig) -> None:
    rig.failure = RuntimeError("out of\nmemory")
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.results.get(timeout=10).error == "RuntimeError: out of memory"
    rig.failure = None
    rig.image(100 * SECOND + 1)
    assert rig.results.get(timeout=10).error == ""


def test_words_that_the_model_refuses_end_the_command(rig: Rig) -> None:
    rig.failure = ValueError("too long")
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.results.get(timeout=10).error == "ValueError: too long"
    rig.image(100 * SECOND + 1)
    assert rig.is_quiet()
    assert rig.desk.current is None


def test_the_rate_limit_spares_new_commands(rig: Rig) -> None:
    rig.period_s = 60.0
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)
    rig.image(100 * SECOND + 1)
    assert rig.is_quiet()
    rig.command("the bowl")
    assert rig.result() == ("the bowl", 100 * SECOND + 1)
    rig.period_s = 0.0
    rig.thread.wake()
    assert rig.is_quiet()
