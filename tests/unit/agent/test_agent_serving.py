# SPDX-License-Identifier: Apache-2.0
"""The server over HTTP and over stdin and stdout, with the SDK's client and untrusted ones."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp.server.mcpserver", reason="needs requirements/mcp.txt")
pytest.importorskip("aiohttp", reason="needs aiohttp")

import aiohttp
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mllmseg_ros.agent.folder_backend import FolderBackend
from mllmseg_ros.agent.limits import MAX_CALLS
from mllmseg_ros.agent.server import build_server
from mllmseg_ros.agent.serving import PATH, mcp_application, start_serving
from mllmseg_ros.cli import main
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.web.guard import MAX_BODY_BYTES, Access
from mllmseg_ros.web.serving_thread import ServingThread

TOKEN = "the token of this test"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
ABSENT = {"sentence": "the banana", "camera": "left"}
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
GARBAGE = (
    b"", b"nul", b"{", b"[]", b"[[]]", b"3", b'"text"', b"null", b"[" * 50_000, b"\xff\xfe\x00",
    b'{"jsonrpc": "2.0"}', b'{"jsonrpc": "2.0", "id": {}, "method": 3}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "nosuch"}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call"}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": ["find"]}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find", '
    b'"arguments": {"sentence": "a\\ud800b"}}}',
    b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": []}}',
    b'{"jsonrpc": "2.0", "id": ' + b"1" * 5000 + b', "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
)  # fmt: skip


class Served:
    """A server over HTTP, and what it has logged."""

    def __init__(self, backend: FolderBackend) -> None:
        self.log: list[str] = []
        server = build_server(backend, allow_commands=False)
        serving = start_serving(server, Access(port=0, token=TOKEN), self.log.append)
        assert isinstance(serving, ServingThread)
        self.serving, self.url = serving, serving.url.rstrip("/") + PATH

    def client(self, token: str = TOKEN) -> Client:
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60)
        return Client(streamable_http_client(self.url, http_client=http))


@pytest.fixture
def served(folder: Path, segmenter: Segmenter) -> Iterator[Served]:
    served = Served(FolderBackend(folder, segmenter))
    yield served
    assert served.serving.failure == ""
    served.serving.stop()
    assert not served.serving.is_serving
    assert not any("Traceback" in line or "\x1b" in line for line in served.log)
    assert all(len(line) < 700 for line in served.log)


def test_a_client_with_the_token_is_served(served: Served) -> None:
    reports = []
    reported_twice = asyncio.Event()

    async def report(progress: float, total: float | None, text: str | None) -> None:
        reports.append(text)
        if len(reports) == 2:
            reported_twice.set()

    async def visit() -> dict[str, Any]:
        async with served.client() as client:
            watch = {**ABSENT, "seconds": 50.0}
            watching = asyncio.create_task(
                client.call_tool("watch", watch, progress_callback=report)
            )
            await reported_twice.wait()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            result = await client.call_tool("watch", {**ABSENT, "seconds": 0.2})
            assert result.content[1].mime_type == "image/jpeg"
            return result.structured_content

    answer = asyncio.run(asyncio.wait_for(visit(), 60))
    assert answer["not_there"] is True
    assert set(reports) == {"There is no banana here."}
    assert served.log[0] == f"serving agents at {served.url}"


@pytest.mark.threat("W1")
def test_without_the_token_nothing_is_answered(served: Served, folder: Path) -> None:
    async def visit() -> None:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            for headers, status in (
                ({}, 401),
                ({"Authorization": "Bearer wrong"}, 401),
                ({"Authorization": f"Basic {TOKEN}"}, 401),
                ({**AUTHORIZED, "Origin": "https://evil.example"}, 403),
                ({**AUTHORIZED, "Host": "evil.example"}, 403),
                (AUTHORIZED, 200),
            ):
                async with session.post(served.url, data=initialize(), headers=headers) as response:
                    assert response.status == status, headers
            async with session.post(f"{served.url}?token={TOKEN}", data=PING) as response:
                assert response.status == 401
        with pytest.raises(Exception):  # noqa: B017, PT011
            async with served.client("wrong") as client:
                await client.list_tools()

    asyncio.run(asyncio.wait_for(visit(), 60))
    with pytest.raises(ValueError, match="needs a token"):
        mcp_application(build_server(FolderBackend(folder, None), allow_commands=False), Access())


def initialize() -> bytes:
    parameters = {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    }  # fmt: skip
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": parameters}
    return json.dumps(message).encode()


@pytest.mark.threat("W2", "A3")
def test_whatever_is_sent_over_http_is_refused(served: Served) -> None:
    async def visit() -> None:
        async with aiohttp.ClientSession(headers={**HEADERS, **AUTHORIZED}) as session:
            for body in GARBAGE:
                async with session.post(served.url, data=body) as response:
                    assert 400 <= response.status < 500, (body[:80], response.status)
                    text = await response.text()
                    assert "Traceback" not in text
            for method in ("GET", "PUT", "DELETE", "PATCH"):
                async with session.request(method, served.url) as response:
                    assert 400 <= response.status < 500, method
            async with session.post(served.url, data=b" " * (MAX_BODY_BYTES + 1)) as response:
                assert response.status == 413
        async with served.client() as client:
            assert (await client.call_tool("find", ABSENT)).structured_content["not_there"]

    asyncio.run(asyncio.wait_for(visit(), 60))


@pytest.mark.threat("W3")
def test_clients_that_go_free_their_places(served: Served) -> None:
    async def visit() -> None:
        async with served.client() as client:
            watch = {**ABSENT, "seconds": 60.0}
            calls = [
                asyncio.create_task(client.call_tool("watch", watch)) for _ in range(MAX_CALLS + 1)
            ]
            (refused,), _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            assert refused.result().is_error
            assert (await client.call_tool("stop")).structured_content["accepted"]
            for each in calls:
                each.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        async with served.client() as client:
            while (await client.call_tool("look", {"camera": "left"})).is_error:
                await asyncio.sleep(0.1)

    asyncio.run(asyncio.wait_for(visit(), 60))


@pytest.fixture
def stdio(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "mllmseg_ros.cli", "mcp", "--device", "cpu", "--images", folder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.mark.threat("A3")
def test_whatever_is_sent_to_stdin_is_refused_and_the_next_request_is_answered(
    stdio: subprocess.Popen[bytes],
) -> None:
    assert stdio.stdin is not None
    assert stdio.stdout is not None
    for line in (*GARBAGE, initialize(), PING.replace(b'"id": 1', b'"id": 77')):
        stdio.stdin.write(line + b"\n")
    stdio.stdin.flush()
    while json.loads(stdio.stdout.readline()).get("id") != 77:
        pass
    rest, log = stdio.communicate(timeout=20)  # closes stdin, which ends the server
    assert stdio.returncode == 0
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest.splitlines())
    lines = log.decode().splitlines()
    assert not any("Traceback" in line for line in lines), log.decode()
    assert len(lines) < 40
    assert all(len(line) < 700 for line in lines)


def test_ctrl_c_ends_the_server_while_the_client_waits(stdio: subprocess.Popen[bytes]) -> None:
    assert stdio.stdin is not None
    assert stdio.stdout is not None
    assert stdio.stderr is not None
    stdio.stdin.write(initialize() + b"\n")
    stdio.stdin.flush()
    stdio.stdout.readline()
    stdio.send_signal(signal.SIGINT)
    assert stdio.wait(20) == 130
    assert "Traceback" not in stdio.stderr.read().decode()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--images", "nosuch"], "nosuch: no image in it; accepted: a folder of images"),
        (["--token-file", "x"], "--token-file is only for --http"),
        (["--http", "0", "--token-file", "nosuch"], "nosuch cannot be read: No such file"),
        (["--images", ".", "--ros-args", "-r", "a:=b"], "--ros-args is only for a running node"),
        (["--http", "99999"], "port is 99999, accepted: 0"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    arguments: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["mcp", *arguments]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"mllmseg: {reason}")


def test_without_the_sdk_the_verb_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mcp" else find_spec(name)
    )
    assert main(["mcp"]) == 1
    assert "needs mcp: pip install '.[mcp]'" in capsys.readouterr().err
