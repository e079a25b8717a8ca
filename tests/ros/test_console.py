# SPDX-License-Identifier: Apache-2.0
"""The web console in a browser, with a simulated camera and the segmenter."""

from __future__ import annotations

import asyncio
import json
import math
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("mujoco", reason="needs MuJoCo")
pytest.importorskip("aiohttp", reason="needs aiohttp")

import aiohttp
import policy
import rclpy
from browser import PROGRAM, Browser
from mllmseg_ros.msg import Transcript
from parameter_services import ParameterServices
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import NodeNameNonExistentError
from ros_harness import NodeProcess, new_domain
from std_msgs.msg import Bool, String, UInt8MultiArray

from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.view import VisibleObject

TONE_HZ = 440
AT_TIMES = {
    "/clock", "/image", "/image/compressed", "/parameter_events", "/console/get_type_description",
}  # fmt: skip

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs chromium")


class World:
    """Camera, segmenter and console as processes, and a node with subscriptions."""

    def __init__(self) -> None:
        self.domain = new_domain()
        self.camera = NodeProcess(self.domain, executable="sim_camera")
        self.segmenter = NodeProcess(self.domain, "--ros-args", "-p", "device:=cpu")
        self.console = self.start_console(0)
        self.url = self.console.log.split("console at ")[1].split()[0]
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("listener", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard: list[int | bytes] = []  # push_to_talk as 0 and 1, and audio
        self.objects: dict[str, VisibleObject] = {}
        self.node.create_subscription(
            Bool, "push_to_talk", lambda message: self.heard.append(int(message.data)), 10
        )
        self.node.create_subscription(
            UInt8MultiArray, "audio", lambda message: self.heard.append(bytes(message.data)), 100
        )
        self.node.create_subscription(String, "truth/objects", self._on_objects, 1)
        self.say = self.node.create_publisher(String, "say", 10)
        self.transcript = self.node.create_publisher(Transcript, "transcript", 10)
        self.segmenter.wait_for("listening on")

    def start_console(self, port: int) -> NodeProcess:
        console = NodeProcess(
            self.domain, "--ros-args", "-p", f"port:={port}", executable="console"
        )
        console.wait_for("console at")
        return console

    def _on_objects(self, message: String) -> None:
        seen = [VisibleObject.from_dict(each) for each in json.loads(message.data)["objects"]]
        self.objects = {f"{each.color} {each.kind}": each for each in seen}

    def wait(self, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "timed out"
            self.executor.spin_once(timeout_sec=0.02)

    def parameter(self, name: str, value: float | None = None) -> float:
        """Return a parameter of the segmenter; set it first if a value is given."""
        services = ParameterServices(self.node, "mllmseg")
        assert services.wait(20)
        if value is not None:
            done = services.set(**{name: value})
            self.wait(done.done)
        read = services.get(name)
        self.wait(read.done)
        return read.result().values[0].double_value

    def topics(self) -> set[str]:
        """Return the topics that the console subscribes to."""
        listening = self.node.get_subscriber_names_and_types_by_node("console", "/")
        return {name for name, _ in listening}

    def is_idle(self) -> bool:
        """Return whether the console has no subscriptions but its own clock and parameters."""
        try:
            return self.topics() <= {"/parameter_events", "/clock"}
        except NodeNameNonExistentError:  # briefly, after a restart
            return False

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        processes = (self.console, self.segmenter, self.camera)
        with ThreadPoolExecutor() as pool:
            statuses = list(pool.map(NodeProcess.end, processes))
        for process, status in zip(processes, statuses, strict=True):
            assert status == 0, process.log
            assert "Traceback" not in process.log, process.log


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    try:
        TabletopCamera(64, 48).close()
    except RuntimeError as error:
        pytest.skip(str(error))
    world = World()
    yield world
    world.close()


@pytest.fixture(scope="module")
def page(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose microphone picks up a tone; one page for all tests."""
    folder = tmp_path_factory.mktemp("browser")
    with wave.open(str(folder / "tone.wav"), "wb") as tone:
        tone.setnchannels(1)
        tone.setsampwidth(2)
        tone.setframerate(48000)
        angles = (2 * math.pi * TONE_HZ * k / 48000 for k in range(48000))
        tone.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(a))) for a in angles))
    browser = Browser(
        folder / "profile",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'tone.wav'}",
    )
    world.wait(lambda: ("console", "/") in world.node.get_node_names_and_namespaces())
    assert world.is_idle()
    with browser:
        browser.resize(1300, 850)
        browser.open(world.url)
        yield browser
        assert browser.complaints == []
        own = world.url.removeprefix("http")
        foreign = {each for each in browser.requests if own not in each}
        assert {each for each in foreign if not each.startswith("blob:")} == set()
    world.wait(world.is_idle)  # no page is open


def command(page: Browser, text: str) -> None:
    page.run("document.getElementById('command').focus()")
    page.type(text)


def test_without_aiohttp_an_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['aiohttp'] = None;"
        "from mllmseg_ros.ros.console.start import main; sys.exit(main([]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "cannot start: web pages need aiohttp: pip install 'aiohttp>=3.14.5'"
    ]


BADGE = "document.getElementById('badge').dataset.kind"
RESULT_TEXT = "document.getElementById('answer-text').textContent"
SELECTED = "document.querySelector('.entry[aria-pressed=true]')?.textContent ?? 'none'"


def pixel(page: Browser, u: float, v: float) -> list[int]:
    script = f"canvas.getContext('2d').getImageData({round(u)}, {round(v)}, 1, 1).data"
    return list(page.run(f"Array.from({script})"))[:3]


def test_a_command_marks_its_target_and_a_click_selects_it(world: World, page: Browser) -> None:
    page.wait(f"{BADGE} === 'live'")
    world.wait(lambda: "blue cube" in world.objects)
    cube, bottle = (world.objects[name].centroid_uv for name in ("blue cube", "orange bottle"))
    u, v = cube[0] * 640, cube[1] * 480
    before = pixel(page, u, v)
    command(page, "the blue cube; the bowl")
    page.wait(f"{BADGE} === 'overlay'")
    page.wait(f"{RESULT_TEXT}.includes('1 of 2 found')")
    tinted = pixel(page, u, v)
    assert tinted[0] > before[0] + 15, "the first entry's orange is not on the cube"
    assert page.run("document.querySelectorAll('.entry .distance')[0].textContent").endswith(" m")
    left, top, width, height = page.run(
        "(b => [b.x, b.y, b.width, b.height])(canvas.getBoundingClientRect())"
    )
    page.click(left + cube[0] * width, top + cube[1] * height)
    page.wait(f"({SELECTED}).includes('the blue cube')")
    mark = page.run("(b => [b.x, b.y, b.right, b.bottom])(mark.getBoundingClientRect())")
    assert mark[0] < left + cube[0] * width < mark[2]
    assert mark[1] < top + cube[1] * height < mark[3]
    page.click(left + bottle[0] * width, top + bottle[1] * height)
    page.wait(f"{SELECTED} === 'none'")
    page.wait("document.querySelector('#history .thumbnail img')?.naturalWidth === 640")
    assert "the bowl" in page.run("document.querySelector('#history b').textContent")


def test_on_a_phone_held_sideways_image_and_buttons_are_beside_each_other(
    page: Browser,
) -> None:
    command(page, "pick: the blue cube; place_left_of: the orange bottle")
    page.wait("document.querySelectorAll('.entry .tag')[1].textContent === 'place left of'")
    try:
        page.resize(844, 390, phone=True)
        for selector in ("#canvas", "#command", "#stop", "#answer-text"):
            assert page.is_visible(selector), selector
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        # What the figures mean is also written down, for fingers.
        assert "replaced by newer ones" in page.run(
            "document.querySelector('#health .hint').textContent"
        )
    finally:
        page.resize(1300, 850)


def test_what_cannot_be_seen_is_shown_escaped(page: Browser) -> None:
    """A right-to-left override would let a command look like another one."""
    command(page, "the blue\u202e cube\u200b")
    page.wait(f"{RESULT_TEXT}.includes('blue\\\\u{{202e}} cube')")
    page.wait("document.querySelector('#history b').textContent.includes('\\\\u{202e}')")
    shown = page.run("document.body.innerText")
    assert "\u202e" not in shown
    assert "\u200b" not in shown
    command(page, "the blue cube; the bowl")
    page.wait(f"{RESULT_TEXT}.includes('1 of 2 found')")


def test_it_explains_the_result(page: Browser) -> None:
    page.wait("!document.getElementById('why').disabled")
    page.run("document.getElementById('why').click()")
    page.wait("document.getElementById('why-image').naturalWidth > 200")
    assert "blue cube" in page.run("document.getElementById('why-text').textContent")


def test_the_policy_is_what_the_console_needs(world: World, page: Browser) -> None:
    page.wait(f"{BADGE} !== 'lost'")
    world.wait(lambda: "/overlay/compressed" in world.topics())
    policy.check(world.node, "console", AT_TIMES)


def test_parameters_are_shown_changed_and_refused(world: World, page: Browser) -> None:
    row = "document.getElementById('setting-max_rate')"
    page.wait(f"{row}?.value === '0'")
    change = f"({row}.value = '{{}}', {row}.dispatchEvent(new Event('change')))"
    page.run(change.format("7.5"))
    world.wait(lambda: world.parameter("max_rate") == 7.5)
    page.run(change.format("-3"))
    reason = page.wait(f"{row}.parentNode.querySelector('.refused:not([hidden])')?.textContent")
    assert "max_rate" in reason
    assert page.run(f"{row}.value") == "7.5"
    assert world.parameter("max_rate", 0.0) == 0.0  # by somebody else
    page.wait(f"{row}.value === '0'")


def test_a_refused_command_says_why_and_changes_nothing(page: Browser) -> None:
    command(page, ";".join(f"thing {number}" for number in range(17)))
    page.wait("document.getElementById('problem').textContent.includes('16')")
    time.sleep(0.5)  # a result or two
    assert "the blue cube" in page.run(RESULT_TEXT)
    assert "thing 0" in page.run("document.querySelector('#history b').textContent")


def test_escape_stops_and_the_live_image_returns(page: Browser) -> None:
    page.run("document.getElementById('command').focus()")
    page.press("Escape")
    page.wait(f"{RESULT_TEXT}.includes('stopped')")
    page.wait(f"{BADGE} === 'live'")
    assert page.run("document.querySelectorAll('.entry').length") == 0


def test_push_to_talk_sends_audio_of_the_microphone(world: World, page: Browser) -> None:
    page.wait("!document.getElementById('talk').disabled")
    at = page.center("#talk")
    page.mouse("mousePressed", *at)
    world.wait(lambda: sum(len(each) for each in world.heard if isinstance(each, bytes)) > 24000)
    page.mouse("mouseReleased", *at)
    world.wait(lambda: world.heard[-1] == 0)
    assert world.heard[0] == 1
    held = [each for each in world.heard[:-1] if not isinstance(each, bytes)]
    assert set(held) == {1}
    assert len(held) >= 2  # repeated while it is held
    pcm = b"".join(each for each in world.heard if isinstance(each, bytes))
    samples = np.frombuffer(pcm, "<i2")[-8000:].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * 16000 / len(samples) == pytest.approx(TONE_HZ, abs=3)
    world.transcript.publish(Transcript(text="hm", reason="no wake word"))
    page.wait("document.getElementById('spoken').textContent === 'heardhm: no wake word'")
    world.say.publish(String(data="<b>I see it</b>"))
    page.wait("document.getElementById('spoken').textContent === 'robot<b>I see it</b>'")


def test_twenty_pages_and_a_slow_one(world: World, page: Browser) -> None:
    """A page that does not confirm images gets two, and then only the newest."""

    async def open_page(url: str, n: int, seconds: float, *, shows: bool) -> list[list[int]]:
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(f"{url}socket") for _ in range(n)]

            async def read(ws: aiohttp.ClientWebSocketResponse) -> list[int]:
                stamps: list[int] = []
                end = time.monotonic() + seconds
                while (left := end - time.monotonic()) > 0:
                    try:
                        message = await asyncio.wait_for(ws.receive(), left)
                    except asyncio.TimeoutError:
                        break
                    if message.type is aiohttp.WSMsgType.BINARY:
                        length = int.from_bytes(message.data[:4], "big")
                        head = json.loads(message.data[4 : 4 + length])
                        assert message.data[4 + length :][:2] == b"\xff\xd8"
                        stamps.append(int(head["stamp_ns"]))
                        if shows:
                            await ws.send_json({"kind": "shown"})
                if not shows:
                    await ws.send_json({"kind": "shown"})
                    message = await ws.receive()
                    while message.type is not aiohttp.WSMsgType.BINARY:
                        message = await ws.receive()
                    length = int.from_bytes(message.data[:4], "big")
                    stamps.append(int(json.loads(message.data[4 : 4 + length])["stamp_ns"]))
                return stamps

            return await asyncio.gather(*map(read, sockets))

    async def together() -> tuple[list[list[int]], list[list[int]]]:
        return await asyncio.gather(
            open_page(world.url, 20, 2.0, shows=True), open_page(world.url, 1, 2.0, shows=False)
        )

    quick, slow = asyncio.run(together())
    assert len(quick) == 20
    assert min(map(len, quick)) >= 5
    assert all(stamps == sorted(set(stamps)) for stamps in quick)
    (stamps,) = slow
    assert len(stamps) == 3
    assert stamps[2] >= quick[0][-3], "an old image was kept for it"
    page.wait(f"{BADGE} === 'live'")


def test_nothing_that_a_page_sends_breaks_the_console(world: World, page: Browser) -> None:
    bodies = [
        ("/command", "{}"), ("/command", '{"text": 3}'), ("/command", "[" * 9000),
        ("/command", json.dumps({"text": "x" * 5000})), ("/command", '{"text": "\\ud800"}'),
        ("/click", '{"camera": "no", "uv": [1]}'), ("/click", '{"camera": "", "uv": [NaN, 1]}'),
        ("/setting", '{"name": "cameras", "value": "x"}'),
        ("/setting", '{"name": "threshold", "value": "x"}'),
        ("/setting", '{"name": "threshold", "value": true}'),
        ("/setting", f'{{"name": "threshold", "value": 1{"0" * 400}}}'),
        ("/click", f'{{"camera": "", "uv": [1{"0" * 400}, 1]}}'),
        ("/explain", '{"expression": ""}'), ("/explain", '{"expression": 1, "camera": ""}'),
    ]  # fmt: skip

    async def send() -> None:
        async with aiohttp.ClientSession(world.url) as session:
            for path, body in bodies:
                async with session.post(path, data=body) as response:
                    assert response.status == 400, (path, body[:40])
                    assert (await response.json())["error"]
            ws = await session.ws_connect("/socket")
            for text in ("", "[]", '{"kind": "camera", "value": "../x"}', '{"kind": "talk"}'):
                await ws.send_str(text)
            await ws.send_bytes(b"odd")
            assert (await ws.receive()).type is aiohttp.WSMsgType.TEXT
            await ws.close()

    asyncio.run(send())
    page.wait(f"{BADGE} === 'live'")


def test_a_lost_connection_is_restored(world: World, page: Browser) -> None:
    page.run("window.stayed = true")
    page.run("document.getElementById('theme').click()")
    assert world.console.end() == 0, world.console.log
    assert "Traceback" not in world.console.log
    page.wait(f"{BADGE} === 'lost'")
    assert page.run("document.getElementById('state-text').textContent") == "no connection"
    world.console = world.start_console(int(world.url.rsplit(":", 1)[1].strip("/")))
    page.wait(f"{BADGE} === 'live'")
    assert page.run("window.stayed") is True
    page.wait("document.getElementById('state').dataset.level === 'ok'")
    command(page, "the orange bottle")
    page.wait(f"{RESULT_TEXT}.includes('1 of 1 found')")
