# SPDX-License-Identifier: Apache-2.0
"""The inference thread with arithmetic in place of a model: an image is its stamp."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from mllmseg_ros.frame import Frame
from mllmseg_ros.ros.node.current_command import CurrentCommand
from mllmseg_ros.ros.node.frame_slot import Arrival, FrameSlot
from mllmseg_ros.ros.node.inference import InferenceThread
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.private_requests import PrivateRequest, PrivateRequests
from mllmseg_ros.ros.node.request import EndReason, RequestEvent, RequestFactory
from mllmseg_ros.ros.node.result import InferenceResult
from mllmseg_ros.ros.node.tracking_thread import Outcome
from mllmseg_ros.ros.support.parameter_fields import LiveParameters

SECOND = 1_000_000_000


class Image:
    """An image that is its stamp; negative for a malformed one."""

    def __init__(self, stamp_ns: int) -> None:
        self.stamp_ns, self.is_malformed = abs(stamp_ns), stamp_ns < 0
        self.lacks_depth = False

    def frame(self) -> Frame:
        if self.is_malformed:
            raise ValueError("malformed")
        pixels = np.zeros((2, 2, 3), np.uint8)
        return Frame(rgb=pixels, stamp_ns=self.stamp_ns, frame_id="camera")

    def gives_way(self) -> bool:
        return self.lacks_depth


class Tracking:
    """Tracks nothing; ``wanted``: whether a further inference would tell more."""

    def __init__(self) -> None:
        self.wanted = True
        self.begun: list[int] = []

    def needs_inference(self) -> bool:
        return self.wanted

    def begin_inference(self, arrival: Arrival) -> Arrival:
        self.begun.append(arrival.item.stamp_ns)
        return arrival

    def finish_inference(self, inference: InferenceResult) -> Outcome:
        return Outcome.UNTRACKED

    def decide(self, inference: InferenceResult) -> InferenceResult:
        return inference


class Camera:
    """A camera and its publisher; ``broken`` is what publishing raises."""

    def __init__(self, rig: Rig) -> None:
        self.slot: FrameSlot[Any] = FrameSlot()
        self.command, self.private_requests = CurrentCommand(), PrivateRequests()
        self.tracking, self.publisher, self.problem = Tracking(), self, ""
        self.rig = rig
        self.results: queue.Queue[InferenceResult] = queue.Queue()
        self.broken: BaseException | None = None

    def publish_inference(self, result: InferenceResult) -> bool:
        if self.broken is not None:
            raise self.broken
        if not self.command.claim(result.request, self.rig.now_ns()):
            return False
        self.results.put(result)
        return True

    def deliver(self, private_request: PrivateRequest, result: InferenceResult) -> None:
        if self.broken is not None:
            raise self.broken
        private_request.queue.put(result)

    def deliver_event(self, private_request: PrivateRequest, event: RequestEvent) -> None:
        private_request.queue.put(event)

    def result(self) -> tuple[str, int]:
        result = self.results.get(timeout=10)
        return result.request.text, result.image.stamp_ns


class Model:
    score_threshold = 0.5

    def __init__(self, name: str) -> None:
        self.name = name


class Encoded:
    def __init__(self, model: Model) -> None:
        self.model = model


class Backend:
    """Encodes by writing down the stamp; ``gate`` holds it where a test asks for it."""

    def __init__(self) -> None:
        self.name = "first"
        self.encoded: list[int] = []
        self.read_first: list[Sequence[str]] = []  # expressions read with the image
        self.gate, self.encoding = threading.Event(), threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.freed = threading.Event()

    @property
    def model(self) -> Model:
        return Model(self.name)

    def encode(self, frame: Frame) -> Encoded:
        self.encoding.set()
        self.gate.wait(10)
        self.encoded.append(frame.stamp_ns)
        return Encoded(Model(self.name))

    def encode_and_segment(self, frame: Frame, expressions: Sequence[str]) -> tuple[Encoded, list]:
        encoded = self.encode(frame)
        self.read_first.append(tuple(expressions))
        if "the endless mug" in expressions:
            raise ValueError("the expression is too long")
        return encoded, self.segment(encoded, expressions)

    def segment(self, encoded: Encoded, expressions: Sequence[str]) -> list:
        if self.failure is not None:
            raise self.failure
        return []

    def free_replaced(self) -> None:
        self.freed.set()


class Rig:
    """Cameras, the model and the thread; the rig is its own clock and log."""

    def __init__(self, n_cameras: int = 1) -> None:
        self.factory = RequestFactory()
        self.time_ns = 100 * SECOND
        self.reports: list[str] = []
        self.backend = Backend()
        self.parameters = LiveParameters(SegmenterParameters(max_age=1.0))
        self.wakeup = threading.Event()
        self.cameras = [Camera(self) for _ in range(n_cameras)]
        self.camera = self.cameras[0]
        self.slot, self.results = self.camera.slot, self.camera.results
        self.command_in_force = self.camera.command
        self.thread = InferenceThread(
            self.cameras,
            self.backend,
            parameters=self.parameters,
            clock=self,
            wakeup=self.wakeup,
            log=self,
        )
        self.thread.start()

    def now_ns(self) -> int:
        return self.time_ns

    def report(self, text: str) -> None:
        self.reports.append(text)

    def report_crash(self, what: str, error: BaseException) -> None:
        self.reports.append(f"{what} failed: {error!r}")

    def image(self, stamp_ns: int, camera: int = 0) -> None:
        self.cameras[camera].slot.put(Image(stamp_ns))
        self.wakeup.set()

    def command(self, text: str, camera: int = 0) -> list[RequestEvent]:
        events = self.cameras[camera].command.submit(self.factory.receive(text, self.time_ns))
        self.wakeup.set()
        return events

    def private_request(
        self, text: str, image: int | None = None, repeats: bool = False
    ) -> queue.Queue[InferenceResult | RequestEvent]:
        """Ask like a service, or like an action where it repeats."""
        outcomes: queue.Queue[InferenceResult | RequestEvent] = queue.Queue()
        request = self.factory.receive(text, self.time_ns)
        own = None if image is None else Image(image)
        self.camera.private_requests.add(
            PrivateRequest(request, outcomes, image=own, repeats=repeats)
        )
        self.wakeup.set()
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
    rig.backend.gate.set()
    rig.thread.stop()


def test_every_new_image_is_answered_once(rig: Rig) -> None:
    rig.command("the mug")
    for stamp_ns in (100 * SECOND, 100 * SECOND + 1):
        rig.image(stamp_ns)
        assert rig.result() == ("the mug", stamp_ns)
    rig.wakeup.set()
    assert rig.is_quiet()


def test_a_new_command_reuses_the_encoding_of_a_fresh_image(rig: Rig) -> None:
    rig.image(100 * SECOND)
    assert rig.is_quiet()
    rig.command("the mug")
    assert rig.result() == ("the mug", 100 * SECOND)
    rig.command("the bowl")
    assert rig.result() == ("the bowl", 100 * SECOND)
    assert rig.backend.encoded == [100 * SECOND]


def test_image_and_command_are_read_in_one_pass_and_later_questions_after_it(rig: Rig) -> None:
    rig.command("the mug")
    outcomes = rig.private_request("the can")
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)
    assert outcomes.get(timeout=10).request.text == "the can"
    assert rig.backend.encoded == [100 * SECOND]
    assert rig.backend.read_first == [("the mug",)]


def test_a_command_that_the_model_refuses_spoils_no_other_request(rig: Rig) -> None:
    rig.command("the endless mug")
    outcomes = rig.private_request("the can")
    rig.image(100 * SECOND)
    refused = rig.results.get(timeout=10)
    assert (refused.error, refused.is_permanent) == ("ValueError: the expression is too long", True)
    assert outcomes.get(timeout=10).error == ""


def test_an_old_image_is_left_and_the_next_one_taken(rig: Rig) -> None:
    rig.image(98 * SECOND)
    rig.command("the mug")
    assert rig.is_quiet()
    rig.image(99 * SECOND + SECOND // 2)
    assert rig.result() == ("the mug", 99 * SECOND + SECOND // 2)


def test_an_image_that_lost_its_depth_gives_way_to_the_next_one(rig: Rig) -> None:
    for stamp_ns in (99 * SECOND, 99 * SECOND + 2):
        lossy = Image(stamp_ns)
        lossy.lacks_depth = True
        rig.slot.put(lossy)
        rig.command("the mug")
        assert rig.is_quiet()
        if stamp_ns == 99 * SECOND:
            rig.image(stamp_ns + 1)
            assert rig.result() == ("the mug", stamp_ns + 1)
        else:  # no next image comes
            lossy.lacks_depth = False
            assert rig.result() == ("the mug", stamp_ns)


def test_the_newest_image_wins_and_the_newest_command_too(rig: Rig) -> None:
    rig.backend.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.backend.encoding.wait(10)
    for step in (1, 2, 3):
        rig.image(100 * SECOND + step)
    (event,) = rig.command("the bowl")
    assert event.reason is EndReason.SUPERSEDED
    rig.backend.gate.set()
    # The command came while the first image was being encoded: it is answered on that one at once.
    assert rig.result() == ("the bowl", 100 * SECOND)
    assert rig.result() == ("the bowl", 100 * SECOND + 3)
    assert rig.is_quiet()
    assert rig.backend.encoded == [100 * SECOND, 100 * SECOND + 3]


def test_a_command_during_the_encoding_is_not_answered_on_an_image_that_is_too_old_by_then(
    rig: Rig,
) -> None:
    rig.backend.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.backend.encoding.wait(10)
    rig.command("the bowl")
    rig.time_ns = 102 * SECOND
    rig.backend.gate.set()
    assert rig.is_quiet()
    rig.image(102 * SECOND)
    assert rig.result() == ("the bowl", 102 * SECOND)


def test_an_image_from_the_future_is_not_used(rig: Rig) -> None:
    rig.image(3700 * SECOND)
    rig.command("the mug")
    assert rig.is_quiet()
    assert "3600.000 s ahead of time" in rig.camera.problem
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)


class Panic(BaseException):
    """As pyo3's PanicException."""


