# SPDX-License-Identifier: Apache-2.0
"""Serve an ASGI application on a path of a guarded one, behind the same checks as its pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from aiohttp import hdrs, web
from multidict import CIMultiDict

__all__ = ["asgi_handler"]

_Message = MutableMapping[str, Any]
_Application = Callable[
    [
        _Message,
        Callable[[], Awaitable[_Message]],
        Callable[[_Message], Awaitable[None]],
    ],
    Awaitable[None],
]
_CHECK_S = 0.5  # how soon a client that has gone is noticed while nothing is sent
# Of the connection, which is aiohttp's.
_NOT_PASSED = (hdrs.CONNECTION, hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING)


def asgi_handler(
    application: _Application,
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make a handler of requests out of an ASGI application.

    The body was read, and limited, by :mod:`mllmseg_ros.web.guard`. Responses are streamed.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        exchange = _Exchange(request, await request.read())
        await application(_scope(request), exchange.receive, exchange.send)
        if exchange.response is None:
            raise RuntimeError("the application has not responded")
        return exchange.response

    return handle


class _Exchange:
    """A request and its response."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.response: web.StreamResponse | None = None
        self._request, self._body = request, body
        self._is_received = False

    async def receive(self) -> _Message:
        """Return the body, then wait until the client is gone."""
        if not self._is_received:
            self._is_received = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        while self._request.transport is not None and not self._request.transport.is_closing():
            await asyncio.sleep(_CHECK_S)
        return {"type": "http.disconnect"}

    async def send(self, message: _Message) -> None:
        """Begin the response, or send a part of it."""
        if message["type"] == "http.response.start":
            headers = CIMultiDict(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message.get("headers", ())
            )
            for name in _NOT_PASSED:
                headers.popall(name, None)
            self.response = web.StreamResponse(status=message["status"], headers=headers)
            await self.response.prepare(self._request)
        elif message["type"] == "http.response.body":
            assert self.response is not None
            if message.get("body"):
                await self.response.write(message["body"])
            if not message.get("more_body", False):
                await self.response.write_eof()


def _scope(request: web.Request) -> _Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.raw_path.encode("latin-1", "replace"),
        "query_string": request.query_string.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": (request.remote or "", 0),
        "server": None,
    }
