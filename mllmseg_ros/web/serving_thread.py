# SPDX-License-Identifier: Apache-2.0
"""Serve a web application in a background thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

from aiohttp import web

from mllmseg_ros.web.guard import Access, serving

__all__ = ["ServingThread"]

_JOIN_TIMEOUT_S = 5.0


class ServingThread:
    """A thread whose event loop serves one application."""

    def __init__(self, app: web.Application, access: Access) -> None:
        """Start to serve.

        Raises:
            OSError: The address cannot be bound.
        """
        self._started: Future[str] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(app, access)), name="web", daemon=True
        )
        self._thread.start()
        self.url = self._started.result()

    def stop(self) -> None:
        """Close all connections and end the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_JOIN_TIMEOUT_S)

    async def _serve(self, app: web.Application, access: Access) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with serving(app, access) as url:
                self._started.set_result(url)
                await self._end.wait()
        except OSError as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
