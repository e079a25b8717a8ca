# SPDX-License-Identifier: Apache-2.0
"""Language-model agents beside a simulated camera and the segmenter, by the SDK's own client."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("mujoco", reason="needs MuJoCo")
pytest.importorskip("mcp.server.mcpserver", reason="needs requirements/mcp.txt")

import httpx2
from ament_index_python.packages import get_package_prefix
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult
from mllmseg_ros.msg import SegmentationArray
from ros_harness import Client as RosClient
from ros_harness import NodeProcess, new_domain
from std_msgs.msg import String

from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.view import VisibleObject

PROGRAM = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros" / "mllmseg"
TOKEN = "the token of this test"


class Agent:
    """A client of the MCP server, on an event loop of its own."""

    def __init__(self, server: Any) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._closing, self._ready = asyncio.Event(), threading.Event()
        self._closed = asyncio.run_coroutine_threadsafe(self._run(server), self._loop)
        assert self._ready.wait(60) or not self._closed.exception(0)

    async def _run(self, server: Any) -> None:
        """Open and close the client in one task, as anyio requires."""
        async with Client(server) as self.client:
            self._ready.set()
            await self._closing.wait()

    def call(self, tool: str, **arguments: Any) -> CallToolResult:
        return asyncio.run_coroutine_threadsafe(
            self.client.call_tool(tool, arguments), self._loop
        ).result(120)

    def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = self.call(tool, **arguments)
        assert not result.is_error, result.content
        return result.structured_content

    def tools(self) -> set[str]:
        listed = asyncio.run_coroutine_threadsafe(self.client.list_tools(), self._loop).result(60)
        return {each.name for each in listed.tools}

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._closed.result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)


class World:
    """Camera and segmenter as processes, a ROS client, and two agents.

    Attributes:
        reader: an agent over stdio, which may only look.
        commander: an agent over HTTP, which may send commands.
    """

    def __init__(self, folder: Path) -> None:
        self.domain = new_domain()
        self.camera = NodeProcess(self.domain, executable="sim_camera")
        # Rendering may take longer than a camera would on a busy machine.
        self.segmenter = NodeProcess(
            self.domain, "--ros-args", "-p", "device:=cpu", "-p", "max_age:=0.0"
        )
        token_file = folder / "token"
        token_file.write_text(TOKEN)
        self.server = NodeProcess(
            self.domain, "mcp", "--http", "0", "--token-file", str(token_file), "--allow-commands",
            executable="mllmseg",
        )  # fmt: skip
        self.ros = RosClient(self.domain)
        self.objects: list[VisibleObject] = []
        self.ros.node.create_subscription(String, "truth/objects", self._on_objects, 1)
        self.segmenter.wait_for("listening on")
        self.server.wait_for("serving agents at")
        environment = {**os.environ, "ROS_DOMAIN_ID": str(self.domain)}
        parameters = StdioServerParameters(command=str(PROGRAM), args=["mcp"], env=environment)
        self.reader = Agent(stdio_client(parameters))
        url = self.server.log.split("serving agents at ")[1].split()[0]
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=120)
        self.commander = Agent(streamable_http_client(url, http_client=http))
        self.ros.wait(lambda: self.objects, 60)
        for _ in range(6):  # discovery takes a while on a busy machine
            if not self.reader.call("look").is_error:
                break

    def _on_objects(self, message: String) -> None:
        seen = [VisibleObject.from_dict(each) for each in json.loads(message.data)["objects"]]
        self.objects = [each for each in seen if each.nameable]

    def close(self) -> None:
        self.reader.close()
        self.commander.close()
        self.ros.close()
        for process in (self.server, self.segmenter, self.camera):
            assert process.end() == 0, process.log
            assert "Traceback" not in process.log, process.log


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    try:
        TabletopCamera(64, 48).close()
    except RuntimeError as error:
        pytest.skip(str(error))
    world = World(tmp_path_factory.mktemp("agents"))
    yield world
    world.close()


def test_a_thing_is_found_with_its_position_and_an_absent_one_is_not_there(world: World) -> None:
    kinds = [each.kind for each in world.objects]
    there = next(each for each in world.objects if kinds.count(each.kind) == 1)
    result = world.reader.call("find", sentence=f"the {there.color} {there.kind}; the banana")
    answer = result.structured_content
    assert (answer["status"], answer["found"], answer["not_there"]) == ("partial", False, True)
    found, absent = answer["targets"]
    assert (found["found"], found["not_there"]) == (True, False)
    assert (absent["found"], absent["not_there"], absent["area_px"]) == (False, True, 0)
    assert found["frame_id"] == answer["frame_id"] == "camera_color_optical_frame"
    assert found["position_m"] == pytest.approx(there.position_m, abs=0.06)
    assert found["distance_m"] == pytest.approx(np.linalg.norm(there.position_m), abs=0.06)
    x0, y0, x1, y1 = found["box_xyxy"]
    u, v = (there.centroid_uv[i] * answer["image_wh"][i] for i in (0, 1))
    assert x0 < u < x1
    assert y0 < v < y1
    assert 0 < found["area_px"] <= (x1 - x0) * (y1 - y0)
    assert found["score"] > 0.5 > absent["score"]
    drawn = np.frombuffer(base64.b64decode(result.content[1].data), np.uint8)
    assert cv2.imdecode(drawn, cv2.IMREAD_COLOR).shape == (480, 640, 3)


def test_looking_watching_and_explaining(world: World) -> None:
    assert world.reader.ask("list_cameras")["cameras"] == [""]
    view = world.reader.ask("look")
    assert view["image_wh"] == [640, 480]
    assert 0 <= view["age_s"] < 60
    assert world.reader.ask("watch", sentence="the banana", seconds=0.5)["not_there"]
    thing = world.objects[0]
    sentence = f"the {thing.color} {thing.kind}"
    explained = world.reader.call("explain", sentence=sentence)
    assert "Its score" in explained.structured_content["text"]
    assert explained.content[1].type == "image"
    refused = world.reader.call("find", sentence="the mug", camera="../left")
    assert refused.is_error
    assert refused.content[0].text.endswith("camera is '../left', accepted: ''")


@pytest.mark.threat("A1", "N4")
def test_an_agent_that_may_only_look_changes_nothing_and_can_stop(world: World) -> None:
    ros, reader = world.ros, world.reader
    assert "set_command" not in reader.tools()
    assert reader.ask("status")["commands_allowed"] is False
    ros.wait(ros.connected)
    ros.command("the banana")
    ros.wait(lambda: ros.to("the banana"))
    assert reader.ask("find", sentence="pick up the mug")["targets"][0]["role"] == "pick"
    assert reader.call("set_command", sentence="the mug").is_error
    before = len(ros.to("the banana"))
    ros.wait(lambda: len(ros.to("the banana")) > before)
    assert {each.command for each in ros.results} == {"the banana"}
    assert reader.ask("stop")["accepted"]
    ros.wait(lambda: ros.results[-1].status == SegmentationArray.STATUS_STOPPED)
    assert {each.command for each in ros.results} <= {"the banana", "stop", ""}


def test_an_agent_that_may_sends_a_command_which_is_in_force(world: World) -> None:
    ros, commander = world.ros, world.commander
    assert "set_command" in commander.tools()
    status = commander.ask("status")
    assert (status["is_ready"], status["model"]) == (True, "mllmseg-tabletop")
    assert status["commands_allowed"] is True
    accepted = commander.ask("set_command", sentence="pick up the banana")
    ros.wait(lambda: any(each.request_id == accepted["request_id"] for each in ros.results))
    assert ros.results[-1].intent == "pick"
    refused = commander.call("set_command", sentence="; ".join(["the mug"] * 17))
    assert refused.is_error
    assert "names 17 things" in refused.content[0].text
    assert commander.ask("stop")["accepted"]
    ros.wait(lambda: ros.results[-1].status == SegmentationArray.STATUS_STOPPED)


@pytest.mark.threat("A1")
def test_a_stop_that_nobody_gets_is_said(world: World) -> None:
    environment = {**os.environ, "ROS_DOMAIN_ID": str(new_domain())}
    alone = Agent(
        stdio_client(StdioServerParameters(command=str(PROGRAM), args=["mcp"], env=environment))
    )
    result = alone.call("stop")
    assert result.is_error
    assert "a stop was sent, and not confirmed" in result.content[0].text
    assert "nobody subscribes to /command" in result.content[0].text
    status = alone.ask("status")
    assert status["is_ready"] is False
    assert status["text"] == "the segmenter does not run"
    alone.close()
