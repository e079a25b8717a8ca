# SPDX-License-Identifier: Apache-2.0
"""Drive headless Chromium over the DevTools protocol, for the tests of the console."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
_START_S = 30.0
_CALL_S = 20.0


class Browser:
    """One page; its requests and errors are kept in ``requests`` and ``complaints``."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [
                PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--disable-dev-shm-usage", "--mute-audio",
                "--hide-scrollbars",
                "--remote-debugging-port=0", f"--user-data-dir={folder}", *arguments, "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self._loop.run_until_complete(self._connect(folder / "DevToolsActivePort"))
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._process.terminate()
        self._process.wait(20)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        call = self._call(method, parameters)
        return self._loop.run_until_complete(asyncio.wait_for(call, _CALL_S))

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page; await a promise."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str, timeout_s: float = 20.0) -> Any:
        """Wait until an expression is true and return its value; one that fails is not true yet."""
        deadline = time.monotonic() + timeout_s
        attempt = f"(() => {{ try {{ return {script} }} catch {{ return null }} }})()"
        while not (value := self.run(attempt)):
            if time.monotonic() > deadline:
                shown = self.run("document.body.innerText")
                raise AssertionError(
                    f"timed out: {script}; {self.complaints}; the page says {shown!r}"
                )
            time.sleep(0.05)
        return value

    def type(self, text: str, *, enter: bool = True) -> None:
        self.call("Input.insertText", text=text)
        if enter:
            self.press("Enter", "\r")

    def press(self, key: str, text: str = "") -> None:
        code = {"Enter": 13, "Escape": 27}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, text=text,
                windowsVirtualKeyCode=code,
            )  # fmt: skip

    def mouse(self, kind: str, x: float, y: float) -> None:
        """``kind``: mousePressed or mouseReleased, at a point of the window in px."""
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
        )  # fmt: skip

    def click(self, x: float, y: float) -> None:
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def tap(self, x: float, y: float) -> None:
        """Tap with a finger."""
        for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def center(self, selector: str) -> tuple[float, float]:
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        left, top, width, height = self.run(f"(b => [b.x, b.y, b.width, b.height])({box})")
        return left + width / 2, top + height / 2

    def resize(self, width: int, height: int, scale: float = 1.0, *, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=scale, mobile=phone,
        )  # fmt: skip

    def is_visible(self, selector: str) -> bool:
        """Whether an element is wholly within the window and nothing covers its centre."""
        return bool(
            self.run(
                "((e, b) => b.top >= 0 && b.left >= 0 && b.width > 0"
                " && b.bottom <= innerHeight + 1 && b.right <= innerWidth + 1"
                " && e.contains(document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2)))"
                f"(...(e => [e, e.getBoundingClientRect()])"
                f"(document.querySelector({json.dumps(selector)})))"
            )
        )

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    async def _connect(self, port_file: Path) -> None:
        deadline = time.monotonic() + _START_S
        while not port_file.exists() or not port_file.read_text().strip():
            assert self._process.poll() is None, "chromium ended"
            assert time.monotonic() < deadline, "chromium does not start"
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json") as response:
            (page,) = [each for each in await response.json() if each["type"] == "page"]
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    async def _call(self, method: str, parameters: dict[str, object]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        values = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif event["method"] == "Network.webSocketCreated":
            self.requests.append(values["url"])
        elif event["method"] == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", str(details)))
        # The page reports failed and refused requests itself.
        elif event["method"] == "Log.entryAdded" and values["entry"]["source"] not in (
            "network",
            "rendering",
        ):
            self.complaints.append(values["entry"]["text"])
