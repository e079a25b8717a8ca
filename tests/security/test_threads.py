# SPDX-License-Identifier: Apache-2.0
"""Data shared by threads stays consistent when they are switched at every few instructions.

Python has no thread sanitizer. Here the switch interval is a microsecond instead of five
milliseconds, and threads give way between random lines of the node and the console: in two of
three runs at least, each test but that of the history fails when the lock of what it tests, or the
way into the event loop, is taken away.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

import rclpy
from rclpy.executors import SingleThreadedExecutor

import mllmseg_ros.ros
import mllmseg_ros.web
from mllmseg_ros.codecs.stamp_history import StampHistory
from mllmseg_ros.frame import Frame
from mllmseg_ros.ros.node.current_command import CurrentCommand
from mllmseg_ros.ros.node.frame_slot import Arrival, FrameSlot
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.private_requests import (
    MAX_PRIVATE_REQUESTS,
    PrivateRequest,
    PrivateRequests,
)
from mllmseg_ros.ros.node.request import RequestEvent, RequestFactory
from mllmseg_ros.ros.node.result import InferenceResult, TrackedResult
from mllmseg_ros.ros.node.tracking_thread import Outcome, TrackingThread
from mllmseg_ros.ros.support.async_queue import AsyncQueue
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.segmentation import Status, build_segmentation
from mllmseg_ros.web.console import Console
from mllmseg_ros.web.page_client import PageClient
from mllmseg_ros.web.state import ConsoleImage, ConsoleResult

pytestmark = pytest.mark.threat("N8")

TraceFunction = Callable[[FrameType, str, Any], Any]
SECOND = 1_000_000_000


TRACED = tuple(str(Path(each.__file__).parent) for each in (mllmseg_ros.ros, mllmseg_ros.web))


def give_way(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
    """Trace function that lets other threads run before some lines of the node and the console."""
    if not frame.f_code.co_filename.startswith(TRACED):
        return None
    if event == "line" and random.random() < 0.3:
        time.sleep(random.choice((0, 1e-5)))
    return give_way


@pytest.fixture(autouse=True)
def _many_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    before_trace = sys.gettrace()
    threading.settrace(give_way)  # for threads that are started from now on
    sys.settrace(give_way)
    yield
    sys.settrace(before_trace)
    threading.settrace(before_trace)  # type: ignore[arg-type]
    sys.setswitchinterval(before)


def run_at_once(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own; raises what the first of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            start.wait()
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "the threads wait for each other"
    if errors:
        raise errors[0]


def test_slot_counts_every_item_as_read_or_dropped() -> None:
    slot: FrameSlot[tuple[str, int]] = FrameSlot()
    n, done = 2000, threading.Event()
    seen: list[list[Arrival[tuple[str, int]]]] = [[], []]

    def put(name: str) -> None:
        for index in range(n):
            slot.put((name, index))

    def read(arrivals: list[Arrival[tuple[str, int]]]) -> None:
        while not done.is_set():
            newest = slot.peek()
            if newest is not None:
                arrivals.append(newest)
                slot.mark_read(newest.number)

    def put_all() -> None:
        try:
            run_at_once(lambda: put("a"), lambda: put("b"))
        finally:
            done.set()

    run_at_once(put_all, lambda: read(seen[0]), lambda: read(seen[1]))
    assert slot.received == 2 * n
    newest = slot.peek()
    assert newest is not None
    assert newest.number == slot.received
    for arrivals in seen:
        numbers = [each.number for each in arrivals]
        assert numbers == sorted(numbers)
    items = dict.fromkeys((each.number, each.item) for each in (*seen[0], *seen[1]))
    assert len(items) == len({number for number, _ in items})  # no number was used twice
    assert slot.received - len(items) <= slot.dropped <= slot.received


def test_history_returns_the_nearest_item() -> None:
    history: StampHistory[int] = StampHistory(capacity=8)
    wrong: list[tuple[int, int | None]] = []

    def put() -> None:
        for stamp in range(3000):
            history.put(stamp, stamp)

    def match() -> None:
        for stamp in range(0, 3000, 10):
            found = history.match(stamp, tolerance_ns=3)
            item = history.wait_for(found, 0.001)
            if item is not None and abs(item - stamp) > 3:
                wrong.append((stamp, item))
            assert len(history) <= 8

    run_at_once(put, match, match)
    assert wrong == []
    assert history.get(2999) == 2999


def test_each_command_ends_once_whoever_sends_it() -> None:
    command, factory = CurrentCommand(), RequestFactory()
    ends: Counter[str] = Counter()
    lock, done, sent = threading.Lock(), threading.Event(), []

    def note(events: list[RequestEvent]) -> None:
        with lock:
            ends.update(event.request.request_id for event in events)

    def send(name: str) -> None:
        for index in range(300):
            request = factory.receive(f"thing {name} {index}", 0)
            sent.append(request.request_id)
            note(command.submit(request))

    def publish() -> None:
        while not done.is_set():
            request = command.request
            if request is not None:
                first = command.awaits_first_result(request)
                if command.claim(request, 0) and first:
                    with lock:
                        ends[request.request_id] += 1

    def send_all() -> None:
        try:
            run_at_once(lambda: send("a"), lambda: send("b"), lambda: send("c"))
        finally:
            note(command.stop("the end"))
            done.set()

    run_at_once(send_all, publish)
    assert len(set(sent)) == 900
    assert ends == Counter(dict.fromkeys(sent, 1))


class Guard:
    def trigger(self) -> None:
        """Nobody waits."""


def test_private_requests_are_taken_once_and_never_too_many() -> None:
    requests, factory = PrivateRequests(), RequestFactory()
    taken: Counter[int] = Counter()
    added: list[PrivateRequest] = []
    lock, done = threading.Lock(), threading.Event()

    def add() -> None:
        for _ in range(300):
            queue: AsyncQueue = AsyncQueue(Guard())
            request = PrivateRequest(factory.receive("the mug", 0), queue)
            try:
                requests.add(request)
            except ValueError:
                continue
            added.append(request)

    def take() -> None:
        while not done.is_set() or requests.pending:
            pending = requests.pending
            assert len(pending) <= MAX_PRIVATE_REQUESTS
            for request in pending:
                if requests.remove(request):
                    with lock:
                        taken[id(request)] += 1

    def add_all() -> None:
        try:
            run_at_once(add, add, add)
        finally:
            done.set()

    run_at_once(add_all, take, take)
    assert taken == Counter(dict.fromkeys(map(id, added), 1))
    assert len(added) > MAX_PRIVATE_REQUESTS


def test_no_item_is_lost_on_its_way_to_a_coroutine() -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("stress", context=context, start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    n = 1000
    queue: AsyncQueue[int] = AsyncQueue(node.create_guard_condition(lambda: None))
    taken: list[int] = []

    async def take() -> None:
        while len(taken) < n:
            taken.append(await queue.take())

    def put() -> None:
        end_s = time.monotonic() + 60
        for item in range(n):  # just when the coroutine finds that there is nothing
            queue.put(item)
            while len(taken) <= item and time.monotonic() < end_s:
                time.sleep(0)

    def spin() -> None:
        task = executor.create_task(take)
        end_s = time.monotonic() + 50
        while not task.done() and time.monotonic() < end_s:
            executor.spin_once(timeout_sec=0.5)

    try:
        run_at_once(put, spin)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert taken == list(range(n))


def make_image(number: int) -> Frame:
    """A square that moves to the right."""
    rgb = np.full((64, 96, 3), 90, np.uint8)
    left = 4 + number % 60
    rgb[20:44, left : left + 24] = (200, 60, 50)
    return Frame(rgb=rgb, stamp_ns=number * SECOND // 30, frame_id="camera")


class CameraImageStub:
    """What the tracking thread uses of a camera's image."""

    def __init__(self, number: int) -> None:
        self._frame = make_image(number)
        self.stamp_ns = self._frame.stamp_ns

    def frame(self) -> Frame:
        return self._frame

    def depth(self) -> None:
        return None


