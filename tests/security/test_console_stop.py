# SPDX-License-Identifier: Apache-2.0
"""Nothing queues ahead of stop, and what was reported as failed is never carried out later.

The console node runs in this process, so that its executor can be stalled; a node with the
segmenter's parameters, and those who hear commands, are in other threads.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("aiohttp", reason="needs aiohttp")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ros"))

import aiohttp
import rclpy
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.srv import Explain
from rcl_interfaces.msg import SetParametersResult
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_harness import new_domain
from std_msgs.msg import Bool, String, UInt8MultiArray

from mllmseg_ros.ros.console import node as console_node
from mllmseg_ros.ros.console.node import ConsoleNode
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.support.parameter_fields import declare
from mllmseg_ros.web import console as web_console
from mllmseg_ros.web import console_routes

pytestmark = [pytest.mark.ros, pytest.mark.threat("W4", "S2")]


class Spinning:
    """Spins a node in a thread, with pauses."""

    def __init__(self, node: Node, context: Context) -> None:
        self.node = node
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(node)
        self._goes_on, self._ended, self._is_paused = (threading.Event() for _ in range(3))
        self.problems: list[BaseException] = []
        self._goes_on.set()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self._goes_on.is_set():
                self._is_paused.set()
                self._goes_on.wait()
            try:
                self._executor.spin_once(timeout_sec=0.02)
            except BaseException as error:
                self.problems.append(error)

    def pause(self) -> None:
        self._is_paused.clear()
        self._goes_on.clear()
        assert self._is_paused.wait(20)

    def go_on(self) -> None:
        self._goes_on.set()

    def end(self) -> None:
        self._ended.set()
        self._goes_on.set()
        self._thread.join(20)
        self._executor.shutdown()


class Segmenter(Node):
    """Has the segmenter's parameters, replies as slowly as one likes, and notes what it hears."""

    def __init__(self, context: Context, overrides: list[Parameter]) -> None:
        super().__init__("mllmseg", context=context, parameter_overrides=overrides)
        declare(self, SegmenterParameters)
        self.slow_s = 0.0
        self.commands: list[str] = []
        self.talk: list[tuple[float, bool]] = []
        self.create_subscription(String, "command", lambda m: self.commands.append(m.data), 100)
        self.create_subscription(
            Bool, "push_to_talk", lambda m: self.talk.append((time.monotonic(), m.data)), 100
        )
        self.create_subscription(UInt8MultiArray, "audio", lambda message: None, 10)
        self.add_on_set_parameters_callback(self._on_set)
        self.create_service(Explain, "explain", self._on_explain)
        self.results = self.create_publisher(SegmentationArray, "segmentations", 10)

    def _on_set(self, parameters: list) -> SetParametersResult:
        time.sleep(self.slow_s)
        return SetParametersResult(successful=True)

    def _on_explain(self, request: Explain.Request, reply: Explain.Response) -> Explain.Response:
        time.sleep(self.slow_s)
        reply.success, reply.text = True, request.expression
        return reply

    def threshold(self) -> float:
        return self.get_parameter("threshold").value


