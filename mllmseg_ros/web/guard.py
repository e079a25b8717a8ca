# SPDX-License-Identifier: Apache-2.0
"""Who may talk to a web page of ours, and how: an aiohttp application with its doors guarded.

Knows nothing of what the page is about. Use::

    access = Access(port=8642)
    app = guarded_application(access, Path(__file__).parent / "page")  # index.html is served as /
    app.router.add_post("/label", on_label)  # or a WebSocket: open_socket(request)
    async with serving(app, access) as url:
        print(url)
        await asyncio.Event().wait()

* Bound to 127.0.0.1; any other address needs a token. It comes in a link (``/?token=...``), which
  leaves a cookie and takes itself out of the address bar, from the form that is shown without it,
  or as ``Authorization: Bearer ...`` from programs.
* ``Host`` is checked (DNS rebinding), ``Origin`` of whatever is no GET and of WebSockets (a foreign
  page in the same browser).
* Sizes of requests and messages are capped. The page's files are read once, at start: no path from
  a request touches the file system.
* Headers let the page load and send nothing but to where it came from.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import ipaddress
import mimetypes
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from aiohttp import hdrs, web

__all__ = ["Access", "guarded_application", "open_socket", "serving"]

MIN_TOKEN_CHARS = 16
_MAX_BODY_BYTES = 1 << 20
_MAX_MESSAGE_BYTES = 1 << 16  # of a WebSocket, from the page
_FAREWELL_S = 2.0
_HEARTBEAT_S = 10.0  # a page that has gone without a word is noticed after that
_COOKIE_DAYS = 30
# Nothing from another host, nothing inline; blob: is for pictures that come over the WebSocket.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # without any, a form is sent with Origin: null
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>Token</title><form action="/login" method="post"><p><label>{message}<br>
<input name="token" type="password" autocomplete="current-password" autofocus required></label>
<button>Open</button></p></form></html>"""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where a page is served, and to whom.

    Raises:
        ValueError: if the address can be reached from other machines and there is no token, or if
            a value is none.
    """

    address: str = "127.0.0.1"  # to bind to: an IP address, or localhost
    port: int = 8642  # 0: any that is free
    token: str = ""  # "": none is asked for
    origins: tuple[str, ...] = ()  # further ones a page may come from: "https://robot.example"

    def __post_init__(self) -> None:
        try:
            is_local = ipaddress.ip_address(self.number).is_loopback
        except ValueError:
            raise ValueError(
                f"address is {self.address!r}, accepted: an IP address or localhost"
            ) from None
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}, accepted: 0 (any that is free) to 65535")
        if not self.token and not is_local:
            raise ValueError(
                f"address {self.address} can be reached from other machines: a token is needed, "
                f"{MIN_TOKEN_CHARS} characters or more "
                "(python3 -c 'import secrets; print(secrets.token_urlsafe())')"
            )
        if self.token and len(self.token) < MIN_TOKEN_CHARS:
            raise ValueError(
                f"the token has {len(self.token)} characters, accepted: {MIN_TOKEN_CHARS} or more"
            )
        for origin in self.origins:
            parts = urlsplit(origin)
            is_web = parts.scheme in ("http", "https") and parts.hostname
            if not is_web or f"{parts.scheme}://{parts.netloc}" != origin:
                raise ValueError(f"origin is {origin!r}, accepted: such as https://robot.example")

    @property
    def number(self) -> str:
        """The address as a number."""
        return "127.0.0.1" if self.address == "localhost" else self.address

    @property
    def cookie(self) -> str:
        """Its name; browsers do not tell the ports of a host apart."""
        return f"mllmseg_{self.port}"

    @property
    def cookie_value(self) -> str:
        """Proves that the token was known, over restarts, and does not tell it."""
        return hmac.new(self.token.encode(), b"mllmseg cookie", hashlib.sha256).hexdigest()

    def allows_host(self, host: str) -> bool:
        """Whether a Host header may name this machine.

        A number is no name that somebody could point here; names are this machine's own and those
        of ``origins``.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            own = socket.gethostname().lower()
            others = (urlsplit(origin).hostname for origin in self.origins)
            return name in {"localhost", own, f"{own}.local", *others}
        return True

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether a request to a host may come from a page of an origin."""
        return origin in self.origins or urlsplit(origin).netloc.lower() == host.lower()


def guarded_application(access: Access, page: Path | None = None) -> web.Application:
    """Make an application that lets in only whom it should; add your own routes to it.

    Args:
        access: who that is.
        page: folder whose files are served under their names, ``index.html`` as ``/``. They are
            read here, once.
    """
    middlewares = [_protect, _check_sender(access)]
    if access.token:
        middlewares.append(_check_token(access))
    app = web.Application(middlewares=middlewares, client_max_size=_MAX_BODY_BYTES)
    if access.token:
        app.router.add_post("/login", _login(access))
    for path in sorted(page.iterdir()) if page else []:
        if path.is_file():
            app.router.add_get(f"/{path.name}", _file(path))
            if path.name == "index.html":
                app.router.add_get("/", _file(path))
    return app


@asynccontextmanager
async def serving(app: web.Application, access: Access) -> AsyncIterator[str]:
    """Serve while the context is open; gives the page's address, without the token.

    Raises:
        OSError: if the address cannot be bound to, for example because the port is taken.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, access.number, access.port)
        await site.start()
        name, port = runner.addresses[0][:2]
        number = ipaddress.ip_address(name)
        if number.is_unspecified:
            name = socket.gethostname()
        yield f"http://{f'[{name}]' if ':' in name else name}:{port}/"
    finally:
        await runner.cleanup()


