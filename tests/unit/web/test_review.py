# SPDX-License-Identifier: Apache-2.0
"""The review page: what a person decides with keys and mouse is in the file at once."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="needs aiohttp")
pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[2] / "ros"))

from browser import PROGRAM, Browser

from mllmseg_ros.data.region import encode
from mllmseg_ros.data.review import ChangedError, LabelledSet
from mllmseg_ros.web.guard import Access
from mllmseg_ros.web.review import review_application
from mllmseg_ros.web.serving_thread import ServingThread

ROOT = Path(__file__).parents[3]
HEIGHT, WIDTH = 120, 160
EXPRESSIONS = ["the mug", "<b>the bowl</b>", "the spoon"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three entries on one image; the model is unsure of the second."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[20:60, 30:90] = True
    image[mask] = (40, 40, 200)
    folder = tmp_path / "set"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), image)
    entries = [
        {"image": "0.png", "expression": said, "mask": encode(mask), "review": state, "score": 0.5}
        for said, state in zip(EXPRESSIONS, ("sure", "unsure", "sure"), strict=True)
    ]
    entries[2]["mask"] = None
    (folder / "annotations.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    return folder


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    access = Access(port=0)
    served = ServingThread(review_application(LabelledSet(folder), access), access)
    yield served.url
    served.stop()


def say(url: str, path: str, body: object = None) -> tuple[int, str]:
    """Status and text of the reply to a request; POST with a body."""

    async def send() -> tuple[int, str]:
        async with aiohttp.ClientSession() as client:
            method = "GET" if body is None else "POST"
            content = {"data": body} if isinstance(body, bytes) else {"json": body}
            async with client.request(method, url + path, **content) as reply:  # type: ignore[arg-type]
                return reply.status, await reply.text(errors="replace")

    return asyncio.run(send())


def reviews(folder: Path) -> list[str]:
    entries = LabelledSet(folder)
    return [entries.review(number).value for number in range(len(entries))]


def test_requests_change_one_entry_and_bad_ones_none(folder: Path, url: str) -> None:
    assert say(url, "entry/2", {"do": "accept"})[0] == 200
    assert reviews(folder) == ["sure", "unsure", "accepted"]
    before = (folder / "annotations.jsonl").read_bytes()
    for path, body, said in (
        ("entry/0", {"do": "burn"}, "accepted: accept, reject, redraw, keep"),
        ("entry/9", {"do": "accept"}, "there is no entry 9"),
        ("entry/0", {"do": "redraw", "polygons": [[1, 2]]}, "a polygon of 2 numbers"),
        ("entry/0", {"do": "keep", "uv": [0, 0]}, "there is no mask at"),
        ("entry/0", {"do": "keep", "uv": [-1, 10**30]}, "there is no mask at"),
        ("entry/0", {"do": "keep", "uv": [1]}, ""),
        ("entry/0", {"do": "keep", "uv": ["a", None]}, ""),
        ("entry/0", {"do": "redraw", "polygons": 3}, ""),
        ("entry/0", {"do": "redraw", "polygons": [["a", "b"]]}, ""),
        ("entry/0", {"do": "redraw", "polygons": [[10**400] * 6]}, ""),
        ("entry/0", {"do": "redraw", "polygons": [[1] * 6, None]}, ""),
        ("entry/0", ["accept"], "expected an object"),
        ("entry/0", b"[" * 100_000, "nested deeper than"),
        ("entry/0", b'{"do": "\xff"}', ""),
        ("entry/0", b'{"do": "\\ud800"}', "surrogate"),
        ("entry/0", b"", "not valid JSON"),
    ):
        status, text = say(url, path, body)
        assert status == 400, body
        assert said in text
    assert (folder / "annotations.jsonl").read_bytes() == before


def write_entries(folder: Path, n: int) -> None:
    """Entries on one image, of all of which the model is sure."""
    lines = [
        json.dumps({"image": "0.png", "expression": f"mug {k}", "mask": None, "review": "sure"})
        for k in range(n)
    ]
    (folder / "annotations.jsonl").write_text("".join(line + "\n" for line in lines))


def test_two_servers_lose_nothing_and_the_second_gets_an_error(folder: Path) -> None:
    write_entries(folder, 20)
    access = Access(port=0)
    a, b = (
        ServingThread(review_application(LabelledSet(folder), access), access) for _ in range(2)
    )
    try:
        for number in range(10):
            assert say(a.url, f"entry/{number}", {"do": "accept"})[0] == 200
        before = (folder / "annotations.jsonl").read_bytes()
        status, text = say(b.url, "entry/10", {"do": "reject"})
        assert status == 409
        assert "was changed by another program" in text
        assert (folder / "annotations.jsonl").read_bytes() == before
        for number in range(10, 20):
            assert say(b.url, f"entry/{number}", {"do": "reject"})[0] == 200
        assert reviews(folder) == ["accepted"] * 10 + ["rejected"] * 10
        assert say(a.url, "undo", {})[0] == 409  # nor does the first undo what the second did
        assert reviews(folder) == ["accepted"] * 10 + ["rejected"] * 10
        for served in (a, b):  # both show what is on disk
            counts = json.loads(say(served.url, "entries")[1])["counts"]
            assert (counts["accepted"], counts["rejected"]) == (10, 10)
    finally:
        a.stop()
        b.stop()


def test_nothing_is_lost_where_two_write_at_once(folder: Path) -> None:
    write_entries(folder, 60)
    n_told = []

    def decide(numbers: Sequence[int]) -> None:
        labelled = LabelledSet(folder)
        for number in numbers:
            while True:
                try:
                    labelled.accept(number)
                    break
                except ChangedError:
                    n_told.append(number)

    threads = [threading.Thread(target=decide, args=(range(k, 60, 3),)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reviews(folder) == ["accepted"] * 60
    assert n_told


def test_an_editor_s_change_is_kept(folder: Path) -> None:
    labelled = LabelledSet(folder)
    labelled.accept(0)
    path = folder / "annotations.jsonl"
    path.write_text(path.read_text().replace("the spoon", "the ladle"))  # same size, same inode
    with pytest.raises(ChangedError, match="was changed by another program"):
        labelled.undo()
    assert labelled[2]["expression"] == "the ladle"
    assert labelled.undo() is None
    labelled.reject(2)
    assert reviews(folder) == ["accepted", "unsure", "rejected"]
    assert "the ladle" in path.read_text()


def test_a_failed_save_is_reported_and_can_be_repeated(folder: Path) -> None:
    """The server may write no more bytes, as on a full disk; then it may again."""
    command = [sys.executable, "-m", "mllmseg_ros.cli", "review", str(folder), "--port", "0"]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0]
        assert say(url, "entry/1", {"do": "reject"})[0] == 200
        before = (folder / "annotations.jsonl").read_bytes()
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (16, hard))
        for path, body in (
            ("entry/0", {"do": "accept"}),
            ("entry/0", {"do": "redraw", "polygons": []}),
            ("undo", {}),
        ):
            status, text = say(url, path, body)
            assert status == 507
            assert "not saved: File too large" in text
        counts = json.loads(say(url, "entries")[1])["counts"]
        assert (counts["accepted"], counts["rejected"], counts["sure"]) == (0, 1, 2)
        assert (folder / "annotations.jsonl").read_bytes() == before
        assert {path.name for path in folder.iterdir()} == {
            "0.png", "annotations.jsonl", ".mllmseg.lock",
        }  # fmt: skip
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert say(url, "entry/0", {"do": "accept"})[0] == 200
        assert reviews(folder) == ["accepted", "rejected", "sure"]
        assert [json.loads(say(url, "undo", {})[1])["entry"]["number"] for _ in "ab"] == [0, 1]
        assert reviews(folder) == ["sure", "unsure", "sure"]
    finally:
        server.kill()
        server.wait()


BAD_LINES = [
    b"{",
    b"[1]",
    b"\xff",
    b"[" * 10_000,
    b'{"image": 3, "expression": "x", "mask": null}',
    b'{"image": "0.png", "expression": "x"}',
    b'{"image": "0.png", "expressions": [1], "mask": null}',
    b'{"image": "0.png", "expression": "x", "mask": null, "review": []}',
    b'{"image": "\\ud800", "expression": "x", "mask": null}',
]
ODD_ENTRIES = [  # each is shown, and what is wrong with it hides no other
    {"image": "x" * 5000, "expression": "a", "mask": None},
    {"image": "a\0b", "expression": "b", "mask": None},
    {"image": "../../etc/passwd", "expression": "c", "mask": None},
    {"image": "loop.png", "expression": "d", "mask": None},
    {"image": "fifo.png", "expression": "e", "mask": None},
    {"image": "bomb.png", "expression": "f", "mask": None},
    {"image": "0.png", "expression": "g", "mask": [1, 2]},
    {"image": "0.png", "expression": "h", "mask": {"size": 3, "counts": [[]]}},
    {"image": "0.png", "expression": "i", "mask": {"size": [120, 160], "counts": 10**12}},
    {"image": "0.png", "expression": "j", "mask": [[None] * 6]},
    {"image": "0.png", "expression": "k", "mask": 3},
    {"image": "0.png", "expression": "l", "mask": "nowhere.png"},
]


def write_odd_files(folder: Path) -> None:
    """A loop of links, a FIFO, and a PNG whose header says 60 000 x 60 000 px."""
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "fifo.png")
    png = bytearray((folder / "0.png").read_bytes())
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(png)


def test_one_bad_entry_does_not_hide_the_others(folder: Path, tmp_path: Path) -> None:
    path = folder / "annotations.jsonl"
    good = path.read_bytes()
    numbers = {"image": "0.png", "expression": "m", "mask": None, "score": float("nan")}
    entries = [*({**each, "score": "high"} for each in ODD_ENTRIES), numbers]
    odd = b"".join(json.dumps(each).encode() + b"\n" for each in entries)
    bad = b"".join(line + b"\r\n" for line in BAD_LINES)
    path.write_bytes(b"\xef\xbb\xbf" + bad + good + odd)
    write_odd_files(folder)
    access = Access(port=0)
    served = ServingThread(review_application(LabelledSet(folder), access), access)
    try:
        status, text = say(served.url, "entries")
        assert status == 200
        reply = json.loads(text, parse_constant=lambda name: pytest.fail(name))
        assert reply["n_problems"] == len(reply["problems"]) == len(BAD_LINES)
        for number, said in enumerate(reply["problems"], start=1):
            assert f"annotations.jsonl, line {number}: " in said
            assert len(said) < 600
        shown = {each["expression"]: each["number"] for each in reply["entries"]}
        assert set(shown) == {*EXPRESSIONS, *"abcdefghijklm"}
        for letter in "abcdef":
            status, text = say(served.url, f"picture/{shown[letter]}")
            assert (status, len(text.splitlines())) == (404, 1), text
            assert say(served.url, f"mask/{shown[letter]}")[0] == 404
        for letter in "ghijkl":
            status, text = say(served.url, f"mask/{shown[letter]}")
            assert (status, len(text.splitlines())) == (404, 1), text
        assert say(served.url, f"mask/{shown[EXPRESSIONS[0]]}")[0] == 200
        # A decision changes its own line, and no other byte of the file.
        assert say(served.url, f"entry/{shown['m']}", {"do": "reject"})[0] == 200
        lines = path.read_bytes().split(b"\n")
        assert lines[: len(BAD_LINES)] == [line + b"\r" for line in BAD_LINES]
        assert b"\n".join(lines).startswith(bad + good)
        assert b'"review": "rejected"' in lines[-2]
    finally:
        served.stop()


@pytest.mark.skipif(PROGRAM is None, reason="needs chromium")
def test_the_page_shows_what_failed_and_continues(folder: Path, url: str, tmp_path: Path) -> None:
    path = folder / "annotations.jsonl"
    shown = "document.getElementById('expression').textContent"
    problem = "document.getElementById('problem')"
    with Browser(tmp_path / "profile") as browser:
        browser.open(url)
        browser.wait(f"{shown} === {json.dumps(EXPRESSIONS[1])}")
        browser.wait("!document.getElementById('draw').disabled")
        # Another program accepts one entry, adds one and leaves half a line.
        other = LabelledSet(folder)
        other.accept(0)
        first = {"image": "0.png", "expression": "the fork", "mask": None, "review": "unsure"}
        path.write_text(json.dumps(first) + "\n" + path.read_text() + '{"image": "0.p')
        browser.press("r", "r")
        browser.wait(f"!{problem}.hidden && {problem}.textContent.includes('changed by another')")
        browser.wait(f"{shown} === {json.dumps(EXPRESSIONS[1])}")  # the same entry, to decide anew
        browser.wait("!document.getElementById('unusable').hidden")
        assert "left as they are: 1" in browser.run(
            "document.getElementById('unusable').textContent"
        )
        assert reviews(folder) == ["unsure", "accepted", "unsure", "sure"]
        browser.press("r", "r")
        browser.wait(f"{problem}.hidden && {shown} !== {json.dumps(EXPRESSIONS[1])}")
        assert reviews(folder) == ["unsure", "accepted", "rejected", "sure"]
        assert path.read_text().rstrip("\n").endswith('{"image": "0.p')


@pytest.mark.skipif(PROGRAM is None, reason="needs chromium")
def test_fingers_decide_on_a_phone_held_sideways(folder: Path, url: str, tmp_path: Path) -> None:
    two_pieces = np.zeros((HEIGHT, WIDTH), np.bool_)
    two_pieces[20:60, 30:60] = two_pieces[80:110, 100:150] = True
    lines = (folder / "annotations.jsonl").read_text().splitlines()
    spilled = json.loads(lines[1]) | {"mask": encode(two_pieces)}
    (folder / "annotations.jsonl").write_text("\n".join([lines[0], json.dumps(spilled), lines[2]]))
    shown = "document.getElementById('expression').textContent"
    with Browser(tmp_path / "profile") as browser:
        browser.resize(844, 390, phone=True)
        browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
        browser.open(url)
        browser.wait(f"{shown} === {json.dumps(EXPRESSIONS[1])}")
        browser.wait("!document.getElementById('keep').disabled")
        for name in ("canvas", "expression", "accept", "reject", "draw", "keep"):
            assert browser.is_visible(f"#{name}"), name
        # The piece on the lower right is kept, the other one is gone.
        browser.tap(*browser.center("#keep"))
        browser.wait("document.body.classList.contains('drawing')")
        left, top, wide, high = browser.run(
            "(b => [b.x, b.y, b.width, b.height])"
            "(document.getElementById('canvas').getBoundingClientRect())"
        )
        browser.tap(left + 125 / WIDTH * wide, top + 95 / HEIGHT * high)
        browser.wait(f"{shown} !== {json.dumps(EXPRESSIONS[1])}")
        kept = LabelledSet(folder)
        assert kept[1]["review"] == "accepted"
        np.testing.assert_array_equal(kept.mask(1)[80:], two_pieces[80:])
        assert not kept.mask(1)[:80].any()
        # A polygon, without a keyboard.
        browser.wait("!document.getElementById('draw').disabled")
        browser.tap(*browser.center("#draw"))
        browser.wait("!document.getElementById('save').hidden")
        left, top, wide, high = browser.run(
            "(b => [b.x, b.y, b.width, b.height])"
            "(document.getElementById('canvas').getBoundingClientRect())"
        )
        for x, y in ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.1, 0.9)):
            browser.tap(left + x * wide, top + y * high)
        browser.tap(*browser.center("#remove"))
        browser.tap(*browser.center("#save"))
        browser.wait(f"{shown} === {json.dumps(EXPRESSIONS[2])}")
        assert LabelledSet(folder).mask(0).mean() == pytest.approx(0.18, abs=0.03)


@pytest.mark.skipif(PROGRAM is None, reason="needs chromium")
def test_keys_and_mouse_decide_in_a_browser(folder: Path, url: str, tmp_path: Path) -> None:
    shown = "document.getElementById('expression').textContent"
    drawn = "document.body.classList.contains('drawing')"
    with Browser(tmp_path / "profile") as browser:
        browser.resize(1200, 800)
        browser.open(url)
        # What the model is unsure of comes first, and words stay words.
        browser.wait(f"{shown} === {json.dumps(EXPRESSIONS[1])}")
        # The outline of its mask is orange.
        browser.wait(
            "(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some("
            "(red, i, d) => i % 4 === 0 && red > 230 && d[i + 1] > 120 && d[i + 2] < 80))"
            "(document.getElementById('canvas'))"
        )
        browser.press("r", "r")
        browser.wait(f"{shown} === {json.dumps(EXPRESSIONS[0])}")
        assert reviews(folder) == ["sure", "rejected", "sure"]
        browser.press("a", "a")
        browser.wait(f"{shown} === {json.dumps(EXPRESSIONS[2])}")
        assert reviews(folder) == ["accepted", "rejected", "sure"]
        browser.wait("!document.getElementById('draw').disabled")
        browser.press("d", "d")
        browser.wait(drawn)
        left, top, wide, high = browser.run(
            "(b => [b.x, b.y, b.width, b.height])"
            "(document.getElementById('canvas').getBoundingClientRect())"
        )
        for x, y in ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75)):
            browser.click(left + x * wide, top + y * high)
        browser.press("Enter", "\r")
        browser.wait(f"!{drawn} && {shown} !== {json.dumps(EXPRESSIONS[2])}")
        mask = LabelledSet(folder).mask(2)
        assert mask[int(0.3 * HEIGHT), int(0.7 * WIDTH)]
        assert not mask[int(0.7 * HEIGHT), int(0.3 * WIDTH)]
        assert mask.mean() == pytest.approx(0.125, abs=0.02)
        assert reviews(folder) == ["accepted", "rejected", "accepted"]
        browser.press("u", "u")
        browser.wait(f"{shown} === {json.dumps(EXPRESSIONS[2])}")
        assert reviews(folder) == ["accepted", "rejected", "sure"]
        # Reading pixels back is slow, as this test does and the page does not.
        assert [each for each in browser.complaints if "readback" not in each] == []
        assert all(request.startswith(url) for request in browser.requests), browser.requests