class Robot:
    """The console and the segmenter's stand-in."""

    def __init__(self, parameters: dict[str, object]) -> None:
        self.context = Context()
        arguments = ["--ros-args", "-p", "port:=0"]
        rclpy.init(args=arguments, context=self.context, domain_id=new_domain())
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.segmenter = Segmenter(self.context, overrides)
        original = Node.__init__
        # The node is made for the default context, as in its own process.
        Node.__init__ = lambda node, name: original(node, name, context=self.context)  # type: ignore[method-assign]
        try:
            self.console = ConsoleNode()
        finally:
            Node.__init__ = original  # type: ignore[method-assign]
        self.url = self.console._web.url
        self.spinning = Spinning(self.console, self.context)
        self.others = Spinning(self.segmenter, self.context)

    async def wait(self, condition, timeout_s: float = 20.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, "timed out"
            await asyncio.sleep(0.02)

    async def open_page(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        """Open a page, and wait until the console knows the segmenter's parameters."""
        ws = await session.ws_connect(f"{self.url}socket")
        while (await asyncio.wait_for(ws.receive_json(), 20))["kind"] != "settings":
            pass
        return ws

    async def post(self, session: aiohttp.ClientSession, path: str, **body: object) -> str:
        """Send a request; returns "" or why it was refused."""
        async with session.post(self.url + path, json=body) as response:
            return (await response.json()).get("error", "")

    def close(self) -> None:
        self.spinning.end()
        self.others.end()
        self.console.stop()
        for node in (self.console, self.segmenter):
            node.destroy_node()
        rclpy.shutdown(context=self.context)
        assert self.spinning.problems == []


@pytest.fixture
def robot(request: pytest.FixtureRequest) -> Iterator[Robot]:
    robot = Robot(getattr(request, "param", {}))
    yield robot
    robot.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_routes, "REPLY_TIMEOUT_S", 0.5)
    monkeypatch.setattr(console_routes, "EXPLANATION_TIMEOUT_S", 0.5)


def test_with_a_stalled_executor_commands_arrive_and_nothing_else_comes_later(
    robot: Robot, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            await robot.open_page(session)
            before = robot.segmenter.threshold()
            robot.spinning.pause()
            assert await robot.post(session, "command", text="pick: the red mug") == ""
            assert await robot.post(session, "stop") == ""
            await robot.wait(lambda: robot.segmenter.commands == ["pick: the red mug", "stop"])
            reason = await robot.post(session, "setting", name="threshold", value=0.9)
            assert "busy" in reason
            assert "nothing was changed" in reason
            assert "busy" in await robot.post(session, "explain", expression="x", camera="")
            robot.spinning.go_on()
            await robot.wait(lambda: not robot.console._waiting)
            await asyncio.sleep(1)
            monkeypatch.setattr(console_routes, "REPLY_TIMEOUT_S", 20.0)
            assert robot.segmenter.threshold() == before
            assert robot.segmenter.commands == ["pick: the red mug", "stop"]
            # And it goes on.
            assert await robot.post(session, "setting", name="threshold", value=0.9) == ""
            assert robot.segmenter.threshold() == 0.9

    asyncio.run(run())


def test_what_waits_for_the_executor_is_bounded(robot: Robot, hurried: None) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            await robot.open_page(session)
            robot.spinning.pause()
            n_sent = console_node.MAX_WAITING + 20
            reasons = await asyncio.gather(
                *(
                    robot.post(session, "setting", name="threshold", value=0.9)
                    for _ in range(n_sent)
                )
            )
            assert all("nothing was changed" in each for each in reasons)
            assert len(robot.console._waiting) <= console_node.MAX_WAITING
            assert await robot.post(session, "stop") == ""
            robot.spinning.go_on()

    asyncio.run(run())


def test_a_late_reply_completes_nothing_twice_and_is_not_said_to_be_withdrawn(
    robot: Robot, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            await robot.open_page(session)
            robot.segmenter.slow_s = 1.0
            for path, body in (
                ("setting", {"name": "threshold", "value": 0.9}),
                ("explain", {"expression": "x", "camera": ""}),
            ):
                reason = await robot.post(session, path, **body)
                assert "may still carry it out" in reason
            robot.segmenter.slow_s = 0.0
            await robot.wait(lambda: robot.segmenter.threshold() == 0.9)
            await asyncio.sleep(0.5)
            assert robot.spinning.problems == []
            monkeypatch.setattr(console_routes, "REPLY_TIMEOUT_S", 20.0)
            assert await robot.post(session, "setting", name="threshold", value=0.4) == ""

    asyncio.run(run())


@pytest.mark.parametrize("robot", [{"cameras": ["front", "back"]}], indirect=True)
def test_a_page_that_switches_cameras_all_the_time_does_not_delay_stop(robot: Robot) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            ws = await robot.open_page(session)
            await robot.wait(lambda: robot.console._console._cameras == ("front", "back"))

            async def switch() -> None:
                for number in range(100_000):
                    camera = ("front", "back")[number % 2]
                    await ws.send_json({"kind": "camera", "value": camera})
                    await asyncio.sleep(0.006)

            async def read() -> None:
                async for _ in ws:
                    pass

            tasks = [asyncio.create_task(switch()), asyncio.create_task(read())]
            for _ in range(10):
                begin_s = time.monotonic()
                assert await robot.post(session, "stop") == ""
                assert time.monotonic() - begin_s < 2
                await asyncio.sleep(0.2)
            await robot.wait(lambda: len(robot.segmenter.commands) == 10)
            cameras = dict(robot.console._cameras)
            await asyncio.sleep(1)
            for name in ("front", "back"):
                assert robot.console._cameras[name] is cameras[name], "subscribed again"
            for each in tasks:
                each.cancel()

    asyncio.run(run())


def test_push_to_talk_ends_soon_after_the_page_stops_repeating_it(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_console, "MAX_TALK_S", 3.0)
    talk = robot.segmenter.talk

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            ws = await robot.open_page(session)
            await ws.send_json({"kind": "talk", "value": True})  # once: the page hangs
            await robot.wait(lambda: [held for _, held in talk] == [True, False])
            assert 1.0 < talk[1][0] - talk[0][0] < 4
            talk.clear()
            for _ in range(20):
                await ws.send_json({"kind": "talk", "value": True})
                await asyncio.sleep(0.25)
            await robot.wait(lambda: talk[-1][1] is False)  # after MAX_TALK_S, however repeated
            held = [held for _, held in talk]
            assert held.index(False) == len(held) - 1
            assert 8 < len(held) < 16  # repeated
            talk.clear()
            await ws.send_json({"kind": "talk", "value": False})
            await ws.send_json({"kind": "talk", "value": True})
            await ws.close()
            await robot.wait(lambda: [held for _, held in talk] == [True, False])

    asyncio.run(run())


def test_a_page_that_sends_too_many_messages_is_closed(robot: Robot) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            ws = await robot.open_page(session)
            for _ in range(3 * console_routes.MESSAGES_AT_ONCE):
                await ws.send_json({"kind": "shown"})
            while not ws.closed:
                await asyncio.wait_for(ws.receive(), 20)
            assert ws.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION
            assert await robot.post(session, "stop") == ""

    asyncio.run(run())


def test_a_result_that_cannot_be_shown_is_a_problem_and_the_next_one_is_shown(
    robot: Robot,
) -> None:
    """Numbers that are none, in a message of somebody else."""

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            ws = await robot.open_page(session)
            await robot.wait(robot.segmenter.results.get_subscription_count)
            message = SegmentationArray(request_id="1", command="the mug", image_height=4)
            message.segmentations = [Segmentation(expression="the mug", has_position=True)]
            message.segmentations[0].position.x = math.nan
            message.segmentations[0].position.y = math.inf
            robot.segmenter.results.publish(message)
            while True:
                reply = await asyncio.wait_for(ws.receive_json(), 20)
                if reply["kind"] == "answer" and reply["value"]:
                    break
            (entry,) = reply["value"]["entries"]
            assert entry["position_m"] is None
            assert entry["distance_m"] is None

    asyncio.run(run())