async def open_socket(request: web.Request) -> web.WebSocketResponse:
    """Accept a WebSocket; a longer message than 64 KiB closes it."""
    ws = web.WebSocketResponse(
        max_msg_size=_MAX_MESSAGE_BYTES, heartbeat=_HEARTBEAT_S, timeout=_FAREWELL_S
    )
    await ws.prepare(request)
    return ws


@web.middleware
async def _protect(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Set the headers, on errors too."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_HEADERS)
        raise
    if not response.prepared:
        response.headers.update(_HEADERS)
    return response


def _check_sender(access: Access):  # type: ignore[no-untyped-def]
    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not access.allows_host(request.host):
            raise web.HTTPForbidden(text="Host is no name of this machine; see parameter origins")
        origin = request.headers.get(hdrs.ORIGIN)
        changes = request.method not in (hdrs.METH_GET, hdrs.METH_HEAD)
        is_socket = hdrs.UPGRADE in request.headers
        # Browsers always send it with these; who is no browser cannot be lured.
        if (
            (changes or is_socket)
            and origin is not None
            and not access.allows_origin(origin, request.host)
        ):
            raise web.HTTPForbidden(text="Origin is another page")
        return await handler(request)

    return check


def _check_token(access: Access):  # type: ignore[no-untyped-def]
    def matches(given: str, secret: str) -> bool:
        return hmac.compare_digest(given.encode(), secret.encode())

    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        known = (scheme == "Bearer" and matches(given, access.token)) or matches(
            request.cookies.get(access.cookie, ""), access.cookie_value
        )
        if known or request.path == "/login":
            return await handler(request)
        if request.path != "/":
            raise web.HTTPUnauthorized(text="no token, or a wrong one")
        if matches(request.query.get("token", ""), access.token):
            _welcome(access)
        return _ask("Token" if "token" not in request.query else "That was not it. Token")

    return check


def _login(access: Access) -> _Handler:
    async def login(request: web.Request) -> web.StreamResponse:
        given = (await request.post()).get("token", "")
        if isinstance(given, str) and hmac.compare_digest(given.encode(), access.token.encode()):
            _welcome(access)
        return _ask("That was not it. Token")

    return login


def _welcome(access: Access) -> NoReturn:
    """Leave the cookie, and go to the page with an address that tells no token."""
    response = web.HTTPSeeOther("/")
    # Not Strict: a browser that came by a link in a message would not send it after this.
    response.set_cookie(
        access.cookie,
        access.cookie_value,
        max_age=_COOKIE_DAYS * 86400,
        httponly=True,
        samesite="Lax",
    )
    raise response


def _ask(message: str) -> web.Response:
    text = _LOGIN.format(message=html.escape(message))
    return web.Response(status=401, text=text, content_type="text/html")


def _file(path: Path) -> _Handler:
    body = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    charset = "utf-8" if kind.startswith("text/") else None

    async def send(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=kind, charset=charset)

    return send