@pytest.mark.parametrize("error", [KeyError("publisher"), Panic("publisher")])
def test_the_thread_survives_every_exception_of_a_step(rig: Rig, error: BaseException) -> None:
    rig.camera.broken = error
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.is_quiet()
    assert rig.reports == [f"a result failed: {error!r}"]
    assert not rig.thread.is_busy
    rig.camera.broken = None
    rig.image(100 * SECOND + 1)
    assert rig.result() == ("the mug", 100 * SECOND + 1)


def test_a_caller_whose_result_cannot_be_delivered_gets_an_error(rig: Rig) -> None:
    rig.camera.broken = KeyError("publisher")
    outcome = rig.private_request("the mug", image=7, repeats=True).get(timeout=10)
    assert (outcome.reason, outcome.text) == (EndReason.REFUSED, "KeyError: 'publisher'")
    assert rig.camera.private_requests.pending == ()


def test_stop_during_the_work_silences_it(rig: Rig) -> None:
    rig.backend.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.backend.encoding.wait(10)
    rig.command("stop")
    rig.backend.gate.set()
    assert rig.is_quiet()


def test_a_jump_of_time_throws_unfinished_work_away(rig: Rig) -> None:
    rig.backend.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.backend.encoding.wait(10)
    rig.slot.clear()
    rig.thread.reset()
    rig.backend.gate.set()
    assert rig.is_quiet()
    rig.time_ns = 5 * SECOND
    rig.image(5 * SECOND)
    assert rig.result() == ("the mug", 5 * SECOND)


