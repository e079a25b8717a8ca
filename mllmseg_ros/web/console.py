# SPDX-License-Identifier: Apache-2.0
"""The state of the web console: images, results and settings, sent to all open pages.

Does not use ROS. The node that serves the console implements :class:`RobotInterface`, which carries
out what people ask for, and passes new images and results to :class:`Console`, from any thread.
Pages are connected by :mod:`mllmseg_ros.web.console_routes`: requests are HTTP POSTs, everything
else goes over a WebSocket: JSON texts, JPEG images, and audio in the other direction. There are no
queues: each page gets the newest message of each kind when it is ready, so that a slow page shows
fewer images, not older ones.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from mllmseg_ros.error_text import one_line
from mllmseg_ros.web.history import History
from mllmseg_ros.web.log import LOG
from mllmseg_ros.web.page_client import PageClient
from mllmseg_ros.web.state import (
    ConsoleImage,
    ConsoleResult,
    Explanation,
    Health,
    Presence,
    Setting,
    SettingValue,
)

__all__ = ["Console", "RobotInterface"]

MAX_TALK_S = 60.0
TALK_HELD_S = 1.5  # without a repetition, the button to talk counts as released
_LASTING_KINDS = ("cameras", "settings", "history")  # of messages that do not go out of date
_INFERENCE_STATUSES = ("ok", "partial", "no_target", "low_confidence")


class RobotInterface(Protocol):
    """Carries out the requests of pages. Called in the web server's thread; must not block."""

    def watch(self, cameras: frozenset[str]) -> None:
        """Set the cameras that pages show; empty if no page is open."""

    def command(self, text: str) -> str:
        """Send a command at once, ahead of everything else; returns "" or why nobody gets it."""

    def talk(self, held: bool) -> None:
        """Set whether somebody holds the button to talk; repeated while it is held."""

    def audio(self, pcm: bytes) -> None:
        """Send audio: 16-bit little-endian mono at 16 kHz."""

    def set(self, name: str, value: SettingValue) -> Future[str]:
        """Set a parameter; the result is "" or why it was refused.

        A future that is cancelled before the request is sent withdraws it: it is never sent.
        """

    def explain(self, expression: str, camera: str) -> Future[Explanation]:
        """Explain a result; may fail with ValueError. Can be withdrawn like :meth:`set`."""


