# SPDX-License-Identifier: Apache-2.0
"""The HTTP routes and the WebSocket of the web console."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import parse_json
from mllmseg_ros.language.command import MAX_COMMAND_CHARS
from mllmseg_ros.web.console import Console
from mllmseg_ros.web.guard import Access, guarded_application, open_socket
from mllmseg_ros.web.limits import Rate
from mllmseg_ros.web.log import LOG
from mllmseg_ros.web.page_client import PageClient
from mllmseg_ros.web.state import find_entry

__all__ = ["console_application"]

_PAGE = Path(__file__).parent / "page"
_STOP = "/stop"
MAX_CLIENTS = 32
MESSAGES_PER_S, MESSAGES_AT_ONCE = 200.0, 400  # of a page; audio has 25, images have 60 a second
REPLY_TIMEOUT_S = 10.0  # for a parameter
EXPLANATION_TIMEOUT_S = 120.0  # a large model on a CPU
_INT64 = 1 << 63

_Reply = TypeVar("_Reply")


def console_application(access: Access, console: Console) -> web.Application:
    """Create the application that serves the page and connects it with the console."""
    app = guarded_application(access, _PAGE, urgent_path=_STOP)
    routes = _Routes(console)
    app.router.add_get("/socket", routes.on_socket)
    app.router.add_get(r"/history/{number:\d{1,9}}", routes.on_history_image)
    app.router.add_post("/command", routes.on_command)
    app.router.add_post(_STOP, routes.on_stop)
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
        if console.n_clients >= MAX_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_CLIENTS} pages are open already")
        ws = await open_socket(request)
        client = PageClient(ws)
        rate = Rate(MESSAGES_PER_S, MESSAGES_AT_ONCE)
        console.connect(client)
        writer = asyncio.create_task(self._write(client))
        try:
            async for message in ws:
                if not rate.admits():
                    LOG.warning("a page of %s sends too many messages: closed", request.remote)
                    await ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too many messages")
                    break
                try:
                    self._on_message(client, message)
                except Exception as error:
                    reason = one_line(error, with_type=not isinstance(error, ValueError))
                    LOG.warning("a message of a page of %s is refused: %s", request.remote, reason)
                    text = json.dumps({"kind": "problem", "value": reason})
                    client.send_text("problem", text)
        finally:
            writer.cancel()
            console.disconnect(client)
        return ws

    async def _write(self, client: PageClient) -> None:
        try:
            await client.write()
        except ConnectionError:  # the page was closed while something was sent
            pass
        except Exception as error:
            LOG.error("nothing can be sent to a page any more: %s", one_line(error))
            await client.ws.close(code=WSCloseCode.INTERNAL_ERROR)

    def _on_message(self, client: PageClient, message: WSMessage) -> None:
        if message.type is WSMsgType.BINARY:
            self._console.send_audio(client, message.data)
        if message.type is not WSMsgType.TEXT:  # else the connection has failed
            return
        match parse_json(message.data, "message"):
            case {"kind": "shown"}:
                client.confirm_image()
            case {"kind": "camera", "value": str(name)}:
                self._console.select_camera(client, name)
            case {"kind": "talk", "value": bool(held)}:
                self._console.talk(client, held=held)
            case _:
                raise ValueError("a message is of no known kind, or its value of the wrong type")

    async def on_command(self, request: web.Request) -> web.Response:
        """Send a command. Body: {"text": ...}."""
        text = await _get_text(request, "text")
        if len(text) > MAX_COMMAND_CHARS:
            raise ValueError(f"a command of {len(text)} characters, at most {MAX_COMMAND_CHARS}")
        return self._send_command(text)

    async def on_stop(self, request: web.Request) -> web.Response:
        """Send the command to stop. No body."""
        return self._send_command("stop")

    def _send_command(self, text: str) -> web.Response:
        refusal = self._robot.command(text)
        if refusal:
            raise ValueError(refusal)
        return web.json_response({})

    async def on_click(self, request: web.Request) -> web.Response:
        """Find the entry at a pixel. Body: {"camera": ..., "uv": [px, px]}."""
        camera = await _get_text(request, "camera")
        uv = (await _get_body(request)).get("uv")
        if not isinstance(uv, list) or len(uv) != 2 or not all(map(_is_number, uv)):
            raise ValueError("uv: two numbers expected")
        result = self._console.get_result(camera)
        return web.json_response({"index": find_entry(result, *uv) if result else None})

    async def on_setting(self, request: web.Request) -> web.Response:
        """Set a parameter. Body: {"name": ..., "value": ...}."""
        name = await _get_text(request, "name")
        value = (await _get_body(request)).get("value")
        if isinstance(value, str):
            value = await _get_text(request, "value")
        elif not isinstance(value, bool | int | float) or not (
            isinstance(value, bool) or _is_number(value)
        ):
            raise ValueError("value: missing, of the wrong type, or too large")
        refusal = await _wait_for(self._robot.set(name, value), REPLY_TIMEOUT_S)
        if refusal:
            raise ValueError(refusal)
        return web.json_response({})

    async def on_explain(self, request: web.Request) -> web.Response:
        """Explain a result. Body: {"expression": ..., "camera": ...}; the PNG is in base64."""
        expression = await _get_text(request, "expression")
        camera = await _get_text(request, "camera")
        future = self._robot.explain(expression, camera)
        explanation = await _wait_for(future, EXPLANATION_TIMEOUT_S)
        png = base64.b64encode(explanation.png).decode()
        return web.json_response({"text": explanation.text, "png": png})

    async def on_history_image(self, request: web.Request) -> web.Response:
        """Serve the image of a command in the history."""
        jpeg = self._console.history.find_jpeg(int(request.match_info["number"]))
        if jpeg is None:
            raise web.HTTPNotFound(text="no such image")
        return web.Response(body=jpeg, content_type="image/jpeg")


async def _get_body(request: web.Request) -> dict[str, Any]:
    """Parse the body. It is UTF-8, as JSON always is, whatever the header Content-Type says."""
    value = parse_json((await request.read()).decode(), "request")
    if not isinstance(value, dict):
        raise ValueError("request: an object expected")
    return value


async def _get_text(request: web.Request, name: str) -> str:
    value = (await _get_body(request)).get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name}: missing, or not text")
    if "\0" in value:  # which ends a string in ROS messages
        raise ValueError(f"{name}: contains a null character")
    return value


def _is_number(value: object) -> bool:
    """Whether a value is a finite float, or an integer of 64 bits."""
    if isinstance(value, int):
        return not isinstance(value, bool) and -_INT64 <= value < _INT64
    return isinstance(value, float) and math.isfinite(value)


async def _wait_for(future: Future[_Reply], timeout_s: float) -> _Reply:
    """Wait for a reply; a request that is not sent by then is withdrawn, and never sent."""
    reply = asyncio.wrap_future(future)
    reply.add_done_callback(lambda each: each.cancelled() or each.exception())  # it may come late
    try:
        await asyncio.wait([reply], timeout=timeout_s)
    finally:
        is_withdrawn = future.cancel()
    if is_withdrawn:
        raise ValueError(
            f"the console was busy for {timeout_s:g} s: nothing was changed, try again"
        )
    if not future.done():
        raise ValueError(
            f"no reply within {timeout_s:g} s; the segmenter has the request and may still "
            "carry it out"
        )
    return future.result()