def test_a_malformed_image_is_reported_and_the_next_one_taken(rig: Rig) -> None:
    rig.command("the mug")
    rig.image(-100 * SECOND)
    assert rig.is_quiet()
    assert rig.reports == ["image ignored: malformed"]
    assert "malformed" in rig.camera.problem
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)
    assert rig.camera.problem == ""


def test_a_failure_is_an_answer_and_the_next_image_is_tried(rig: Rig) -> None:
    rig.backend.failure = RuntimeError("out of\nmemory")
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.results.get(timeout=10).error == "RuntimeError: out of memory"
    rig.backend.failure = None
    rig.image(100 * SECOND + 1)
    assert rig.results.get(timeout=10).error == ""


def test_words_that_the_model_refuses_end_the_command(rig: Rig) -> None:
    rig.backend.failure = ValueError("too long")
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.results.get(timeout=10).error == "ValueError: too long"
    rig.image(100 * SECOND + 1)
    assert rig.is_quiet()
    assert rig.command_in_force.request is None


def test_the_rate_limit_spares_new_commands(rig: Rig) -> None:
    rig.parameters.now = SegmenterParameters(max_age=1.0, max_rate=1 / 60)
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)
    rig.image(100 * SECOND + 1)
    assert rig.is_quiet()
    rig.command("the bowl")
    assert rig.result() == ("the bowl", 100 * SECOND + 1)
    rig.parameters.now = SegmenterParameters(max_age=1.0)
    rig.wakeup.set()
    assert rig.is_quiet()


