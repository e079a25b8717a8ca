# SPDX-License-Identifier: Apache-2.0
"""The HTTP routes and the WebSocket of the web console."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from mllmseg_ros.language.command import MAX_COMMAND_CHARS
from mllmseg_ros.web.console import Console
from mllmseg_ros.web.guard import Access, guarded_application, open_socket
from mllmseg_ros.web.page_client import PageClient
from mllmseg_ros.web.state import find_entry

__all__ = ["console_application"]

_PAGE = Path(__file__).parent / "page"
_MAX_CLIENTS = 32
_REPLY_TIMEOUT_S = 10.0  # for a parameter or a command
_EXPLANATION_TIMEOUT_S = 120.0  # a large model on a CPU


def console_application(access: Access, console: Console) -> web.Application:
    """Create the application that serves the page and connects it with the console."""
    app = guarded_application(access, _PAGE)
    routes = _Routes(console)
    app.router.add_get("/socket", routes.on_socket)
    app.router.add_get(r"/history/{number:\d{1,9}}", routes.on_history_image)
    app.router.add_post("/command", routes.on_command)
    app.router.add_post("/stop", routes.on_stop)
    app.router.add_post("/click", routes.on_click)
    app.router.add_post("/setting", routes.on_setting)
    app.router.add_post("/explain", routes.on_explain)

    async def start(app: web.Application) -> None:
        console.start()

    async def stop(app: web.Application) -> None:
        await console.stop()

    app.on_startup.append(start)
    app.on_shutdown.append(stop)
    return app


class _Routes:
    def __init__(self, console: Console) -> None:
        self._console, self._robot = console, console.robot

    async def on_socket(self, request: web.Request) -> web.StreamResponse:
        """Serve a page for as long as it is open."""
        console = self._console
        if console.n_clients >= _MAX_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{_MAX_CLIENTS} pages are open already")
        ws = await open_socket(request)
        client = PageClient(ws)
        console.connect(client)
        writer = asyncio.create_task(client.write())
        writer.add_done_callback(_ignore_disconnection)
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    self._on_text(client, message.data)
                elif message.type is WSMsgType.BINARY:
                    console.send_audio(client, message.data)
        finally:
            writer.cancel()
            console.disconnect(client)
        return ws

    def _on_text(self, client: PageClient, text: str) -> None:
        match _parse_object(text):
            case {"kind": "shown"}:
                client.confirm_image()
            case {"kind": "camera", "value": str(name)}:
                self._console.select_camera(client, name)
            case {"kind": "talk", "value": bool(held)}:
                self._console.talk(client, held=held)

    async def on_command(self, request: web.Request) -> web.Response:
        """Send a command. Body: {"text": ...}."""
        text = await _get_field(request, "text", str)
        if len(text) > MAX_COMMAND_CHARS:
            raise _bad_request(f"a command of {len(text)} characters, at most {MAX_COMMAND_CHARS}")
        return await self._send_command(text)

    async def on_stop(self, request: web.Request) -> web.Response:
        """Send the command to stop. No body."""
        return await self._send_command("stop")

    async def _send_command(self, text: str) -> web.Response:
        refusal = await _wait_for(self._robot.command(text), _REPLY_TIMEOUT_S)
        if refusal:
            raise _bad_request(refusal)
        return web.json_response({})

    async def on_click(self, request: web.Request) -> web.Response:
        """Find the entry at a pixel. Body: {"camera": ..., "uv": [px, px]}."""
        camera = await _get_field(request, "camera", str)
        uv = await _get_field(request, "uv", list)
        if len(uv) != 2 or not all(isinstance(x, int | float) and math.isfinite(x) for x in uv):
            raise _bad_request("uv: two numbers expected")
        result = self._console.get_result(camera)
        return web.json_response({"index": find_entry(result, *uv) if result else None})

    async def on_setting(self, request: web.Request) -> web.Response:
        """Set a parameter. Body: {"name": ..., "value": ...}."""
        name = await _get_field(request, "name", str)
        value = await _get_field(request, "value", (bool, int, float, str))
        refusal = await _wait_for(self._robot.set(name, value), _REPLY_TIMEOUT_S)
        if refusal:
            raise _bad_request(refusal)
        return web.json_response({})

    async def on_explain(self, request: web.Request) -> web.Response:
        """Explain a result. Body: {"expression": ..., "camera": ...}; the PNG is in base64."""
        expression = await _get_field(request, "expression", str)
        camera = await _get_field(request, "camera", str)
        future = self._robot.explain(expression, camera)
        explanation = await _wait_for(future, _EXPLANATION_TIMEOUT_S)
        png = base64.b64encode(explanation.png).decode()
        return web.json_response({"text": explanation.text, "png": png})

    async def on_history_image(self, request: web.Request) -> web.Response:
        """Serve the image of a command in the history."""
        jpeg = self._console.history.find_jpeg(int(request.match_info["number"]))
        if jpeg is None:
            raise web.HTTPNotFound(text="no such image")
        return web.Response(body=jpeg, content_type="image/jpeg")


def _ignore_disconnection(writer: asyncio.Task[None]) -> None:
    """Raise a writer's error unless the page was closed while something was sent."""
    error = None if writer.cancelled() else writer.exception()
    if error is not None and not isinstance(error, ConnectionError):
        raise error


async def _get_field(request: web.Request, name: str, kind: type | tuple[type, ...]) -> Any:
    value = _parse_object(await request.text()).get(name)
    if not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
        raise _bad_request(f"{name}: missing, or of the wrong type")
    if isinstance(value, str) and any("\ud800" <= each <= "\udfff" for each in value):
        raise _bad_request(f"{name}: contains half a surrogate pair")
    return value


def _parse_object(text: str) -> dict[str, Any]:
    """Parse a JSON object; {} for anything else."""
    try:
        value = json.loads(text, parse_int=_parse_int)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _parse_int(digits: str) -> int | float:
    """Parse an integer; one that does not fit into 64 bits becomes a float."""
    return int(digits) if len(digits) < 19 else float(digits)


async def _wait_for(future: Future[Any], timeout_s: float) -> Any:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
    except asyncio.TimeoutError:
        raise _bad_request(f"no reply within {timeout_s:.0f} s") from None
    except ValueError as error:
        raise _bad_request(str(error)) from None


def _bad_request(reason: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": reason}), content_type="application/json")
