# SPDX-License-Identifier: Apache-2.0
"""Everything sent to the console is answered or refused in one line, and nothing stops it.

The console runs as a process, with a token.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("aiohttp", reason="needs aiohttp")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ros"))

import aiohttp
from ros_harness import NodeProcess, new_domain

from mllmseg_ros.web.guard import WRONG_TOKENS_AT_ONCE
from mllmseg_ros.web.log import LINES_PER_PERIOD

pytestmark = [pytest.mark.ros, pytest.mark.threat("W1", "W2")]

TOKEN = "the token of this test"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
DEEP = "[" * 50_000
HUGE = "1" * 5000
WRONG_VALUES = (
    "", "nul", "{", "[]", "3", '"text"', "null", DEEP, f'{{"text": {DEEP}}}', "{}",
    '{"text": 3}', '{"text": null}', '{"text": ["a"]}', '{"text": "\\ud800"}',
    '{"text": "a\\u0000b"}',
    f'{{"text": {HUGE}}}', json.dumps({"text": "x" * 5000}),
    '{"camera": "", "uv": [1]}', '{"camera": "", "uv": {"0": 1}}', '{"camera": "", "uv": [NaN, 1]}',
    '{"camera": "", "uv": [true, false]}', '{"camera": "", "uv": ["1", "2"]}',
    f'{{"camera": "", "uv": [{HUGE}, 1]}}', '{"camera": "", "uv": [1e999, 1]}',
    '{"camera": 1, "uv": [1, 1]}', '{"name": "threshold"}', '{"name": 1, "value": 1}',
    '{"name": "threshold", "value": [1]}', '{"name": "threshold", "value": {}}',
    f'{{"name": "threshold", "value": {HUGE}}}', '{"name": "threshold", "value": Infinity}',
    '{"name": "\\udfff", "value": 1}', '{"name": "a\\u0000", "value": "b\\u0000"}',
    f'{{"name": "threshold", "value": {10**30}}}', '{"name": "nosuch", "value": 1}',
    '{"expression": "x"}', '{"expression": 1, "camera": ""}',
    '{"expression": "", "camera": "\\ud800"}',
)  # fmt: skip
BODIES = [
    *(text.encode() for text in WRONG_VALUES), b"\xff\xfe\x00", b"\xed\xa0\x80",
    '{"text":"é"}'.encode("utf-16"),
]  # fmt: skip
MESSAGES = (
    *WRONG_VALUES[:14], '{"kind": "nosuch"}', '{"kind": 1}', '{"kind": "camera"}',
    '{"kind": "camera", "value": 1}', '{"kind": "camera", "value": "\\ud800"}', '{"kind": "talk"}',
    '{"kind": "talk", "value": "yes"}', '{"kind": "talk", "value": 1}', '{"kind": ["shown"]}',
    b"odd",
)  # fmt: skip
HEADERS = (
    b"Authorization: Bearer \xff", b"Authorization: Bearer \xc3\xa9", b"Authorization: \xff",
    b"Authorization: Basic Og==", b"Cookie: \xff=\xff", b"Cookie: mllmseg_%PORT%=\xff",
    b"Content-Type: application/json; charset=nosuch", b"Content-Type: \xff",
    b"Content-Type: application/json; charset=utf-16", b"Content-Encoding: nosuch",
    b"Content-Encoding: deflate", b"Origin: http://[", b"Origin: \xff", b"Origin: http://[::1",
    b"Upgrade: websocket", b"Sec-WebSocket-Version: 99", b"Expect: nosuch", b"Range: \xff",
    b"X-Forwarded-Proto: \xff", b"Accept: \xff",
)  # fmt: skip
RAW = (
    b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x00" * 100 + b"\r\n\r\n", b"GET " + b"/a" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"POST /command HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /command HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1e3\r\n\r\n",
    b"POST /command HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"GET /%ff%00?token=%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /?token=%ed%a0%80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\ntoken=\xff\xff\xff",
    b"NOSUCH /stop HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
)  # fmt: skip


@pytest.fixture
def console(tmp_path: Path) -> Iterator[NodeProcess]:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    process = NodeProcess(
        new_domain(), "--ros-args", "-p", "port:=0", "-p", f"token_file:={token_file}",
        executable="console",
    )  # fmt: skip
    process.wait_for("console at")
    yield process
    assert process.end() == 0, process.log
    assert "Traceback" not in process.log
    assert not any("\x1b" in line or len(line) > 800 for line in process.lines)


def url_of(console: NodeProcess) -> str:
    return console.log.split("console at ")[1].split()[0]


def port_of(console: NodeProcess) -> int:
    return int(url_of(console).rsplit(":", 1)[1].strip("/"))


async def send_raw(port: int, data: bytes, address: str = "127.0.0.1") -> int:
    """Send bytes and return the status of the reply, 0 if the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        writer.write(data)
        line = await asyncio.wait_for(reader.readline(), 20)
    except ConnectionError:
        return 0
    finally:
        writer.close()
    return int(line.split()[1]) if line else 0


async def is_answering(url: str) -> bool:
    async with (
        aiohttp.ClientSession(headers=AUTHORIZED) as session,
        session.post(f"{url}stop") as response,
    ):
        text = await response.text()
        return response.status == 400 and "has no subscriber" in text  # published all the same


def test_a_malformed_body_is_refused_in_one_line(console: NodeProcess) -> None:
    url = url_of(console)

    async def send() -> None:
        async with aiohttp.ClientSession(url, headers=AUTHORIZED) as session:
            for path in ("/command", "/click", "/setting", "/explain"):
                for body in BODIES:
                    if path == "/explain" and b'"expression": "x"' in body and b"camera" in body:
                        continue
                    async with session.post(path, data=body) as response:
                        reason = (await response.json())["error"]
                        assert response.status == 400, (path, body[:60], reason)
                        assert reason.isprintable()
                        assert len(reason) <= 1000
        assert await is_answering(url)

    asyncio.run(send())