def test_a_private_request_is_answered_on_a_later_image(rig: Rig) -> None:
    rig.image(100 * SECOND - 1)
    outcomes = rig.private_request("the mug")
    assert outcomes.empty()
    rig.image(100 * SECOND)
    outcome = outcomes.get(timeout=10)
    assert (outcome.request.text, outcome.image.stamp_ns) == ("the mug", 100 * SECOND)
    assert rig.backend.encoded == [100 * SECOND]
    rig.image(100 * SECOND + 1)
    assert rig.is_quiet()
    assert outcomes.empty()  # one answer
    assert rig.camera.private_requests.pending == ()


def test_a_private_request_shares_the_encoding_with_the_command(rig: Rig) -> None:
    outcomes = rig.private_request("the bowl", repeats=True)
    rig.command("the mug")
    for stamp_ns in (100 * SECOND, 100 * SECOND + 1):
        rig.image(stamp_ns)
        assert rig.result() == ("the mug", stamp_ns)
        assert outcomes.get(timeout=10).image.stamp_ns == stamp_ns
    assert rig.backend.encoded == [100 * SECOND, 100 * SECOND + 1]


def test_a_private_request_with_its_own_image_does_not_use_the_camera_s(rig: Rig) -> None:
    outcomes = rig.private_request("the mug", image=7)
    assert outcomes.get(timeout=10).image.stamp_ns == 7  # however old
    assert rig.slot.peek() is None
    malformed = rig.private_request("the mug", image=-7).get(timeout=10)
    assert isinstance(malformed, RequestEvent)
    assert (malformed.reason, malformed.text) == (EndReason.REFUSED, "malformed")
    assert rig.camera.private_requests.pending == ()


def test_a_failing_private_request_is_reported(rig: Rig) -> None:
    rig.backend.failure = ValueError("too long")
    outcome = rig.private_request("the mug", image=7, repeats=True).get(timeout=10)
    assert outcome.error == "ValueError: too long"
    assert rig.is_quiet()
    assert rig.camera.private_requests.pending == ()  # it would fail for ever


def test_no_further_inference_if_none_is_needed(rig: Rig) -> None:
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.result() == ("the mug", 100 * SECOND)
    rig.camera.tracking.wanted = False
    rig.image(100 * SECOND + 1)
    assert rig.is_quiet()
    rig.command("the bowl")
    assert rig.result() == ("the bowl", 100 * SECOND + 1)
    assert rig.camera.tracking.begun == [100 * SECOND, 100 * SECOND + 1]


def test_cameras_take_turns() -> None:
    rig = Rig(n_cameras=3)
    rig.backend.gate.clear()
    rig.command("the mug")
    rig.image(100 * SECOND)
    assert rig.backend.encoding.wait(10)
    for camera in (1, 2):
        rig.command("the mug", camera)
        rig.image(100 * SECOND + camera, camera)
    rig.image(100 * SECOND + 10)  # the first camera is fastest, and has to wait all the same
    rig.backend.gate.set()
    for camera in (0, 1, 2, 0):
        rig.cameras[camera].result()
    assert rig.backend.encoded == [100 * SECOND + offset for offset in (0, 1, 2, 10)]
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


def test_another_model_takes_over_between_two_inferences(rig: Rig) -> None:
    rig.image(99 * SECOND)
    rig.backend.gate.clear()
    rig.command("mug")
    assert rig.backend.encoding.wait(10)
    rig.backend.name = "second"
    rig.thread.invalidate_encoding()
    assert not rig.backend.freed.wait(0.2)  # an inference is under way
    rig.backend.gate.set()
    assert rig.result() == ("mug", 99 * SECOND)
    assert rig.backend.freed.wait(10)
    rig.command("bowl")  # on the same image, which is encoded anew
    assert rig.result() == ("bowl", 99 * SECOND)
    assert rig.backend.encoded == [99 * SECOND, 99 * SECOND]


def test_a_result_names_the_model_that_inferred(rig: Rig) -> None:
    rig.image(99 * SECOND)
    rig.command("mug")
    assert rig.results.get(timeout=10).model == "first"
    rig.backend.name = "second"
    rig.thread.invalidate_encoding()
    rig.command("bowl")
    assert rig.results.get(timeout=10).model == "second"
