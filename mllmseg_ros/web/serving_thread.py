# SPDX-License-Identifier: Apache-2.0
"""Serve a web application in a background thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future

from aiohttp import web

from mllmseg_ros.error_text import one_line
from mllmseg_ros.web.guard import Access, serving
from mllmseg_ros.web.log import print_line

__all__ = ["ServingThread"]

_JOIN_TIMEOUT_S = 5.0


class ServingThread:
    """A thread whose event loop serves one application.

    Attributes:
        url: of the page.
        failure: why serving has ended without :meth:`stop`, in one line; "" if it has not.
    """

    def __init__(
        self, app: web.Application, access: Access, log: Callable[[str], object] = print_line
    ) -> None:
        """Start to serve.

        Args:
            app: from :func:`~mllmseg_ros.web.guard.guarded_application`.
            access: where to serve.
            log: called in the thread with lines for the log, at a limited rate.

        Raises:
            OSError: The address cannot be bound.
        """
        self.failure = ""
        self._started: Future[str] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(app, access, log), name="web", daemon=True
        )
        self._thread.start()
        self.url = self._started.result()

    @property
    def is_serving(self) -> bool:
        """Whether neither :meth:`stop` nor a failure has ended it."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Close all connections and end the thread."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_JOIN_TIMEOUT_S)

    def _run(self, app: web.Application, access: Access, log: Callable[[str], object]) -> None:
        try:
            asyncio.run(self._serve(app, access, log))
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
                return
            self.failure = one_line(error)

    async def _serve(
        self, app: web.Application, access: Access, log: Callable[[str], object]
    ) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with serving(app, access, log) as url:
            self._started.set_result(url)
            await self._end.wait()