class PublisherStub:
    """Collects results of the command in force, like the publisher of the node."""

    def __init__(self, command: CurrentCommand) -> None:
        self._command, self._lock = command, threading.Lock()
        self.results: list[TrackedResult] = []

    def publish_tracked(self, tracked: TrackedResult) -> bool:
        with self._lock:
            if not self._command.claim(tracked.inference.request, tracked.image.stamp_ns):
                return False
            self.results.append(tracked)
            return True


class Clock:
    now = 0

    def now_ns(self) -> int:
        return self.now


class Log:
    def __init__(self) -> None:
        self.reports: list[str] = []

    def report(self, text: str) -> None:
        self.reports.append(text)

    def report_crash(self, what: str, error: BaseException) -> None:
        self.reports.append(f"{what}: {error!r}")


def test_tracker_survives_commands_clears_and_resets_from_all_sides() -> None:
    slot: FrameSlot = FrameSlot()
    command, factory, clock, log = CurrentCommand(), RequestFactory(), Clock(), Log()
    publisher = PublisherStub(command)
    tracking = TrackingThread(
        slot,
        command,
        publisher,
        parameters=LiveParameters(SegmenterParameters(max_age=1000.0)),
        clock=clock,
        inference_wakeup=threading.Event(),
        log=log,
    )
    tracking.start()
    done = threading.Event()
    outcomes: Counter[Outcome] = Counter()

    def film() -> None:
        for number in range(1, 150):
            clock.now = number * SECOND // 30
            slot.put(CameraImageStub(number))
            tracking.wake()
            time.sleep(0.005)
        done.set()

    def talk() -> None:
        index = 0
        while not done.is_set():
            command.submit(factory.receive(f"the square {index}", clock.now))
            tracking.clear()
            index += 1
            if index % 7 == 0:
                tracking.reset()
            time.sleep(0.02)

    def infer() -> None:
        while not done.is_set():
            newest, request = slot.peek(), command.request
            if newest is None or request is None or not tracking.needs_inference():
                continue
            arrival = tracking.begin_inference(newest)
            mask = arrival.item.frame().rgb[..., 0] > 150
            segmentation = build_segmentation(
                "the square", Status.FOUND, 0.9, 0.9, mask.astype(np.float32), mask
            )
            result = InferenceResult(
                request=request,
                image=arrival.item,
                segmentations=[segmentation],
                began_ns=0,
                model="none",
                score_threshold=0.5,
            )
            outcomes[tracking.finish_inference(result)] += 1

    run_at_once(film, talk, infer)
    tracking.stop()
    assert log.reports == []
    assert outcomes[Outcome.PUBLISHED] > 0
    assert publisher.results
    order = list(dict.fromkeys(
        each.inference.request.request_id for each in publisher.results
    ))  # fmt: skip
    assert order == sorted(order, key=lambda name: int(name.rpartition("-")[2]))
    for result in publisher.results:  # the mask lies on the square of the image that it is for
        (track,) = result.tracks
        if track.segmentation.area_px:
            square = result.image.frame().rgb[..., 0] > 150
            mask = track.segmentation.mask
            assert (mask & square).sum() / (mask | square).sum() > 0.7


