# SPDX-License-Identifier: Apache-2.0
"""The inference thread with arithmetic in place of a model: an image is its stamp."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from mllmseg_ros.frame import Frame
from mllmseg_ros.ros.node.frame_slot import Arrival, FrameSlot
from mllmseg_ros.ros.node.inference import InferenceThread, Limits, Result, Steps
from mllmseg_ros.ros.node.request import Ending, Errand, Notice, Reception, Request, RequestDesk

SECOND = 1_000_000_000


class Camera:
    """A source; ``broken`` is what publishing raises."""

    def __init__(self, rig: Rig) -> None:
        self.desk, self.slot = RequestDesk(), FrameSlot()
        self.rig = rig
        self.period_s = 0.0
        self.wanted = True
        self.begun: list[int] = []
        self.results: queue.Queue[Result] = queue.Queue()
        self.broken: Exception | None = None

    def stamp_ns(self, image: int) -> int:
        return abs(image)

    def frame(self, image: int) -> Frame:
        if image < 0:
            raise ValueError("malformed")
        return Frame(rgb=np.zeros((2, 2, 3), np.uint8), stamp_ns=image, frame_id="camera")

    def limits(self) -> Limits:
        return Limits(max_age_ns=SECOND, period_s=self.period_s)

    def wants(self, request: Request) -> bool:
        return self.wanted

    def begin(self, arrival: Arrival) -> Arrival:
        self.begun.append(arrival.item)
        return arrival

    def publish(self, result: Result) -> bool:
        if self.broken is not None:
            raise self.broken
        if not self.desk.claim(result.request, self.rig.now_ns):
            return False
        self.results.put(result)
        return True

    def deliver(self, errand: Errand, outcome: Result | Notice) -> bool:
        return errand.deliver(outcome)

    def result(self) -> tuple[str, int]:
        result = self.results.get(timeout=10)
        return result.request.text, result.frame.stamp_ns


class Rig:
    """Cameras and the thread; ``gate`` holds the encoder where a test asks for it."""

    def __init__(self, n_cameras: int = 1) -> None:
        self.reception = Reception()
        self.now_ns = 100 * SECOND
        self.encoded: list[int] = []
        self.reports: list[str] = []
        self.model = "first"
        self.gate = threading.Event()
        self.gate.set()
        self.encoding = threading.Event()
        self.failure: Exception | None = None
        self.cameras = [Camera(self) for _ in range(n_cameras)]
        self.camera = self.cameras[0]
        self.desk, self.slot = self.camera.desk, self.camera.slot
        self.results = self.camera.results
        steps = Steps(
            now_ns=lambda: self.now_ns,
            encode=self.encode,
            model=lambda context: self.model,
            segment=self.segment,
            report=self.reports.append,
        )
        self.thread = InferenceThread(self.cameras, steps)
        self.thread.start()

    def encode(self, frame: Frame) -> int:
        self.encoding.set()
        self.gate.wait(10)
        self.encoded.append(frame.stamp_ns)
        return frame.stamp_ns

    def segment(self, context: int, request: Request) -> list:
        if self.failure is not None:
            raise self.failure
        return []

    def image(self, stamp_ns: int, camera: int = 0) -> None:
        self.cameras[camera].slot.put(stamp_ns)
        self.thread.wake()

    def command(self, text: str, camera: int = 0) -> list:
        desk = self.cameras[camera].desk
        notices = desk.submit(self.reception.receive(text, self.now_ns))
        self.thread.wake()
        return notices

    def errand(
        self, text: str, image: int | None = None, wants_more: bool = False
    ) -> queue.Queue[Result | Notice]:
        """Ask like a service, or like an action where it wants more."""
        outcomes: queue.Queue[Result | Notice] = queue.Queue()

        def deliver(outcome: Result | Notice) -> bool:
            outcomes.put(outcome)
            return wants_more

        request = self.reception.receive(text, self.now_ns)
        self.desk.add(Errand(request, deliver, image))
        self.thread.wake()
        return outcomes

    def result(self) -> tuple[str, int]:
        return self.camera.result()

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
    assert "3600.000 s ahead of time" in rig.thread.last_problem(rig.camera)
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)


def test_whatever_a_step_raises_the_thread_goes_on(rig: Rig) -> None:
    rig.camera.broken = KeyError("publisher")
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.is_quiet()
    assert rig.reports == ["answer failed: KeyError: 'publisher'"]
    assert not rig.thread.busy
    rig.camera.broken = None
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
    assert "malformed" in rig.thread.last_problem(rig.camera)
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)
    assert rig.thread.last_problem(rig.camera) == ""


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
    rig.camera.period_s = 60.0
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)
    rig.image(100 * SECOND + 1)
    assert rig.is_quiet()
    rig.command("the bowl")
    assert rig.result() == ("the bowl", 100 * SECOND + 1)
    rig.camera.period_s = 0.0
    rig.thread.wake()
    assert rig.is_quiet()


def test_an_errand_is_answered_on_an_image_from_after_it(rig: Rig) -> None:
    rig.image(100 * SECOND - 1)
    outcomes = rig.errand("the mug")
    assert outcomes.empty()
    rig.image(100 * SECOND)
    outcome = outcomes.get(timeout=10)
    assert (outcome.request.text, outcome.frame.stamp_ns) == ("the mug", 100 * SECOND)
    assert rig.encoded == [100 * SECOND]
    rig.image(100 * SECOND + 1)
    assert rig.is_quiet()
    assert outcomes.empty()  # one answer
    assert rig.desk.errands == ()


def test_an_errand_shares_the_encoding_with_the_command(rig: Rig) -> None:
    outcomes = rig.errand("the bowl", wants_more=True)
    rig.command("the mug")
    for stamp_ns in (100 * SECOND, 100 * SECOND + 1):
        rig.image(stamp_ns)
        assert rig.result() == ("the mug", stamp_ns)
        assert outcomes.get(timeout=10).frame.stamp_ns == stamp_ns
    assert rig.encoded == [100 * SECOND, 100 * SECOND + 1]


def test_an_errand_with_an_image_of_its_own_leaves_the_camera_s_alone(rig: Rig) -> None:
    outcomes = rig.errand("the mug", image=7)
    assert outcomes.get(timeout=10).frame.stamp_ns == 7  # however old
    assert rig.slot.peek() is None
    malformed = rig.errand("the mug", image=-7).get(timeout=10)
    assert isinstance(malformed, Notice)
    assert (malformed.ending, malformed.text) == (Ending.REFUSED, "malformed")
    assert rig.desk.errands == ()


def test_an_errand_that_fails_is_told(rig: Rig) -> None:
    rig.failure = ValueError("too long")
    outcome = rig.errand("the mug", image=7, wants_more=True).get(timeout=10)
    assert outcome.error == "ValueError: too long"
    assert rig.is_quiet()
    assert rig.desk.errands == ()  # it would fail for ever


def test_no_further_look_where_none_is_wanted(rig: Rig) -> None:
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)
    rig.camera.wanted = False
    rig.image(100 * SECOND + 1)
    assert rig.is_quiet()
    rig.command("the bowl")
    assert rig.result() == ("the bowl", 100 * SECOND + 1)
    assert rig.camera.begun == [100 * SECOND, 100 * SECOND + 1]


def test_cameras_take_turns() -> None:
    rig = Rig(n_cameras=3)
    rig.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.encoding.wait(10)
    for camera in (1, 2):
        rig.command("the mug", camera)
        rig.image(100 * SECOND + camera, camera)
    rig.image(100 * SECOND + 10)  # the first camera is fastest, and has to wait all the same
    rig.gate.set()
    for camera in (0, 1, 2, 0):
        rig.cameras[camera].result()
    assert rig.encoded == [100 * SECOND + offset for offset in (0, 1, 2, 10)]
    rig.thread.stop()


def test_one_camera_that_fails_does_not_keep_another_waiting() -> None:
    rig = Rig(n_cameras=2)
    rig.cameras[0].broken = KeyError("publisher")
    for camera in (0, 1):
        rig.command("the mug", camera)
    rig.image(100 * SECOND)
    rig.image(100 * SECOND + 1, 1)
    assert rig.cameras[1].result() == ("the mug", 100 * SECOND + 1)
    rig.thread.stop()


def test_another_model_takes_over_between_two_looks(rig: Rig) -> None:
    rig.image(99 * SECOND)
    rig.gate.clear()
    rig.command("mug")
    assert rig.encoding.wait(10)
    rig.model = "second"
    renewed = threading.Event()
    rig.thread.renew(renewed.set)
    assert not renewed.wait(0.2)  # a look is under way
    rig.gate.set()
    assert rig.result() == ("mug", 99 * SECOND)
    assert renewed.wait(10)
    rig.command("bowl")  # on the same image, which is encoded anew
    assert rig.result() == ("bowl", 99 * SECOND)
    assert rig.encoded == [99 * SECOND, 99 * SECOND]


def test_a_result_names_the_model_that_looked(rig: Rig) -> None:
    rig.image(99 * SECOND)
    rig.command("mug")
    assert rig.results.get(timeout=10).model == "first"
    rig.model = "second"
    rig.command("bowl")
    assert rig.results.get(timeout=10).model == "second"
