# SPDX-License-Identifier: Apache-2.0
"""Private requests: limited in number, done once, stale once an outage."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from mllmseg_ros.ros.node.parameters import MAX_REQUEST_S, SegmenterParameters
from mllmseg_ros.ros.node.private_requests import (
    MAX_PRIVATE_REQUESTS,
    PrivateRequest,
    PrivateRequests,
)
from mllmseg_ros.ros.node.request import RequestFactory
from mllmseg_ros.ros.support.async_queue import AsyncQueue

SECOND = 1_000_000_000


class Guard:
    def trigger(self) -> None:
        pass


def private_request(
    queue: PrivateRequests, text: str, now_ns: int, **options: Any
) -> PrivateRequest:
    request = RequestFactory().receive(text, now_ns, remember=False)
    made = PrivateRequest(request, AsyncQueue(Guard()), **options)
    queue.add(made)
    return made


def test_a_request_is_done_once() -> None:
    queue = PrivateRequests()
    bowl = private_request(queue, "the bowl", 1)
    assert queue.pending == (bowl,)
    assert queue.remove(bowl)
    assert not queue.remove(bowl)  # the second thread does not answer again


def test_requests_are_limited_in_number() -> None:
    queue = PrivateRequests()
    for index in range(MAX_PRIVATE_REQUESTS):
        private_request(queue, f"thing {index}", 0)
    with pytest.raises(ValueError, match="16 requests are in progress"):
        private_request(queue, "one more", 0)


def test_goals_and_calls_leave_room_for_each_other() -> None:
    queue = PrivateRequests()
    for index in range(MAX_PRIVATE_REQUESTS):
        private_request(queue, f"thing {index}", 0, repeats=True)
    with pytest.raises(ValueError, match="16 goals are in progress"):
        private_request(queue, "one more", 0, repeats=True)
    private_request(queue, "a call", 0)


def test_a_request_ends_on_the_steady_clock_whatever_ros_time_says() -> None:
    queue = PrivateRequests()
    before_s = time.monotonic()
    brief = private_request(queue, "the mug", 10 * SECOND, life_s=5.0)
    longest = private_request(queue, "with an image of its own", 10 * SECOND, image=b"")
    assert queue.find_expired(before_s + 4.9) == []
    queue.restart_clock(5 * SECOND)
    assert queue.find_expired(time.monotonic() + 5.0) == [brief]
    assert queue.find_expired(time.monotonic() + MAX_REQUEST_S) == [brief, longest]
    parameters = SegmenterParameters(request_timeout=2.0)
    assert [parameters.request_life_s(each) for each in (0.0, 1.0, 600.0, 1e9)] == [
        2.0, 2.0, 600.0, MAX_REQUEST_S
    ]  # fmt: skip


def test_a_request_without_an_image_is_stale_once_an_outage() -> None:
    queue = PrivateRequests()
    waiting = private_request(queue, "the mug", 10 * SECOND)
    private_request(queue, "with an image of its own", 10 * SECOND, image=b"")
    assert queue.find_stale(11 * SECOND, SECOND) == []
    assert queue.find_stale(11 * SECOND + 1, SECOND) == [waiting]
    assert queue.find_stale(11 * SECOND + 2, SECOND) == []
    queue.restart_clock(5 * SECOND)  # images from the new beginning count
    assert waiting.after_ns == 5 * SECOND
    assert queue.find_stale(6 * SECOND + 1, SECOND) == [waiting]
