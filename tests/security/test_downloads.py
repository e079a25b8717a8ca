# SPDX-License-Identifier: Apache-2.0
"""A hub that sends too much, too slowly, endlessly or in circles: the download ends in one line."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mllmseg_ros.checkpoints import hub
from mllmseg_ros.checkpoints.hub import MAX_DOWNLOAD_BYTES, MAX_LIST_BYTES, download

pytestmark = pytest.mark.threat("D1")

NAME = "owner/name"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(300_000)
Serve = Callable[[BaseHTTPRequestHandler], None]


class HostileHub:
    """Serves a small repository, as far as nothing else is set.

    Attributes:
        answers: what is done for a path that ends so.
        requests: paths that were asked for.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Serve] = {}
        self.requests: list[str] = []
        self.entries: list[dict[str, Any]] = [
            {
                "rfilename": "model.safetensors",
                "size": len(WEIGHTS),
                "blobId": COMMIT,
                "lfs": {"sha256": hashlib.sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS)},
            }
        ]
        self.ended = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                outer.requests.append(path)
                for end, answer in outer.answers.items():
                    if path.endswith(end):
                        return answer(self)
                if path == f"/api/models/{NAME}":
                    fields = {"id": NAME, "sha": COMMIT, "siblings": outer.entries}
                    return send(self, json.dumps(fields).encode())
                return send(self, WEIGHTS)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def send(request: BaseHTTPRequestHandler, content: bytes, length: int | None = None) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content) if length is None else length))
    request.end_headers()
    request.wfile.write(content)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileHub]:
    server = HostileHub()
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "STALL_S", 2.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.ended.set()
    server.server.shutdown()
    server.server.server_close()


def refusal(to: Path) -> str:
    began_s = time.monotonic()
    with pytest.raises(ValueError, match=r".") as caught:
        download(NAME, to)
    assert time.monotonic() - began_s < 60
    assert "\n" not in str(caught.value)
    assert not to.exists()
    return str(caught.value)


def test_the_hub_of_the_tests_works(hostile: HostileHub, tmp_path: Path) -> None:
    folder = download(NAME, tmp_path / "to")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(each.name for each in tmp_path.iterdir()) == ["to"]
    assert sorted(each.name for each in folder.iterdir()) == ["SHA256SUMS", "model.safetensors"]


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(bytes(1 << 16))


def test_no_more_than_stated_is_taken(hostile: HostileHub, tmp_path: Path) -> None:
    hostile.answers["model.safetensors"] = endless
    assert f"sends more than {len(WEIGHTS)} bytes for model.safetensors" in refusal(tmp_path / "a")
    written = [each.stat().st_size for each in tmp_path.rglob("*.incomplete")]
    assert max(written, default=0) <= len(WEIGHTS)
    hostile.answers = {f"/api/models/{NAME}": endless}
    assert f"sends more than {MAX_LIST_BYTES} bytes" in refusal(tmp_path / "b")


def dripping(hostile: HostileHub, *, header: bool) -> Serve:
    """A byte every tenth of a second, so that no single read ever times out."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n")
        request.wfile.write(b"X-Slow: " if header else b"\r\n")
        while not hostile.ended.wait(0.1):
            request.wfile.write(b"a")
            request.wfile.flush()

    return answer


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("path", ["model.safetensors", f"/api/models/{NAME}"])
def test_a_server_that_sends_too_slowly_is_given_up(
    hostile: HostileHub, tmp_path: Path, path: str, header: bool
) -> None:
    hostile.answers[path] = dripping(hostile, header=header)
    assert ("no response within 2 s" if header else "too slow") in refusal(tmp_path / "to")


def test_a_server_that_falls_silent_is_given_up(hostile: HostileHub, tmp_path: Path) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        send(request, WEIGHTS[:1000], len(WEIGHTS))
        hostile.ended.wait()

    hostile.answers["model.safetensors"] = answer
    assert "run the same command again to resume it" in refusal(tmp_path / "to")
    hostile.answers.clear()
    assert download(NAME, tmp_path / "to").is_dir()


def test_a_connection_that_breaks_is_tried_again(hostile: HostileHub, tmp_path: Path) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        begin = int((request.headers["Range"] or "bytes=0-").split("=")[1].rstrip("-"))
        request.send_response(206 if begin else 200)
        request.send_header("Content-Length", str(len(WEIGHTS) - begin))
        request.end_headers()
        request.wfile.write(WEIGHTS[begin : begin + 100_000])
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)

    hostile.answers["model.safetensors"] = answer
    assert (download(NAME, tmp_path / "to") / "model.safetensors").read_bytes() == WEIGHTS
    assert len([path for path in hostile.requests if path.endswith("safetensors")]) == 3


def test_redirects_end(hostile: HostileHub, tmp_path: Path) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", f"{request.path}x")
        request.send_header("Content-Length", "0")
        request.end_headers()

    hostile.answers[""] = answer
    assert "no connection to" in refusal(tmp_path / "to")
    assert len(hostile.requests) < 50


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": MAX_DOWNLOAD_BYTES + 1}, "GB, accepted are up to"),
        ({"size": -1}, "malformed (size or checksum of model.safetensors)"),
        ({"size": "1"}, "malformed"),
        ({"size": None}, "malformed"),
        ({"lfs": {"sha256": "../../x"}}, "malformed"),
        ({"lfs": 3}, "malformed"),
        ({"rfilename": "../model.safetensors"}, "has no weights"),
        ({"rfilename": "a/model.safetensors"}, "has no weights"),
        ({"rfilename": "x" * 300 + ".safetensors"}, "has no weights"),
        ({"rfilename": "a\nb.safetensors"}, "has no weights"),
        ({"rfilename": 3}, "malformed"),
    ],
)
def test_a_list_of_files_is_checked(
    hostile: HostileHub, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    hostile.entries[0] |= change
    assert reason in refusal(tmp_path / "to")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"[]", b'{"sha": 3}', b""])
def test_a_malformed_list_of_files(hostile: HostileHub, tmp_path: Path, content: bytes) -> None:
    hostile.answers[f"/api/models/{NAME}"] = lambda request: send(request, content)
    assert "list of files" in refusal(tmp_path / "to")


def test_links_in_the_folder_are_not_followed(hostile: HostileHub, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    partial = tmp_path / "to.partial"
    partial.mkdir()
    (partial / f"model.safetensors.{COMMIT[:12]}.incomplete").symlink_to(mine)
    assert "is a symbolic link" in refusal(tmp_path / "to")
    assert mine.read_text() == "precious"
    for each in partial.iterdir():
        each.unlink()
    (partial / "SHA256SUMS.partial").symlink_to(mine)
    (partial / "model.safetensors").symlink_to(mine)
    assert download(NAME, tmp_path / "to").is_dir()
    assert mine.read_text() == "precious"
    other = tmp_path / "other.partial"
    other.symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in refusal(tmp_path / "other")


def test_two_downloads_to_one_folder_do_not_meet(hostile: HostileHub, tmp_path: Path) -> None:
    going_on = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        going_on.set()
        time.sleep(1.0)
        send(request, WEIGHTS)

    hostile.answers["model.safetensors"] = answer
    results: list[Path] = []
    first = threading.Thread(target=lambda: results.append(download(NAME, tmp_path / "to")))
    first.start()
    assert going_on.wait(30)
    with pytest.raises(ValueError, match=f"in use by .*process {os.getpid()}"):
        download(NAME, tmp_path / "to")
    first.join()
    assert results == [tmp_path / "to"]
