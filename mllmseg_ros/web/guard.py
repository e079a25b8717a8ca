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
* Sizes of requests and messages, the rate of requests, connections and the time that a client may
  take are limited (:mod:`mllmseg_ros.web.limits`), before anything is done for the client.
* Whatever a request causes is a refusal with one line; the log has it too, at a limited rate.
* The page's files are read once, at start, so that no request can choose a path on disk.
* Headers restrict the page to its own server.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import ipaddress
import mimetypes
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

from aiohttp import hdrs, web

from mllmseg_ros.error_text import escape_invisible, one_line
from mllmseg_ros.files import read_text
from mllmseg_ros.web.limits import (
    ACCEPTED_AT_ONCE,
    BACKLOG,
    Connection,
    Connections,
    Rate,
    client_address,
)
from mllmseg_ros.web.log import LOG, limited_log, print_line

__all__ = ["Access", "guarded_application", "open_socket", "read_token", "serving"]

MIN_TOKEN_CHARS = 16
_MAX_TOKEN_BYTES = 4096  # of its file
MAX_BODY_BYTES = 1 << 20
BODY_TIMEOUT_S = 10.0
REQUESTS_PER_S, REQUESTS_AT_ONCE = 200.0, 400  # per address; a page loads about thirty files
WRONG_TOKENS_PER_S, WRONG_TOKENS_AT_ONCE = 0.1, 10  # per address; further ones are not even logged
MAX_MESSAGE_BYTES = 1 << 16  # of a WebSocket, from the page
_CLOSE_TIMEOUT_S = 2.0
_SHUTDOWN_TIMEOUT_S = 2.0  # for requests that are being answered
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
        try:
            netloc = urlsplit(origin).netloc.lower()
        except ValueError:
            return False
        return origin in self.origins or netloc == host.lower()

    def is_https(self, host: str, forwarded_proto: str) -> bool:
        """Whether a request came by https, through a proxy whose https address is in ``origins``.

        Args:
            host: header ``Host``.
            forwarded_proto: header ``X-Forwarded-Proto``; ignored without such a proxy.
        """
        proxies = [each for each in self.origins if each.startswith("https://")]
        is_forwarded = forwarded_proto.strip().lower() == "https"
        return bool(proxies) and (is_forwarded or f"https://{host.lower()}" in proxies)


def read_token(path: Path) -> str:
    """Read a token from the first line of a file.

    Raises:
        ValueError: There is none, or the file cannot be read.
    """
    token = read_text(path, max_bytes=_MAX_TOKEN_BYTES).partition("\n")[0].strip()
    if not token:
        raise ValueError(f"{path} has no token in its first line")
    return token


def guarded_application(
    access: Access, page: Path | None = None, *, urgent_path: str = ""
) -> web.Application:
    """Create an application that checks access; add routes to it.

    Args:
        access: who may send requests.
        page: folder of files to serve under their names, and ``index.html`` also as ``/``. They
            are read once, here.
        urgent_path: requests to it are not refused for their rate, if they may be sent at all.
    """
    middlewares = [_refuse_in_one_line, _check_host_and_origin(access)]
    wrong_tokens = Rate(WRONG_TOKENS_PER_S, WRONG_TOKENS_AT_ONCE)
    if access.token:
        middlewares.append(_check_token(access, wrong_tokens))
    middlewares += [_limit_rate(urgent_path), _read_body]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    if access.token:
        app.router.add_post("/login", _login(access, wrong_tokens))
    for path in sorted(page.iterdir()) if page else []:
        if path.is_file():
            app.router.add_get(f"/{path.name}", _serve_file(path))
            if path.name == "index.html":
                app.router.add_get("/", _serve_file(path))
    return app


@asynccontextmanager
async def serving(
    app: web.Application, access: Access, log: Callable[[str], object] = print_line
) -> AsyncIterator[str]:
    """Serve while the context is open; yields the page's URL without the token.

    Args:
        app: from :func:`guarded_application`.
        access: where to serve.
        log: called with lines for the log, at a limited rate.

    Raises:
        OSError: The address cannot be bound, for example because the port is in use.
    """
    loop = asyncio.get_running_loop()
    connections = Connections()
    runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
    with limited_log(log):
        loop.set_exception_handler(_log_problem)
        await runner.setup()
        assert runner.server is not None
        new_connection = partial(Connection, connections, runner.server, loop)
        try:
            with _listen(access) as listening_socket:
                server = await loop.create_server(
                    new_connection, sock=listening_socket, backlog=ACCEPTED_AT_ONCE
                )
                listening_socket.listen(BACKLOG)  # asyncio has one number for both
                name, port = listening_socket.getsockname()[:2]
                number = ipaddress.ip_address(name)
                if number.is_unspecified:
                    name = socket.gethostname()
                yield f"http://{f'[{name}]' if ':' in name else name}:{port}/"
                server.close()
        finally:
            await runner.cleanup()


def _listen(access: Access) -> socket.socket:
    family = socket.AF_INET6 if ":" in access.ip_address else socket.AF_INET
    return socket.create_server((access.ip_address, access.port), family=family)


async def open_socket(request: web.Request) -> web.WebSocketResponse:
    """Accept a WebSocket, which is closed on messages larger than 64 KiB."""
    ws = web.WebSocketResponse(
        max_msg_size=MAX_MESSAGE_BYTES,
        heartbeat=_HEARTBEAT_S,
        timeout=_CLOSE_TIMEOUT_S,
        compress=False,  # images are compressed already
    )
    await ws.prepare(request)
    return ws


