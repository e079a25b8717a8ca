# SPDX-License-Identifier: Apache-2.0
"""The web console: live picture, commands by keyboard and voice, the node's state, in one page.

Knows nothing of ROS. Whoever has the robot implements :class:`Robot` (what people want of it) and
tells :class:`Console` what happens, from any thread. Requests that have an answer are HTTP POSTs;
what goes on all the time comes over a WebSocket: texts as JSON, pictures as JPEG, audio the other
way. A client gets the newest of everything when it is ready for it, never a queue: a slow one sees
fewer pictures, not older ones.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from mllmseg_ros.language.command import MAX_COMMAND_CHARS
from mllmseg_ros.web.guard import Access, guarded_application, open_socket
from mllmseg_ros.web.state import (
    Answer,
    Explanation,
    Health,
    Picture,
    Presence,
    Setting,
    SettingValue,
    hit,
)

__all__ = ["Console", "Robot", "console_application"]

PAGE = Path(__file__).parent / "page"
MAX_CLIENTS = 32
_MAX_HISTORY = 24
_UNSHOWN = 2  # pictures on their way to a page; hides the way's latency and is no queue yet
_SILENT_S = 5.0  # a page that hears nothing for 15 s takes the connection for lost
_ANSWER_S = 10.0  # for a parameter or a command
_EXPLANATION_S = 120.0  # a large model on a CPU
_MAX_TALK_S = 60.0
_LASTING = ("cameras", "settings", "history")  # kinds of texts
_IN_FORCE = ("ok", "partial", "no_target", "low_confidence")


class Robot(Protocol):
    """What people want of the robot. Called from the web's thread; must not block."""

    def watch(self, cameras: frozenset[str]) -> None:
        """These cameras are looked at from now on; none: nobody is there."""

    def command(self, text: str) -> Future[str]:
        """Somebody commands; "" or why that reached nobody."""

    def talk(self, held: bool) -> None:
        """Somebody begins or ends to speak."""

    def audio(self, pcm: bytes) -> None:
        """What is said: 16-bit little-endian mono at 16 kHz."""

    def set(self, name: str, value: SettingValue) -> Future[str]:
        """Change a parameter; "" or why it was refused."""

    def explain(self, expression: str, camera: str) -> Future[Explanation]:
        """Ask why; may fail with ValueError."""


@dataclasses.dataclass(kw_only=True)
class _Past:
    """A command that was answered."""

    number: int
    time_s: float  # Unix
    answer: Answer
    picture: bytes = b""  # JPEG

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "time_s": self.time_s,
            "camera": self.answer.camera,
            "command": self.answer.command,
            "status": self.answer.status,
            "text": self.answer.text,
            "has_picture": bool(self.picture),
        }


