# SPDX-License-Identifier: Apache-2.0
"""Connections that waste resources lock nobody out, and fill neither log nor file table.

Attackers come from 127.0.0.2 and up, those who may send requests from 127.0.0.1. The server is the
one of the console and of the review page, with the token's check, in a thread.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="needs aiohttp")

import aiohttp
from aiohttp import web

from mllmseg_ros.web import guard, limits
from mllmseg_ros.web.guard import Access, guarded_application
from mllmseg_ros.web.limits import MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, Rate
from mllmseg_ros.web.serving_thread import ServingThread

pytestmark = pytest.mark.threat("W3")

TOKEN = "the token of this test"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
HALF = b"POST /stop HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
SLOW_BODY = (
    f"POST /stop HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Length: 100\r\n\r\n{"
).encode()
IN_FLIGHT = 8 * limits.ACCEPTED_AT_ONCE  # accepted, or closed, in the current rounds of the loop
TIMEOUT = aiohttp.ClientTimeout(total=10)


class Server:
    """The server, what it logged, and which stops arrived."""

    def __init__(self) -> None:
        access = Access(port=0, token=TOKEN)
        app = guarded_application(access, urgent_path="/stop")
        app.router.add_post("/stop", self._stop)
        app.router.add_post("/slow", self._slow)
        self.n_stops = 0
        self.is_slow = threading.Event()
        self.log: list[str] = []
        self._thread = ServingThread(app, access, self.log.append)
        self.url = self._thread.url
        self.port = int(self.url.rsplit(":", 1)[1].strip("/"))
        self.close = self._thread.stop

    async def _stop(self, request: web.Request) -> web.Response:
        self.n_stops += 1
        return web.Response()

    async def _slow(self, request: web.Request) -> web.Response:
        self.is_slow.set()
        await asyncio.sleep(30)
        return web.Response()

    async def stop(self) -> float:
        """Send stop on a new connection; returns how long it took, s."""
        begin_s = time.monotonic()
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT, headers=AUTHORIZED) as session,
            session.post(f"{self.url}stop") as response,
        ):
            assert response.status == 200
        return time.monotonic() - begin_s

    def n_open(self) -> int:
        """Number of connections that the server has accepted and not closed."""
        lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
        fields = [line.split() for line in lines]
        local, established = f":{self.port:04X}", "01"
        # Those that wait to be accepted have no inode.
        return sum(
            each[1].endswith(local) and each[3] == established and each[9] != "0" for each in fields
        )


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()
    assert not any("\n" in line for line in server.log)


@contextmanager
def attack(server: Server, n_addresses: int, first_address: int, data: bytes) -> Iterator[None]:
    """Hold 1100 connections from another process, divided among addresses."""
    script = Path(__file__).parent / "half_open.py"
    numbers = (server.port, 1100, n_addresses, first_address)
    attacker = subprocess.Popen(
        [sys.executable, str(script), *map(str, numbers)], stdin=subprocess.PIPE
    )
    assert attacker.stdin is not None
    attacker.stdin.write(data)
    attacker.stdin.close()
    try:
        deadline_s = time.monotonic() + 20
        while server.n_open() < MAX_CONNECTIONS_PER_ADDRESS // 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        yield
    finally:
        attacker.kill()
        attacker.wait()


@pytest.mark.parametrize("n_addresses", [1, 20])
def test_stop_is_answered_while_others_hold_1100_half_open_connections(
    server: Server, n_addresses: int
) -> None:
    with attack(server, n_addresses, 2, HALF):
        for _ in range(10):
            assert asyncio.run(server.stop()) < 8
            assert server.n_open() <= MAX_CONNECTIONS + IN_FLIGHT
    assert server.n_stops == 10
    assert sum(map(len, server.log)) < 10_000


def test_one_address_gets_a_part_of_the_connections(server: Server) -> None:
    with attack(server, 1, 2, HALF):
        for _ in range(20):
            assert server.n_open() <= MAX_CONNECTIONS_PER_ADDRESS + IN_FLIGHT
            time.sleep(0.1)


def test_a_connection_in_use_is_not_closed_for_others(server: Server) -> None:
    """A request that is being answered survives any number of new ones from its address."""

    async def run() -> None:
        async with aiohttp.ClientSession(headers=AUTHORIZED) as session:
            slow = asyncio.create_task(session.post(f"{server.url}slow"))
            assert await asyncio.to_thread(server.is_slow.wait, 20)
            with attack(server, 1, 1, HALF):
                await asyncio.sleep(3)
                assert not slow.done()
            slow.cancel()

    asyncio.run(run())


def test_without_a_header_or_a_body_in_time_the_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FIRST_REQUEST_S", 0.5)
    monkeypatch.setattr(limits, "KEEPALIVE_S", 0.5)
    monkeypatch.setattr(guard, "BODY_TIMEOUT_S", 0.5)
    server = Server()

    async def reply_to(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        try:
            return await asyncio.wait_for(reader.read(), 15)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def run() -> None:
        assert await reply_to(b"") == b""
        assert await reply_to(HALF) == b""
        assert b" 408 " in await reply_to(SLOW_BODY)
        whole = SLOW_BODY.replace(b"100\r\n\r\n{", b"0\r\n\r\n")
        assert b" 200 " in await reply_to(whole)  # and then it is closed, being idle
        assert (await reply_to(whole + HALF)).count(b"HTTP/1.1 ") == 1

    try:
        asyncio.run(run())
    finally:
        server.close()


def test_only_stop_may_be_sent_at_any_rate(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession(headers=AUTHORIZED) as session:
            statuses = []
            for _ in range(guard.REQUESTS_AT_ONCE + 300):
                async with session.get(f"{server.url}nothing") as response:
                    statuses.append(response.status)
            assert statuses[: guard.REQUESTS_AT_ONCE] == [404] * guard.REQUESTS_AT_ONCE
            assert set(statuses[guard.REQUESTS_AT_ONCE :]) <= {404, 429}
            for _ in range(20):
                await server.stop()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_rate_admits_so_many_at_once_and_remembers_so_many_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    rate = Rate(per_s=2.0, burst=3)
    assert [rate.admits("a") for _ in range(4)] == [True, True, True, False]
    assert rate.admits("b")
    now_s += 0.5
    assert [rate.admits("a") for _ in range(2)] == [True, False]
    now_s += 1000
    assert [rate.admits("a") for _ in range(4)] == [True, True, True, False]
    for number in range(10_000):
        rate.admits(str(number))
    assert len(rate._left) <= 4096


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("192.168.1.7", 4), "192.168.1.7"),
        (("2001:db8:1:2:3::4", 4, 0, 0), "2001:db8:1:2::"),
        (("fe80::1%eth0", 4, 0, 2), "fe80::"),
        (("::ffff:10.0.0.1", 4, 0, 0), "10.0.0.1"),
        (None, ""),
    ],
)
def test_ipv6_clients_count_by_network(peer: object, address: str) -> None:
    assert limits.client_address(peer) == address


def test_a_server_that_ends_by_itself_says_so() -> None:
    server = Server()
    try:
        thread = server._thread
        thread._loop.call_soon_threadsafe(thread._loop.stop)
        thread._thread.join(10)
        assert "Event loop stopped" in thread.failure
    finally:
        server.close()