def _log_problem(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    LOG.error("%s", context.get("message", "problem"), exc_info=context.get("exception"))


def _address(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return client_address(peer)


@web.middleware
async def _refuse_in_one_line(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Answer every request, with the security headers: what cannot be answered is refused."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_HEADERS)
        raise
    except ConnectionError:  # the client has gone
        raise
    except (ValueError, web.RequestPayloadError) as error:
        response = _refuse(request, 400, one_line(error, with_type=False))
    except Exception as error:
        response = _refuse(request, 500, one_line(error))
    if not response.prepared:
        response.headers.update(_HEADERS)
    return response


def _refuse(request: web.Request, status: int, reason: str) -> web.Response:
    path = escape_invisible(request.path[:64])
    LOG.warning("%s %s of %s is refused: %s", request.method, path, request.remote, reason)
    return web.json_response({"error": reason}, status=status)


def _check_host_and_origin(access: Access):  # type: ignore[no-untyped-def]
    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        host = request.headers.get(hdrs.HOST, "")  # request.host would look up this machine's name
        if not access.allows_host(host):
            raise web.HTTPForbidden(
                text="Host is not a name of this machine; see parameter origins"
            )
        origin = request.headers.get(hdrs.ORIGIN)
        changes = request.method not in (hdrs.METH_GET, hdrs.METH_HEAD)
        is_socket = hdrs.UPGRADE in request.headers
        # Browsers always send Origin with these; other clients are not at risk.
        if (changes or is_socket) and origin is not None and not access.allows_origin(origin, host):
            raise web.HTTPForbidden(text="Origin is not allowed")
        return await handler(request)

    return check


def _matches(given: str, secret: str) -> bool:
    # Headers may hold any bytes, which aiohttp decodes to surrogates.
    return hmac.compare_digest(given.encode(errors="backslashreplace"), secret.encode())


def _check_token(access: Access, wrong_tokens: Rate):  # type: ignore[no-untyped-def]
    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        authorization = request.headers.get(hdrs.AUTHORIZATION, "")
        scheme, _, given = authorization.partition(" ")
        cookie = request.cookies.get(_cookie_name(request), "")
        is_authorized = (scheme == "Bearer" and _matches(given, access.token)) or _matches(
            cookie, access.cookie_value
        )
        if is_authorized or request.path == "/login":
            return await handler(request)
        in_link = request.query.get("token") if request.path == "/" else None
        if in_link is not None and _matches(in_link, access.token):
            _set_cookie(request, access)
        if authorization or in_link is not None:
            _count_wrong_token(request, wrong_tokens)
        if request.path != "/":
            raise web.HTTPUnauthorized(text="missing or wrong token")
        return _login_form("Token" if in_link is None else "Wrong token. Token")

    return check


def _login(access: Access, wrong_tokens: Rate) -> _Handler:
    async def login(request: web.Request) -> web.StreamResponse:
        fields = parse_qs((await request.read()).decode(), max_num_fields=8)
        if _matches(fields.get("token", [""])[0], access.token):
            _set_cookie(request, access)
        _count_wrong_token(request, wrong_tokens)
        return _login_form("Wrong token. Token")

    return login


def _count_wrong_token(request: web.Request, wrong_tokens: Rate) -> None:
    """Log a wrong token, or refuse it if there were too many from its address.

    The right token is accepted all the same: nobody is locked out by what others send, and tokens
    are too long to be found by trying.
    """
    if not wrong_tokens.admits(_address(request)):
        raise web.HTTPTooManyRequests(
            text="too many wrong tokens",
            headers={hdrs.RETRY_AFTER: f"{1 / WRONG_TOKENS_PER_S:.0f}", hdrs.CONNECTION: "close"},
        )
    LOG.warning("wrong token from %s", request.remote)


def _limit_rate(urgent_path: str):  # type: ignore[no-untyped-def]
    requests = Rate(REQUESTS_PER_S, REQUESTS_AT_ONCE)

    @web.middleware
    async def limit(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.path != urgent_path and not requests.admits(_address(request)):
            raise web.HTTPTooManyRequests(
                text=f"more than {REQUESTS_PER_S:.0f} requests a second",
                headers={hdrs.RETRY_AFTER: "1", hdrs.CONNECTION: "close"},
            )
        return await handler(request)

    return limit


@web.middleware
async def _read_body(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Read the body, in limited time, before the request is answered."""
    connection = request.protocol
    assert isinstance(connection, Connection)
    connection.was_accepted = True
    if request.body_exists:
        try:
            await asyncio.wait_for(request.read(), BODY_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout(text="the body took too long") from None
    with connection.served():
        return await handler(request)


def _cookie_name(request: web.Request) -> str:
    """Name of the cookie. It has the port, because browsers share cookies between ports."""
    assert request.transport is not None
    return f"mllmseg_{request.transport.get_extra_info('sockname')[1]}"


def _set_cookie(request: web.Request, access: Access) -> NoReturn:
    """Set the cookie, and redirect to the address without the token."""
    response = web.HTTPSeeOther("/")
    host = request.headers.get(hdrs.HOST, "")
    # Not Strict: after following a link from elsewhere, the redirect would lack the cookie.
    response.set_cookie(
        _cookie_name(request),
        access.cookie_value,
        max_age=_COOKIE_DAYS * 86400,
        httponly=True,
        samesite="Lax",
        secure=access.is_https(host, request.headers.get(hdrs.X_FORWARDED_PROTO, "")) or None,
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