class Console:
    """The state of the console and its open pages.

    The methods ``show_*`` and ``set_*`` may be called from any thread; they return immediately. All
    others run in the event loop.
    """

    def __init__(self, robot: RobotInterface, *, rate_hz: float) -> None:
        """Create a console without pages.

        Args:
            robot: carries out the requests of pages.
            rate_hz: maximum image rate per camera.
        """
        self.robot = robot
        self.history = History()
        self._period_s = 1 / rate_hz
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: set[PageClient] = set()
        self._cameras: tuple[str, ...] = ("",)
        self._messages: dict[str, str] = {}  # the newest of each kind, for new pages
        self._results: dict[str, ConsoleResult] = {}  # by camera
        self._image_s: dict[str, float] = {}  # by camera: monotonic time of the last image
        self._pending: dict[str, ConsoleImage] = {}  # by camera: the newest, not yet encoded
        self._encoding: dict[str, asyncio.Task[None]] = {}  # by camera
        self._talker: PageClient | None = None
        self._talk_start_s = 0.0  # monotonic
        self._talk_timeout: asyncio.TimerHandle | None = None

    # From the robot, on any thread

    def show_image(self, camera: str, image: ConsoleImage) -> None:
        """Show a new image of a camera."""
        self._call_soon(self._on_image, camera, image)

    def show_result(self, result: ConsoleResult) -> None:
        """Show a new result."""
        self._call_soon(self._on_result, result)

    def show_text(self, kind: str, text: str) -> None:
        """Show text: ``kind`` is transcript (recognised speech) or say (what the robot says)."""
        self._call_soon(self._broadcast, kind, text)

    def set_cameras(self, names: Sequence[str]) -> None:
        """Set the names of the cameras."""
        self._call_soon(self._on_cameras, tuple(names))

    def set_settings(self, settings: Sequence[Setting]) -> None:
        """Set the parameters that may be changed."""
        self._call_soon(
            self._broadcast, "settings", [dataclasses.asdict(each) for each in settings]
        )

    def set_health(self, statuses: Sequence[Health]) -> None:
        """Set the node's diagnostics."""
        self._call_soon(self._broadcast, "health", [dataclasses.asdict(s) for s in statuses])

    def set_presence(self, presence: Presence) -> None:
        """Set which parts of the robot's software are running."""
        self._call_soon(self._broadcast, "presence", dataclasses.asdict(presence))

    def _call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._show, function, *arguments)
            except RuntimeError:  # the loop was closed in the meantime
                self._loop = None

    def _show(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function; if it fails, show a problem and continue."""
        try:
            function(*arguments)
        except Exception as error:
            reason = one_line(error)
            LOG.warning("something cannot be shown: %s", reason)
            self._report_problem(reason)

    # In the event loop

    def start(self) -> None:
        """Use the running event loop."""
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Close all pages' connections."""
        self._loop = None
        closing = [client.ws.close(code=1001) for client in self._clients]
        await asyncio.gather(*closing, return_exceptions=True)

    @property
    def n_clients(self) -> int:
        """Number of open pages."""
        return len(self._clients)

    def connect(self, client: PageClient) -> None:
        """Add a page, and send it the state."""
        for kind, text in self._messages.items():
            client.send_text(kind, text)
        self._clients.add(client)
        self.select_camera(client, self._cameras[0])

    def disconnect(self, client: PageClient) -> None:
        """Remove a page."""
        self._clients.discard(client)
        self.talk(client, held=False)
        self._update_watched()

    def select_camera(self, client: PageClient, camera: str) -> None:
        """Let a page show another camera."""
        if camera not in self._cameras:
            return
        client.camera = camera
        client.drop_image()
        result = self._results.get(camera)
        value = result.to_json() if result else None
        client.send_text("answer", json.dumps({"kind": "answer", "value": value}))
        client.send_text("camera", json.dumps({"kind": "camera", "value": camera}))
        self._update_watched()

    def get_result(self, camera: str) -> ConsoleResult | None:
        """Get the newest result of a camera."""
        return self._results.get(camera)

    def _broadcast(self, kind: str, value: object) -> None:
        """Send a message to all pages, now and when they connect."""
        text = json.dumps({"kind": kind, "value": value}, allow_nan=False)
        if self._messages.get(kind) != text:
            self._messages[kind] = text
            for client in self._clients:
                client.send_text(kind, text)

    def _report_problem(self, text: str) -> None:
        """Show a problem on the pages that are open now."""
        for client in self._clients:
            client.send_text("problem", json.dumps({"kind": "problem", "value": text}))

    def _is_watched(self, camera: str) -> bool:
        return any(client.camera == camera for client in self._clients)

    def _on_cameras(self, names: tuple[str, ...]) -> None:
        self._cameras = names
        self._broadcast("cameras", names)
        for client in self._clients:
            if client.camera not in names:
                self.select_camera(client, names[0])

    def _update_watched(self) -> None:
        watched = frozenset(each.camera for each in self._clients if each.camera is not None)
        self.robot.watch(watched)
        # Drop what would be out of date when the next page opens.
        for camera in set(self._results) - watched:
            del self._results[camera]
        for kind in set(self._messages) - set(_LASTING_KINDS) if not watched else ():
            del self._messages[kind]

    # Images

    def _on_image(self, camera: str, image: ConsoleImage) -> None:
        if not self._is_watched(camera):
            return
        now_s = time.monotonic()
        is_expected = self.history.expects_image(camera) and image.is_overlay
        # A tolerance of 10 %, so that no image of a camera with exactly this rate is dropped.
        is_due = now_s >= self._image_s.get(camera, -math.inf) + 0.9 * self._period_s
        if not is_expected and not is_due:
            return
        self._image_s[camera] = now_s
        self._pending[camera] = image
        task = self._encoding.get(camera)
        if task is None or task.done():
            self._encoding[camera] = asyncio.create_task(self._encode_pending(camera))

    async def _encode_pending(self, camera: str) -> None:
        while camera in self._pending:
            image = self._pending.pop(camera)
            try:
                jpeg = await asyncio.to_thread(image.encode)
            except Exception as error:
                self._report_problem(one_line(error, with_type=False))
                continue
            if self.history.add_image(camera, image, jpeg):
                self._broadcast("history", self.history.to_json())
            header = json.dumps(
                {
                    "camera": camera,
                    "stamp_ns": str(image.stamp_ns),
                    "is_overlay": image.is_overlay,
                    "age_ms": image.age_ms,
                }
            ).encode()
            message = len(header).to_bytes(4, "big") + header + jpeg
            for client in self._clients:
                if client.camera == camera:
                    client.send_image(message)

    # Results

    def _on_result(self, result: ConsoleResult) -> None:
        if not self._is_watched(result.camera) or result.status == "superseded":
            return
        is_first = not self.history.contains(result)
        if is_first and result.status in (*_INFERENCE_STATUSES, "error"):
            self.history.add(result)
            self._broadcast("history", self.history.to_json())
            if result.status == "error":
                self._report_problem(f"{result.command}: {result.text}")
        if result.status == "error" and not result.has_image:
            return  # a refused command does not replace the current one
        self._results[result.camera] = result
        text = json.dumps({"kind": "answer", "value": result.to_json()}, allow_nan=False)
        for client in self._clients:
            if client.camera == result.camera:
                client.send_text("answer", text)

    # Speech

    def send_audio(self, client: PageClient, pcm: bytes) -> None:
        """Pass on audio from the page that is talking.

        Raises:
            ValueError: The audio ends within a sample.
        """
        if len(pcm) % 2:
            raise ValueError(f"audio has {len(pcm)} bytes; accepted: an even number, two a sample")
        if client is self._talker:
            self.robot.audio(pcm)

    def talk(self, client: PageClient, *, held: bool) -> None:
        """Start, go on or stop talking; one page at a time, for at most MAX_TALK_S.

        A page repeats that it holds the button; TALK_HELD_S without a repetition, it is released.
        """
        now_s = time.monotonic()
        if not held:
            client.has_talked_enough = False
            if self._talker is client:
                self._end_talk()
            return
        if self._talker is not None and self._talker is not client:
            text = json.dumps({"kind": "talk", "value": "another page is talking"})
            client.send_text("talk", text)
            return
        if client.has_talked_enough:
            return
        if self._talker is None:
            self._talker, self._talk_start_s = client, now_s
        elif now_s > self._talk_start_s + MAX_TALK_S:
            client.has_talked_enough = True  # until the button is released
            self._end_talk()
            return
        if self._talk_timeout is not None:
            self._talk_timeout.cancel()
        loop = asyncio.get_running_loop()
        self._talk_timeout = loop.call_later(TALK_HELD_S, self._end_talk)
        self.robot.talk(True)

    def _end_talk(self) -> None:
        if self._talk_timeout is not None:
            self._talk_timeout.cancel()
        self._talker = self._talk_timeout = None
        self.robot.talk(False)
