# SPDX-License-Identifier: Apache-2.0
"""The connection to one open page of the console."""

from __future__ import annotations

import asyncio

from aiohttp import web

__all__ = ["PageClient"]

_MAX_UNSHOWN = 2  # images on their way to a page; hides the network's latency without queueing
_KEEPALIVE_S = 5.0  # a page reconnects after 15 s of silence


class PageClient:
    """Sends the newest messages and images to a page. Used in the event loop only.

    Attributes:
        camera: that the page shows; None before the first.
        has_talked_enough: the button to talk was held for too long, and is still held.
    """

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self.ws = ws
        self.camera: str | None = None
        self.has_talked_enough = False
        self._texts: dict[str, str] = {}  # the newest of each kind, not yet sent
        self._image: bytes | None = None  # the newest, not yet sent
        self._n_unshown = 0
        self._ready = asyncio.Event()

    def send_text(self, kind: str, text: str) -> None:
        """Send a message; replaces an unsent one of its kind."""
        self._texts[kind] = text
        self._ready.set()

    def send_image(self, image: bytes) -> None:
        """Send an image; replaces an unsent one."""
        self._image = image
        self._ready.set()

    def drop_image(self) -> None:
        """Drop an unsent image."""
        self._image = None

    def confirm_image(self) -> None:
        """Note that the page has shown an image, so that the next one may be sent."""
        self._n_unshown = max(0, self._n_unshown - 1)
        self._ready.set()

    async def write(self) -> None:
        """Send until the page is closed."""
        while not self.ws.closed:
            try:
                await asyncio.wait_for(self._ready.wait(), _KEEPALIVE_S)
            except asyncio.TimeoutError:
                self._texts["alive"] = '{"kind": "alive"}'
            self._ready.clear()
            while self._texts:
                await self.ws.send_str(self._texts.pop(next(iter(self._texts))))
            if self._image is not None and self._n_unshown < _MAX_UNSHOWN:
                image, self._image = self._image, None
                self._n_unshown += 1
                await self.ws.send_bytes(image)