class _Client:
    """One page, in the web's thread alone."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self.ws = ws
        self.camera: str | None = None
        self.texts: dict[str, str] = {}  # the newest of each kind, not sent yet
        self.picture: bytes | None = None  # the newest, not sent yet
        self.unshown = 0
        self.ready = asyncio.Event()

    def post(self, kind: str, text: str) -> None:
        self.texts[kind] = text
        self.ready.set()

    def show(self, picture: bytes) -> None:
        self.picture = picture
        self.ready.set()

    async def write(self) -> None:
        """Send until the page is gone."""
        while not self.ws.closed:
            try:
                await asyncio.wait_for(self.ready.wait(), _SILENT_S)
            except asyncio.TimeoutError:
                self.texts["alive"] = '{"kind": "alive"}'
            self.ready.clear()
            while self.texts:
                await self.ws.send_str(self.texts.pop(next(iter(self.texts))))
            if self.picture is not None and self.unshown < _UNSHOWN:
                picture, self.picture = self.picture, None
                self.unshown += 1
                await self.ws.send_bytes(picture)


class Console:
    """The state of the console and its pages.

    ``show``, ``answer``, ``cameras``, ``settings``, ``health``, ``presence`` and ``heard`` may be
    called from any thread; they return at once.
    """

    def __init__(self, robot: Robot, *, rate_hz: float) -> None:
        """Make a console that nobody looks at yet.

        Args:
            robot: told what people want.
            rate_hz: most pictures per second of a camera.
        """
        self._robot, self._period_s = robot, 1 / rate_hz
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: set[_Client] = set()
        self._cameras: tuple[str, ...] = ("",)
        self._texts: dict[str, str] = {}  # the newest of each kind, for whoever comes
        self._answers: dict[str, Answer] = {}  # by camera
        self._shown_s: dict[str, float] = {}  # by camera: monotonic time of the last picture
        self._coming: dict[str, Picture] = {}  # by camera: the newest, not encoded yet
        self._encoding: dict[str, asyncio.Task[None]] = {}
        self._history: deque[_Past] = deque(maxlen=_MAX_HISTORY)
        self._n_past = 0
        self._awaited: dict[str, _Past] = {}  # by camera: its picture has not come yet
        self._talker: _Client | None = None
        self._talk_end: asyncio.TimerHandle | None = None

    # From the robot, on any thread

    def show(self, camera: str, picture: Picture) -> None:
        """A picture has come."""
        self._soon(self._show, camera, picture)

    def answer(self, answer: Answer) -> None:
        """An answer has come."""
        self._soon(self._on_answer, answer)

    def cameras(self, names: Sequence[str]) -> None:
        """These cameras are there."""
        self._soon(self._set_cameras, tuple(names))

    def settings(self, settings: Sequence[Setting]) -> None:
        """These parameters may be changed."""
        self._soon(self._tell, "settings", [dataclasses.asdict(each) for each in settings])

    def health(self, statuses: Sequence[Health]) -> None:
        """The node's diagnostics."""
        self._soon(self._tell, "health", [dataclasses.asdict(each) for each in statuses])

    def presence(self, presence: Presence) -> None:
        """What is there, and what is not."""
        self._soon(self._tell, "presence", dataclasses.asdict(presence))

    def heard(self, kind: str, text: str) -> None:
        """``kind`` is transcript (what was understood of speech) or say (what the robot says)."""
        self._soon(self._tell, kind, text)

    def _soon(self, function, *arguments) -> None:  # type: ignore[no-untyped-def]
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(function, *arguments)
            except RuntimeError:  # closed meanwhile
                self._loop = None

    # In the web's thread

    def start(self) -> None:
        """Take the loop that runs now."""
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Send everybody away."""
        self._loop = None
        farewells = [client.ws.close(code=1001) for client in self._clients]
        await asyncio.gather(*farewells, return_exceptions=True)

    def _tell(self, kind: str, value: object) -> None:
        text = json.dumps({"kind": kind, "value": value}, allow_nan=False)
        if self._texts.get(kind) != text:
            self._texts[kind] = text
            for client in self._clients:
                client.post(kind, text)

    def _alert(self, text: str) -> None:
        """Tell those who are there now."""
        for client in self._clients:
            client.post("problem", json.dumps({"kind": "problem", "value": text}))

    def _is_watched(self, camera: str) -> bool:
        return any(client.camera == camera for client in self._clients)

    def _set_cameras(self, names: tuple[str, ...]) -> None:
        self._cameras = names
        self._tell("cameras", names)
        for client in self._clients:
            if client.camera not in names:
                self._choose(client, names[0])

    def _choose(self, client: _Client, camera: str) -> None:
        if camera not in self._cameras:
            return
        client.camera, client.picture = camera, None
        text = json.dumps({"kind": "answer", "value": self._answer_json(camera)})
        client.post("answer", text)
        client.post("camera", json.dumps({"kind": "camera", "value": camera}))
        self._watch()

    def _watch(self) -> None:
        watched = frozenset(each.camera for each in self._clients if each.camera is not None)
        self._robot.watch(watched)
        # What would be old by the time that somebody looks again.
        for camera in set(self._answers) - watched:
            del self._answers[camera]
        for kind in set(self._texts) - set(_LASTING) if not watched else ():
            del self._texts[kind]

    def _answer_json(self, camera: str) -> dict[str, Any] | None:
        answer = self._answers.get(camera)
        return answer.to_json() if answer else None

    # Pictures

    def _show(self, camera: str, picture: Picture) -> None:
        if not self._is_watched(camera):
            return
        now_s = time.monotonic()
        # A tenth early, so that a camera at just this rate loses none.
        awaited = camera in self._awaited and picture.is_overlay
        if not awaited and now_s < self._shown_s.get(camera, -math.inf) + 0.9 * self._period_s:
            return
        self._shown_s[camera] = now_s
        self._coming[camera] = picture
        task = self._encoding.get(camera)
        if task is None or task.done():
            self._encoding[camera] = asyncio.create_task(self._encode(camera))

    async def _encode(self, camera: str) -> None:
        while camera in self._coming:
            picture = self._coming.pop(camera)
            try:
                jpeg = await asyncio.to_thread(picture.encode)
            except ValueError as error:
                self._alert(str(error))
                continue
            self._keep(camera, picture, jpeg)
            head = json.dumps(
                {
                    "camera": camera,
                    "stamp_ns": str(picture.stamp_ns),
                    "is_overlay": picture.is_overlay,
                    "age_ms": picture.age_ms,
                }
            ).encode()
            message = len(head).to_bytes(4, "big") + head + jpeg
            for client in self._clients:
                if client.camera == camera:
                    client.show(message)

    # Answers and what became of commands

    def _on_answer(self, answer: Answer) -> None:
        if not self._is_watched(answer.camera) or answer.status == "superseded":
            return
        if answer.status in (*_IN_FORCE, "error") and self._is_new(answer):
            self._remember(answer)
            if answer.status == "error":
                self._alert(f"{answer.command}: {answer.text}")
        if answer.status == "error" and not answer.has_image:
            return  # refused; what was in force stays in force
        self._answers[answer.camera] = answer
        text = json.dumps({"kind": "answer", "value": answer.to_json()}, allow_nan=False)
        for client in self._clients:
            if client.camera == answer.camera:
                client.post("answer", text)

    def _remember(self, answer: Answer) -> None:
        self._n_past += 1
        past = _Past(number=self._n_past, time_s=time.time(), answer=answer)
        self._history.append(past)
        if answer.entries:
            self._awaited[answer.camera] = past
        self._tell_history()

    def _is_new(self, answer: Answer) -> bool:
        ids = {(past.answer.camera, past.answer.request_id) for past in self._history}
        return (answer.camera, answer.request_id) not in ids

    def _keep(self, camera: str, picture: Picture, jpeg: bytes) -> None:
        """Put the picture of a first answer into the history."""
        past = self._awaited.get(camera)
        if past is None or not picture.is_overlay or picture.stamp_ns < past.answer.stamp_ns:
            return
        past.picture = jpeg
        del self._awaited[camera]
        self._tell_history()

    def _tell_history(self) -> None:
        self._tell("history", [past.to_json() for past in reversed(self._history)])

    # Requests

    async def on_socket(self, request: web.Request) -> web.StreamResponse:
        """A page, from its coming to its going."""
        if len(self._clients) >= MAX_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_CLIENTS} pages are open already")
        ws = await open_socket(request)
        client = _Client(ws)
        client.texts.update(self._texts)
        self._clients.add(client)
        self._choose(client, self._cameras[0])
        client.ready.set()
        writer = asyncio.create_task(client.write())
        writer.add_done_callback(_expect_loss)
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    self._on_text(client, message.data)
                elif message.type is WSMsgType.BINARY:
                    self._on_audio(client, message.data)
        finally:
            writer.cancel()
            self._clients.discard(client)
            self._talk(client, held=False)
            self._watch()
        return ws

    def _on_text(self, client: _Client, text: str) -> None:
        match _json_object(text):
            case {"kind": "shown"}:
                client.unshown = max(0, client.unshown - 1)
                client.ready.set()
            case {"kind": "camera", "value": str(name)}:
                self._choose(client, name)
            case {"kind": "talk", "value": bool(held)}:
                self._talk(client, held=held)

    def _on_audio(self, client: _Client, pcm: bytes) -> None:
        if client is self._talker and len(pcm) % 2 == 0:
            self._robot.audio(pcm)

    def _talk(self, client: _Client, *, held: bool) -> None:
        """One at a time; who forgets to let go is cut off."""
        if held and self._talker is client:
            return
        if held and self._talker is not None:
            client.post("talk", json.dumps({"kind": "talk", "value": "somebody else is talking"}))
            return
        if not held and self._talker is not client:
            return
        if self._talk_end is not None:
            self._talk_end.cancel()
        self._talker = client if held else None
        loop = asyncio.get_running_loop()
        if held:
            self._talk_end = loop.call_later(_MAX_TALK_S, lambda: self._talk(client, held=False))
        self._robot.talk(held)

    async def on_command(self, request: web.Request) -> web.Response:
        """Body: {"text": ...}."""
        text = await _field(request, "text", str)
        if len(text) > MAX_COMMAND_CHARS:
            raise _refused(f"a command of {len(text)} characters, at most {MAX_COMMAND_CHARS}")
        return await self._command(text)

    async def on_stop(self, request: web.Request) -> web.Response:
        """No body."""
        return await self._command("stop")

    async def _command(self, text: str) -> web.Response:
        refusal = await _in_time(self._robot.command(text), _ANSWER_S)
        if refusal:
            raise _refused(refusal)
        return web.json_response({})

    async def on_click(self, request: web.Request) -> web.Response:
        """Body: {"camera": ..., "uv": [px, px]}; answers with the index of an entry, or null."""
        camera, uv = await _field(request, "camera", str), await _field(request, "uv", list)
        if len(uv) != 2 or not all(isinstance(x, int | float) and math.isfinite(x) for x in uv):
            raise _refused("uv: two numbers expected")
        answer = self._answers.get(camera)
        return web.json_response({"index": hit(answer, *uv) if answer else None})

    async def on_setting(self, request: web.Request) -> web.Response:
        """Body: {"name": ..., "value": ...}."""
        name = await _field(request, "name", str)
        value = await _field(request, "value", (bool, int, float, str))
        refusal = await _in_time(self._robot.set(name, value), _ANSWER_S)
        if refusal:
            raise _refused(refusal)
        return web.json_response({})

    async def on_explain(self, request: web.Request) -> web.Response:
        """Body: {"expression": ..., "camera": ...}; answers with text and panel, PNG in base64."""
        expression = await _field(request, "expression", str)
        camera = await _field(request, "camera", str)
        explanation = await _in_time(self._robot.explain(expression, camera), _EXPLANATION_S)
        png = base64.b64encode(explanation.png).decode()
        return web.json_response({"text": explanation.text, "png": png})

    async def on_past_picture(self, request: web.Request) -> web.Response:
        """The picture of a command in the history."""
        number = int(request.match_info["number"])
        for past in self._history:
            if past.number == number and past.picture:
                return web.Response(body=past.picture, content_type="image/jpeg")
        raise web.HTTPNotFound(text="no such picture")


def console_application(access: Access, console: Console) -> web.Application:
    """Make the application that serves the page and connects it with the console."""
    app = guarded_application(access, PAGE)
    app.router.add_get("/socket", console.on_socket)
    app.router.add_get(r"/history/{number:\d{1,9}}", console.on_past_picture)
    app.router.add_post("/command", console.on_command)
    app.router.add_post("/stop", console.on_stop)
    app.router.add_post("/click", console.on_click)
    app.router.add_post("/setting", console.on_setting)
    app.router.add_post("/explain", console.on_explain)

    async def start(app: web.Application) -> None:
        console.start()

    async def stop(app: web.Application) -> None:
        await console.stop()

    app.on_startup.append(start)
    app.on_shutdown.append(stop)
    return app


def _expect_loss(writer: asyncio.Task[None]) -> None:
    """A page that goes while something is sent to it is no mistake; anything else is."""
    error = None if writer.cancelled() else writer.exception()
    if error is not None and not isinstance(error, ConnectionError):
        raise error


async def _field(request: web.Request, name: str, kind: type | tuple[type, ...]) -> Any:
    value = _json_object(await request.text()).get(name)
    if not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
        raise _refused(f"{name}: missing, or of the wrong kind")
    if isinstance(value, str) and any("\ud800" <= each <= "\udfff" for each in value):
        raise _refused(f"{name}: half a character")
    return value


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _whole(digits: str) -> int | float:
    """A number without fraction; one that nothing here has room for becomes infinite or rounded."""
    return int(digits) if len(digits) < 19 else float(digits)


async def _in_time(future: Future[Any], limit_s: float) -> Any:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), limit_s)
    except asyncio.TimeoutError:
        raise _refused(f"no answer within {limit_s:.0f} s") from None
    except ValueError as error:
        raise _refused(str(error)) from None


def _refused(reason: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": reason}), content_type="application/json")