CAMERAS = ("left", "right")


class Page:
    """A page's connection; keeps the newest message of each kind."""

    closed = False

    def __init__(self) -> None:
        self.texts: dict[str, Any] = {}
        self.images: list[tuple[str, bytes]] = []

    async def send_str(self, text: str) -> None:
        message = json.loads(text)
        self.texts[message["kind"]] = message.get("value")

    async def send_bytes(self, data: bytes) -> None:
        size = int.from_bytes(data[:4], "big")
        camera = json.loads(data[4 : 4 + size])["camera"]
        self.images.append((camera, data[4 + size :]))


class Robot:
    watched: frozenset[str] = frozenset()

    def watch(self, cameras: frozenset[str]) -> None:
        self.watched = cameras

    def talk(self, held: bool) -> None:
        """Nobody listens."""


def test_pages_show_the_newest_whoever_sends_and_whoever_comes_and_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    robot = Robot()
    console = Console(robot, rate_hz=1e9)
    n, ready, done = 150, threading.Event(), threading.Event()
    stays: dict[str, Page] = {camera: Page() for camera in CAMERAS}

    def result(camera: str, index: int) -> ConsoleResult:
        return ConsoleResult(
            camera=camera,
            stamp_ns=index + 1,
            size_hw=(48, 64),
            request_id=f"{camera}-{index // 3}",  # three results a request
            command="the mug",
            status="no_target",
            text="",
            model="none",
            latency_ms=1.0,
            entries=(),
        )

    async def serve() -> None:
        console.start()
        console.set_cameras(CAMERAS)
        await asyncio.sleep(0)
        writers = []

        def open_page(page: Page, camera: str) -> PageClient:
            client = PageClient(page)  # type: ignore[arg-type]
            console.connect(client)
            console.select_camera(client, camera)
            writers.append(asyncio.create_task(client.write()))
            return client

        for camera, page in stays.items():
            open_page(page, camera)
        ready.set()
        while not done.is_set():
            guest = open_page(Page(), random.choice(CAMERAS))
            await asyncio.sleep(0.002)
            console.select_camera(guest, random.choice(CAMERAS))
            console.disconnect(guest)
        await asyncio.sleep(0.3)
        for writer in writers:
            writer.cancel()

    def show(camera: str) -> None:
        assert ready.wait(20)
        for index in range(n):
            name = f"{camera} {index}".encode()
            image = ConsoleImage(
                stamp_ns=index + 1, encode=lambda name=name: name, is_overlay=True, age_ms=1.0
            )
            console.show_image(camera, image)
            console.show_result(result(camera, index))
            console.show_text("say", f"{camera} {index}")

    def show_all() -> None:
        try:
            run_at_once(*(lambda camera=camera: show(camera) for camera in CAMERAS))
        finally:
            done.set()

    run_at_once(lambda: asyncio.run(serve()), show_all)
    assert caplog.records == []
    assert robot.watched == set(CAMERAS)
    for camera, page in stays.items():
        assert page.texts["answer"] == json.loads(json.dumps(result(camera, n - 1).to_json()))
        assert {shown for shown, _ in page.images} == {camera}
        assert all(jpeg.startswith(camera.encode()) for _, jpeg in page.images)
        order = [int(jpeg.split()[1]) for _, jpeg in page.images]
        assert order == sorted(set(order))
        requests = [each["number"] for each in page.texts["history"]]
        assert len(requests) == len(set(requests)) == 24
    assert stays["left"].texts["say"] == stays["right"].texts["say"]
    assert console.history.to_json()[0]["number"] == 2 * n // 3
