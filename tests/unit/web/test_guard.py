# SPDX-License-Identifier: Apache-2.0
"""A page lets in whom it should, and nobody else."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="needs aiohttp")

from aiohttp import ClientSession, CookieJar, WSMsgType, WSServerHandshakeError, web

from mllmseg_ros.web.guard import Access, guarded_application, open_socket, serving

pytestmark = pytest.mark.threat("W1")

TOKEN = "correct horse battery staple"


def visit(
    access: Access, page: Path | None, steps: Callable[[ClientSession, str], Awaitable[None]]
) -> None:
    """Serve for real, and let a client do something."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        ws = await open_socket(request)
        async for message in ws:
            await ws.send_str(message.data)
        return ws

    async def label(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def run() -> None:
        app = guarded_application(access, page)
        app.router.add_get("/ws", echo)
        app.router.add_post("/label", label)
        async with (
            serving(app, access) as url,
            ClientSession(cookie_jar=CookieJar(unsafe=True)) as client,
        ):
            await steps(client, url)

    asyncio.run(asyncio.wait_for(run(), 20))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "index.html").write_text("<p>page")
    (folder / "page.js").write_text("1")
    return folder


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"address": "0.0.0.0"}, "a token is needed"),
        ({"address": "::", "token": "short"}, "has 5 characters"),
        ({"address": "robot"}, "accepted: an IP address or localhost"),
        ({"port": 70000}, "port is 70000"),
        ({"origins": ("robot.example",)}, "accepted: such as https://"),
        ({"origins": ("https://",)}, "accepted: such as https://"),
        ({"origins": ("https://robot.example/path",)}, "accepted: such as https://"),
    ],
)
def test_what_would_be_open_to_others_or_means_nothing_is_refused(
    values: dict, problem: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        Access(**values)


def test_files_are_served_by_name_and_no_path_reaches_the_file_system(page: Path) -> None:
    async def steps(client: ClientSession, url: str) -> None:
        assert url.startswith("http://127.0.0.1:")
        async with client.get(url) as response:
            assert await response.text() == "<p>page"
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
        async with client.get(f"{url}page.js") as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "javascript" in response.headers["Content-Type"]
        (page / "late.js").write_text("2")
        for path in ("late.js", "..%2fsecret.txt", "../secret.txt", "%2e%2e/secret.txt", "nothing"):
            async with client.get(f"{url}{path}") as response:
                assert response.status == 404, path
                assert "Content-Security-Policy" in response.headers

    visit(Access(port=0), page, steps)


def test_foreign_names_and_foreign_pages_are_refused() -> None:
    access = Access(port=0, origins=("https://robot.example",))

    async def steps(client: ClientSession, url: str) -> None:
        own = url.rstrip("/")
        host = own.removeprefix("http://")
        for name, status in (
            ("evil.example", 403), ("localhost:9", 404), ("192.168.1.7:8642", 404), ("[::1]", 404),
            (socket.gethostname(), 404), ("robot.example", 404), ("localhost.evil.example", 403),
        ):  # fmt: skip
            async with client.get(url, headers={"Host": name}) as response:
                assert response.status == status, name
        for origin, status in (
            (own, 200), ("https://robot.example", 200), ("http://evil.example", 403),
            ("null", 403), (f"http://evil.example/{host}", 403), ("http://127.0.0.1", 403),
        ):  # fmt: skip
            headers = {"Origin": origin}
            async with client.post(f"{url}label", headers=headers) as response:
                assert response.status == status, origin
            if status == 403:
                with pytest.raises(WSServerHandshakeError, match="403"):
                    await client.ws_connect(f"{url}ws", headers=headers)
            else:
                await (await client.ws_connect(f"{url}ws", headers=headers)).close()

    visit(access, None, steps)


def test_sizes_are_capped() -> None:
    async def steps(client: ClientSession, url: str) -> None:
        async with client.post(f"{url}label", data=b"x" * 100_000) as response:
            assert await response.text() == "100000"
        async with client.post(f"{url}label", data=b"x" * 2_000_000) as response:
            assert response.status == 413
        ws = await client.ws_connect(f"{url}ws")
        await ws.send_str("x" * 60_000)
        assert len((await ws.receive()).data) == 60_000
        await ws.send_str("x" * 70_000)
        assert (await ws.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)

    visit(Access(port=0), None, steps)


def test_the_token_comes_by_link_form_or_header_and_stays_as_a_cookie(page: Path) -> None:
    access = Access(port=0, address="0.0.0.0", token=TOKEN)

    async def steps(client: ClientSession, url: str) -> None:
        url = f"http://127.0.0.1:{url.rsplit(':', 1)[1]}"
        for path in ("page.js", "ws", "?token=wrong", ""):
            async with client.get(f"{url}{path}") as response:
                assert response.status == 401, path
                assert "<p>page" not in await response.text()
        async with client.post(f"{url}login", data={"token": "wrong"}) as response:
            assert response.status == 401
        async with client.get(url, headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert await response.text() == "<p>page"
        for how in ("link", "form"):
            client.cookie_jar.clear()
            if how == "link":
                entered = client.get(url, params={"token": TOKEN})
            else:
                entered = client.post(f"{url}login", data={"token": TOKEN})
            async with entered as response:
                assert str(response.url) == url, "the token is in the address bar"
                assert await response.text() == "<p>page"
            (cookie,) = client.cookie_jar
            assert cookie["httponly"]
            assert TOKEN not in cookie.value
            await (await client.ws_connect(f"{url}ws")).close()

    visit(access, page, steps)


def test_two_pages_on_one_host_keep_their_cookies(page: Path) -> None:
    """Browsers share cookies between the ports of a host."""
    other = Access(port=0, token="another token than that of the first page")

    async def steps(client: ClientSession, url: str) -> None:
        app = guarded_application(other, page)
        async with serving(app, other) as other_url:
            for where, token in ((url, TOKEN), (other_url, other.token)):
                async with client.get(where, params={"token": token}) as response:
                    assert response.status == 200
            for where in (url, other_url):
                async with client.get(where) as response:
                    assert response.status == 200

    visit(Access(port=0, token=TOKEN), page, steps)


@pytest.mark.parametrize(
    ("origins", "headers", "is_secure"),
    [
        ((), {}, False),
        ((), {"X-Forwarded-Proto": "https"}, False),  # there is no proxy
        (("http://robot.example",), {"X-Forwarded-Proto": "https"}, False),
        (("https://robot.example",), {}, False),  # this machine's own address
        (("https://robot.example",), {"X-Forwarded-Proto": "https"}, True),
        (("https://robot.example",), {"Host": "robot.example"}, True),
    ],
)
def test_behind_https_the_cookie_is_secure(
    page: Path, origins: tuple[str, ...], headers: dict[str, str], is_secure: bool
) -> None:
    async def steps(client: ClientSession, url: str) -> None:
        async with client.get(
            url, params={"token": TOKEN}, headers=headers, allow_redirects=False
        ) as response:
            assert response.status == 303
            (cookie,) = response.cookies.values()
            assert bool(cookie["secure"]) == is_secure

    visit(Access(port=0, token=TOKEN, origins=origins), page, steps)
