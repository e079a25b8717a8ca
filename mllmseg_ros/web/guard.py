# SPDX-License-Identifier: Apache-2.0
"""Access control for web pages: an aiohttp application that checks every request.

Does not depend on what the page shows. Usage::

    access = Access(port=8642)
    app = guarded_application(access, Path(__file__).parent / "page")  # index.html is served as /
    app.router.add_post("/label", on_label)  # or a WebSocket: open_socket(request)
    async with serving(app, access) as url:
        print(url)
        await asyncio.Event().wait()

* The default address is 127.0.0.1; any other one needs a token. The token is taken from a link
  (``/?token=...``), which sets a cookie and redirects to an address without the token, from a login
  form, or from ``Authorization: Bearer ...`` (for programs).
* ``Host`` is checked against DNS rebinding. ``Origin`` of WebSockets and of all requests but GET is
  checked against other pages in the same browser.
* Sizes of requests and messages are limited. The page's files are read once, at start, so that no
  request can choose a path on disk.
* Headers restrict the page to its own server.
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
_CLOSE_TIMEOUT_S = 2.0
_HEARTBEAT_S = 10.0  # after this, a lost page is detected
_COOKIE_DAYS = 30
# No other hosts, no inline scripts; blob: is for images from the WebSocket.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # without a referrer, forms are sent with Origin: null
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
    """Where a page is served, and who may open it.

    Raises:
        ValueError: A value is invalid, or other machines can reach the address and there is no
            token.
    """

    address: str = "127.0.0.1"  # to bind to: an IP address, or localhost
    port: int = 8642  # 0 for any free port
    token: str = ""  # "" for no token
    origins: tuple[str, ...] = ()  # additional origins of the page: "https://robot.example"

    def __post_init__(self) -> None:
        try:
            is_local = ipaddress.ip_address(self.ip_address).is_loopback
        except ValueError:
            raise ValueError(
                f"address is {self.address!r}, accepted: an IP address or localhost"
            ) from None
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}, accepted: 0 (any free port) to 65535")
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
    def ip_address(self) -> str:
        """The address as an IP address."""
        return "127.0.0.1" if self.address == "localhost" else self.address

    @property
    def cookie(self) -> str:
        """Name of the cookie. It has the port, because browsers share cookies between ports."""
        return f"mllmseg_{self.port}"

    @property
    def cookie_value(self) -> str:
        """Proof of the token, valid across restarts, that does not reveal it."""
        return hmac.new(self.token.encode(), b"mllmseg cookie", hashlib.sha256).hexdigest()

    def allows_host(self, host: str) -> bool:
        """Whether a Host header is accepted.

        Accepted are IP addresses, which cannot be rebound by DNS, the names of this machine, and
        those in ``origins``.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            hostname = socket.gethostname().lower()
            configured = (urlsplit(origin).hostname for origin in self.origins)
            return name in {"localhost", hostname, f"{hostname}.local", *configured}
        return True

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of an origin may send requests to a host."""
        return origin in self.origins or urlsplit(origin).netloc.lower() == host.lower()


def guarded_application(access: Access, page: Path | None = None) -> web.Application:
    """Create an application that checks access; add routes to it.

    Args:
        access: who may send requests.
        page: folder of files to serve under their names, and ``index.html`` also as ``/``. They
            are read once, here.
    """
    middlewares = [_set_headers, _check_host_and_origin(access)]
    if access.token:
        middlewares.append(_check_token(access))
    app = web.Application(middlewares=middlewares, client_max_size=_MAX_BODY_BYTES)
    if access.token:
        app.router.add_post("/login", _login(access))
    for path in sorted(page.iterdir()) if page else []:
        if path.is_file():
            app.router.add_get(f"/{path.name}", _serve_file(path))
            if path.name == "index.html":
                app.router.add_get("/", _serve_file(path))
    return app


@asynccontextmanager
async def serving(app: web.Application, access: Access) -> AsyncIterator[str]:
    """Serve while the context is open; yields the page's URL without the token.

    Raises:
        OSError: The address cannot be bound, for example because the port is in use.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, access.ip_address, access.port)
        await site.start()
        name, port = runner.addresses[0][:2]
        number = ipaddress.ip_address(name)
        if number.is_unspecified:
            name = socket.gethostname()
        yield f"http://{f'[{name}]' if ':' in name else name}:{port}/"
    finally:
        await runner.cleanup()


async def open_socket(request: web.Request) -> web.WebSocketResponse:
    """Accept a WebSocket, which is closed on messages larger than 64 KiB."""
    ws = web.WebSocketResponse(
        max_msg_size=_MAX_MESSAGE_BYTES, heartbeat=_HEARTBEAT_S, timeout=_CLOSE_TIMEOUT_S
    )
    await ws.prepare(request)
    return ws


@web.middleware
async def _set_headers(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Add the security headers to responses, including errors."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_HEADERS)
        raise
    if not response.prepared:
        response.headers.update(_HEADERS)
    return response


def _check_host_and_origin(access: Access):  # type: ignore[no-untyped-def]
    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not access.allows_host(request.host):
            raise web.HTTPForbidden(
                text="Host is not a name of this machine; see parameter origins"
            )
        origin = request.headers.get(hdrs.ORIGIN)
        changes = request.method not in (hdrs.METH_GET, hdrs.METH_HEAD)
        is_socket = hdrs.UPGRADE in request.headers
        # Browsers always send Origin with these; other clients are not at risk.
        if (
            (changes or is_socket)
            and origin is not None
            and not access.allows_origin(origin, request.host)
        ):
            raise web.HTTPForbidden(text="Origin is not allowed")
        return await handler(request)

    return check


def _check_token(access: Access):  # type: ignore[no-untyped-def]
    def matches(given: str, secret: str) -> bool:
        return hmac.compare_digest(given.encode(), secret.encode())

    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        is_authorized = (scheme == "Bearer" and matches(given, access.token)) or matches(
            request.cookies.get(access.cookie, ""), access.cookie_value
        )
        if is_authorized or request.path == "/login":
            return await handler(request)
        if request.path != "/":
            raise web.HTTPUnauthorized(text="missing or wrong token")
        if matches(request.query.get("token", ""), access.token):
            _set_cookie(access)
        return _login_form("Token" if "token" not in request.query else "Wrong token. Token")

    return check


def _login(access: Access) -> _Handler:
    async def login(request: web.Request) -> web.StreamResponse:
        given = (await request.post()).get("token", "")
        if isinstance(given, str) and hmac.compare_digest(given.encode(), access.token.encode()):
            _set_cookie(access)
        return _login_form("Wrong token. Token")

    return login


def _set_cookie(access: Access) -> NoReturn:
    """Set the cookie, and redirect to the address without the token."""
    response = web.HTTPSeeOther("/")
    # Not Strict: after following a link from elsewhere, the redirect would lack the cookie.
    response.set_cookie(
        access.cookie,
        access.cookie_value,
        max_age=_COOKIE_DAYS * 86400,
        httponly=True,
        samesite="Lax",
    )
    raise response


def _login_form(message: str) -> web.Response:
    text = _LOGIN.format(message=html.escape(message))
    return web.Response(status=401, text=text, content_type="text/html")


def _serve_file(path: Path) -> _Handler:
    body = path.read_bytes()
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    charset = "utf-8" if content_type.startswith("text/") else None

    async def send(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, charset=charset)

    return send
