# SPDX-License-Identifier: Apache-2.0
"""The review page: what a person decides with keys and mouse is in the file at once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
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
from mllmseg_ros.data.review import LabelledSet
from mllmseg_ros.web.guard import Access
from mllmseg_ros.web.review import review_application
from mllmseg_ros.web.serving_thread import ServingThread

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


def reviews(folder: Path) -> list[str]:
    entries = LabelledSet(folder)
    return [entries.review(number).value for number in range(len(entries))]


def test_requests_change_one_entry_and_bad_ones_none(folder: Path, url: str) -> None:
    async def post(path: str, body: object) -> tuple[int, str]:
        async with aiohttp.ClientSession() as client, client.post(url + path, json=body) as reply:
            return reply.status, await reply.text()

    def say(path: str, body: object) -> tuple[int, str]:
        return asyncio.run(post(path, body))

    assert say("entry/2", {"do": "accept"})[0] == 200
    assert reviews(folder) == ["sure", "unsure", "accepted"]
    before = (folder / "annotations.jsonl").read_bytes()
    for path, body, said in (
        ("entry/0", {"do": "burn"}, "accepted: accept, reject, redraw"),
        ("entry/9", {"do": "accept"}, "there is no entry 9"),
        ("entry/0", {"do": "redraw", "polygons": [[1, 2]]}, "a polygon of 2 numbers"),
        ("entry/0", {"do": "redraw", "polygons": 3}, ""),
        ("entry/0", {"do": "redraw", "polygons": [["a", "b"]]}, ""),
        ("entry/0", ["accept"], "expected an object"),
    ):
        status, text = say(path, body)
        assert status == 400, body
        assert said in text
    assert (folder / "annotations.jsonl").read_bytes() == before


@pytest.mark.skipif(PROGRAM is None, reason="needs chromium")
def test_keys_and_mouse_decide_in_a_browser(folder: Path, url: str, tmp_path: Path) -> None:
    shown = "document.getElementById('expression').textContent"
    drawn = "document.body.classList.contains('drawing')"
    with Browser(tmp_path / "profile") as browser:
        browser.resize(1200, 800)
        browser.open(url)
        # What the model is unsure of comes first, and words stay words.
        browser.wait(f"{shown} === {json.dumps(EXPRESSIONS[1])}")
        red = "(([r, g, b]) => r > 150 && g > 60)(document.getElementById('canvas')"
        browser.wait(f"{red}.getContext('2d').getImageData(60, 40, 1, 1).data)")
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
