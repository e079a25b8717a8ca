# SPDX-License-Identifier: Apache-2.0
"""Serve the tools over the standard streams of this process, or over HTTP."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable

import anyio
from aiohttp import web
from mcp.server.mcpserver import MCPServer

from mllmseg_ros.agent.limits import MAX_SESSIONS, SESSION_IDLE_S
from mllmseg_ros.error_text import one_line
from mllmseg_ros.web.asgi import asgi_handler
from mllmseg_ros.web.guard import Access, guarded_application
from mllmseg_ros.web.log import limited_log, print_line
from mllmseg_ros.web.serving_thread import ServingThread

__all__ = ["PATH", "StdioThread", "mcp_application", "start_serving"]

PATH = "/mcp"


class StdioThread:
    """Serves one client over stdin and stdout, in a daemon thread, until the client closes them.

    Attributes:
        failure: why serving has ended without the client's doing, in one line; "" if it has not.
    """

    def __init__(self, server: MCPServer, log: Callable[[str], object] = print_line) -> None:
        """Start to serve; the log must not go to stdout."""
        self.failure = ""
        self._server, self._log = server, log
        # The SDK's thread that reads stdin is a daemon because this one is: nothing waits for it.
        self._thread = threading.Thread(target=self._run, name="mcp", daemon=True)
        self._thread.start()

    @property
    def is_serving(self) -> bool:
        """Whether the client is there."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Do nothing: the process ends, and the streams with it."""

    def _run(self) -> None:
        try:
            with limited_log(self._log):
                anyio.run(self._server.run_stdio_async)
        except Exception as error:
            self.failure = one_line(error)


def start_serving(
    server: MCPServer, access: Access | None, log: Callable[[str], object] = print_line
) -> StdioThread | ServingThread:
    """Start to serve, in a thread.

    Args:
        server: with its tools.
        access: where to serve over HTTP, and with which token; None for stdin and stdout.
        log: called with lines for the log, at a limited rate; never stdout.

    Raises:
        OSError: The port cannot be bound.
    """
    if access is None:
        return StdioThread(server, log)
    serving = ServingThread(mcp_application(server, access), access, log)
    log(f"serving agents at {serving.url.rstrip('/')}{PATH}")
    return serving


def mcp_application(server: MCPServer, access: Access) -> web.Application:
    """Create the application of the HTTP transport, with the console's checks before it.

    Raises:
        ValueError: There is no token: every user of the machine, and every web page in a browser
            on it, can reach the port.
    """
    if not access.token:
        raise ValueError("serving agents over HTTP needs a token")
    server.streamable_http_app(max_sessions=MAX_SESSIONS, session_idle_timeout=SESSION_IDLE_S)
    sessions = server.session_manager
    # Requests are not refused for their rate, so that a stop is not; calls at a time are limited.
    app = guarded_application(access, urgent_path=PATH)
    app.router.add_route("*", PATH, asgi_handler(sessions.handle_request))

    async def run_sessions(app: web.Application) -> AsyncIterator[None]:
        async with sessions.run():
            yield

    app.cleanup_ctx.append(run_sessions)
    return app
