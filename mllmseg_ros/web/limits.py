# SPDX-License-Identifier: Apache-2.0
"""Limits on the resources of a web server that a client can use before it is accepted.

A connection that does nothing never keeps another one out: over a limit, a new connection takes the
place of the oldest one that is not being served, of the address that has most.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

__all__ = ["Connection", "Connections", "Rate", "client_address"]

MAX_CONNECTIONS = 256
MAX_CONNECTIONS_PER_ADDRESS = 128
MAX_SHARE_OF_FILES = 4  # connections take at most this fraction of the open files of the process
BACKLOG = 1024  # connections that the kernel keeps until they are accepted
# Few at once, so that a connection's request is read before it could be closed for newer ones: that
# takes five rounds of the event loop.
ACCEPTED_AT_ONCE = 16
FIRST_REQUEST_S = 10.0  # from the connection to the end of an accepted request's header
KEEPALIVE_S = 15.0  # from a response to the end of the next request's header
LINGER_S = 1.0  # for a body that nobody wants, so that the client reads the refusal
_MAX_KEYS = 4096  # of a rate
_IPV6_PREFIX = 64  # a client can have any number of addresses with this prefix
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Rate:
    """A maximum rate per key: a burst, then a number per second."""

    def __init__(self, per_s: float, burst: int) -> None:
        """Start without any key.

        Args:
            per_s: rate in the long run, 1/s.
            burst: how many are admitted at once.
        """
        self._per_s, self._burst = per_s, float(burst)
        self._left: dict[str, tuple[float, float]] = {}  # admissions left, at a monotonic time

    def admits(self, key: str = "") -> bool:
        """Count one more, and return whether it is within the rate."""
        now_s = time.monotonic()
        left, at_s = self._left.pop(key, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._per_s)
        if len(self._left) >= _MAX_KEYS:
            del self._left[next(iter(self._left))]  # unused for longest
        self._left[key] = (left - 1 if left >= 1 else left, now_s)
        return left >= 1


def client_address(peer: Any) -> str:
    """Get the address that limits count by, from a socket's peer name: IPv6 by its network."""
    text = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv4Address):
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False).network_address)


class Connections:
    """The open connections of a server. Used in the event loop only."""

    def __init__(self) -> None:
        n_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._max = MAX_CONNECTIONS
        if n_files != resource.RLIM_INFINITY:
            self._max = min(self._max, max(8, n_files // MAX_SHARE_OF_FILES))
        self._max_per_address = min(MAX_CONNECTIONS_PER_ADDRESS, self._max // 2)
        self._open: dict[Connection, None] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, new: Connection) -> bool:
        """Add a connection, if need be in place of another; returns whether there was room."""
        same = [each for each in self._open if each.address == new.address]
        if len(same) >= self._max_per_address:
            is_admitted = self._close_one(same)
        elif len(self._open) >= self._max:
            is_admitted = self._close_one(list(self._open))
        else:
            is_admitted = True
        if is_admitted:
            self._open[new] = None
        return is_admitted

    def remove(self, connection: Connection) -> None:
        """Remove a connection that is closed; idempotent."""
        self._open.pop(connection, None)

    def _close_one(self, candidates: list[Connection]) -> bool:
        """Close the oldest without an accepted request so far, or else the oldest idle one."""
        idle = [each for each in candidates if not each.is_served]
        if not idle:
            return False
        counts = Counter(each.address for each in self._open)
        chosen = min(idle, key=lambda each: (-counts[each.address], each.was_accepted))
        self.remove(chosen)
        chosen.abort()
        return True


class Connection(web.RequestHandler):
    """A connection of a client.

    Attributes:
        address: that limits count by.
        was_accepted: the header of an accepted request has arrived.
        is_served: such a request is being answered, or its WebSocket is open.
    """

    def __init__(
        self, connections: Connections, server: web.Server, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            auto_decompress=False,
        )
        self.address = ""
        self.was_accepted = self.is_served = False
        self._connections = connections
        self._first_request_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or close it if there are too many."""
        self.address = client_address(transport.get_extra_info("peername"))
        if not self._connections.admit(self):
            assert isinstance(transport, asyncio.WriteTransport)
            transport.write(_REFUSAL)
            transport.close()
            return
        super().connection_made(transport)
        self._first_request_timer = self._loop.call_later(FIRST_REQUEST_S, self._check_accepted)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another connection."""
        self._connections.remove(self)
        if self._first_request_timer is not None:
            self._first_request_timer.cancel()
        super().connection_lost(exc)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Keep the connection from being closed for another one while the context is open."""
        self.is_served = True
        try:
            yield
        finally:
            self.is_served = False

    def abort(self) -> None:
        """Close the connection without waiting for the client."""
        self.force_close()
        if self.transport is not None:
            self.transport.abort()

    def _check_accepted(self) -> None:
        if not self.was_accepted:
            self.abort()