def test_a_malformed_header_is_refused_without_a_traceback(console: NodeProcess) -> None:
    port = port_of(console)

    async def send() -> None:
        for is_authorized in (False, True):
            for header in HEADERS:
                lines = [b"POST /command HTTP/1.1", b"Host: 127.0.0.1", b"Content-Length: 2"]
                lines.append(header.replace(b"%PORT%", str(port).encode()))
                if is_authorized:
                    lines.append(f"Authorization: Bearer {TOKEN}".encode())
                status = await send_raw(port, b"\r\n".join([*lines, b"", b"{}"]))
                assert 400 <= status < 500, (is_authorized, header, status)
        for data in RAW:
            status = await send_raw(port, data)
            assert status == 0 or 400 <= status < 500, (data[:60], status)
        assert await is_answering(url_of(console))

    asyncio.run(send())


def test_a_malformed_message_is_refused_and_the_page_stays_open(console: NodeProcess) -> None:
    async def send() -> None:
        async with aiohttp.ClientSession(url_of(console), headers=AUTHORIZED) as session:
            ws = await session.ws_connect("/socket")
            for message in MESSAGES:
                if isinstance(message, bytes):
                    await ws.send_bytes(message)
                else:
                    await ws.send_str(message)
                while True:
                    reply = await asyncio.wait_for(ws.receive_json(), 20)
                    if reply["kind"] == "problem":
                        break
                assert reply["value"].isprintable(), message
            await ws.close()
        assert await is_answering(url_of(console))

    asyncio.run(send())


def test_thousands_of_refused_requests_are_a_few_lines_of_log(console: NodeProcess) -> None:
    port, before = port_of(console), len(console.log)

    async def send() -> None:
        for number in range(2000):
            header = (b"Bearer \xff", b"Bearer wrong", AUTHORIZED["Authorization"].encode())[
                number % 3
            ]
            data = (
                b"POST /command HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nAuthorization: "
            )
            assert 400 <= await send_raw(port, data + header + b"\r\n\r\n[", "127.0.0.2") < 500
        assert await is_answering(url_of(console))

    asyncio.run(asyncio.wait_for(send(), 120))
    assert len(console.log) - before < 40_000


def test_wrong_tokens_are_logged_and_throttled_and_lock_nobody_out(console: NodeProcess) -> None:
    port = port_of(console)

    async def send() -> None:
        statuses = []
        for number in range(WRONG_TOKENS_AT_ONCE + 20):
            way = number % 3
            if way == 0:
                head = b"GET /socket HTTP/1.1\r\nAuthorization: Bearer wrong\r\n"
            elif way == 1:
                head = b"GET /?token=wrong HTTP/1.1\r\n"
            else:
                head = b"POST /login HTTP/1.1\r\nContent-Length: 11\r\n"
            body = b"token=wrong" if way == 2 else b""
            data = head + b"Host: 127.0.0.1\r\n\r\n" + body
            statuses.append(await send_raw(port, data, "127.0.0.2"))
        assert statuses[:WRONG_TOKENS_AT_ONCE] == [401] * WRONG_TOKENS_AT_ONCE
        assert statuses.count(429) >= 18  # one more may be admitted meanwhile
        # Of this address, and of another one.
        data = b"GET /?token=wrong HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        assert await send_raw(port, data, "127.0.0.3") == 401
        data = f"POST /stop HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        assert await send_raw(port, data.encode(), "127.0.0.2") == 400  # there is no subscriber

    asyncio.run(send())
    n_lines = console.log.count("wrong token from 127.0.0.2")
    assert 1 <= n_lines <= LINES_PER_PERIOD
    assert "wrong token from 127.0.0.3" in console.log or n_lines == LINES_PER_PERIOD


def test_a_web_server_that_ends_by_itself_ends_the_process(tmp_path: Path) -> None:
    script = tmp_path / "node.py"
    script.write_text(
        "from mllmseg_ros.ros.console.start import main\n"
        "from mllmseg_ros.web import serving_thread\n"
        "async def serve(self, app, access, log):\n"
        "    async with serving_thread.serving(app, access, log) as url:\n"
        "        self._started.set_result(url)\n"
        "        raise OSError('no memory for sockets')\n"
        "serving_thread.ServingThread._serve = serve\n"
        "raise SystemExit(main())\n"
    )
    process = NodeProcess(new_domain(), "--ros-args", "-p", "port:=0", script=str(script))
    assert process.process.wait(60) == 1
    process.end()
    assert "the web server has ended: OSError: no memory for sockets" in process.log
    assert "Traceback" not in process.log


@pytest.mark.parametrize("name", ["token_file", "address", "segmenter", "origins"])
@pytest.mark.parametrize("value", ["~nosuch/x", "a" * 5000, "FIFO"])
def test_a_bad_parameter_is_one_line(name: str, value: str, tmp_path: Path) -> None:
    if value == "FIFO":
        value = str(tmp_path / "f i f o")
        os.mkfifo(value)
    options = ("--ros-args", "-p", "port:=0", "-p", f"{name}:='{value}'")
    process = NodeProcess(new_domain(), *options, executable="console")
    assert process.process.wait(60) == 1
    process.end()
    (line,) = process.lines
    assert line.startswith("cannot start: ")
    assert name.rstrip("s") in line
    assert len(line) < 1100
