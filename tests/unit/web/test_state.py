# SPDX-License-Identifier: Apache-2.0
"""A click means the thing under it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="needs aiohttp")

from mllmseg_ros.web.state import ConsoleResult, Entry, find_entry


def entry(
    box: tuple[int, int, int, int] | None, mask: np.ndarray | None, **others: object
) -> Entry:
    values: dict = {
        "expression": "the mug", "role": "", "status": "found", "score": math.nan,
        "mask_score": 0.9, "track_id": "t1", "color_rgb": (255, 0, 16), "box_xyxy": box,
        "mask": mask, "area_px": 0 if mask is None else int(mask.sum()), "position_m": None,
        "frame_id": "", "distance_m": None, "age_s": 0.0,
    }  # fmt: skip
    return Entry(**values)


def result(*entries: Entry) -> ConsoleResult:
    return ConsoleResult(
        camera="", stamp_ns=2**62 + 1, size_hw=(100, 200), request_id="a-1", command="the mug",
        status="ok", text="", model="", latency_ms=1.0, entries=entries,
    )  # fmt: skip


def test_the_smallest_mask_then_the_box_then_what_is_near() -> None:
    ring = np.ones((20, 20), dtype=np.bool_)
    ring[5:15, 5:15] = False
    in_it = np.ones((4, 4), dtype=np.bool_)
    shown = result(entry(None, None), entry((10, 10, 30, 30), ring), entry((18, 18, 22, 22), in_it))
    assert find_entry(shown, 20, 20) == 2  # in both boxes, in one mask
    assert find_entry(shown, 11.4, 10.6) == 1
    assert find_entry(shown, 16.6, 16.4) == 2  # the ring's hole: nearest is what lies in it
    assert find_entry(shown, 5, 12) == 1  # beside it by less than a finger
    assert find_entry(shown, 100, 50) is None
    assert find_entry(result(), 20, 20) is None


def test_a_result_is_json_with_every_digit_of_its_stamp() -> None:
    text = json.dumps(result(entry((1, 2, 3, 4), None)).to_json(), allow_nan=False)
    read = json.loads(text)
    assert int(read["stamp_ns"]) == 2**62 + 1
    assert read["entries"][0]["score"] is None
    assert read["entries"][0]["color"] == "#ff0010"
    doubtful = replace(entry(None, None), doubt="m was not trained on 'zyzzyva'")
    assert doubtful.to_json()["doubt"] == doubtful.doubt
