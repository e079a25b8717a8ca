# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections import Counter

from mllmseg_ros.ros.request import Ending, RequestDesk

SECOND = 1_000_000_000


def endings(notices: list) -> list[tuple[str, Ending]]:
    return [(notice.request.text, notice.ending) for notice in notices]


def test_superseded_only_before_the_first_answer() -> None:
    desk = RequestDesk()
    first = desk.submit("the mug", 0).request
    assert endings(desk.submit("the bowl", 1).notices) == [("the mug", Ending.SUPERSEDED)]
    assert not desk.claim(first, 2)
    bowl = desk.current
    assert bowl is not None
    assert desk.claim(bowl, 3)
    assert desk.claim(bowl, 4)  # the next frame
    assert desk.submit("the can", 5).notices == []


def test_stop_ends_what_waits_and_answers_itself() -> None:
    desk = RequestDesk()
    desk.submit("the mug", 0)
    assert endings(desk.submit("stop", 1).notices) == [
        ("the mug", Ending.STOPPED),
        ("stop", Ending.STOPPED),
    ]
    assert desk.current is None
    assert endings(desk.submit("", 2).notices) == [("", Ending.STOPPED)]


def test_refused_command_leaves_the_one_in_force() -> None:
    desk = RequestDesk()
    mug = desk.submit("the mug", 0).request
    refused = desk.submit("pick:", 1)
    assert endings(refused.notices) == [("pick:", Ending.REFUSED)]
    assert refused.request.command is None
    assert desk.current is mug


def test_stale_once_an_outage() -> None:
    desk = RequestDesk()
    assert desk.check_stale(10 * SECOND, SECOND, 0, "no image") == []
    mug = desk.submit("the mug", 10 * SECOND).request
    assert desk.check_stale(11 * SECOND, SECOND, 0, "no image") == []
    assert endings(desk.check_stale(11 * SECOND + 1, SECOND, 0, "no image")) == [
        ("the mug", Ending.STALE_INPUT)
    ]
    assert desk.check_stale(20 * SECOND, SECOND, 0, "no image") == []
    assert desk.claim(mug, 20 * SECOND)
    assert len(desk.check_stale(22 * SECOND, SECOND, 0, "no image")) == 1
    # STALE_INPUT was a first answer: nothing is superseded any more.
    assert desk.submit("the bowl", 23 * SECOND).notices == []


def test_the_first_answer_is_due_at_once_the_next_only_after_the_period() -> None:
    desk = RequestDesk()
    mug = desk.submit("the mug", 0).request
    assert len(desk.check_stale(2 * SECOND, SECOND, 60 * SECOND, "no image")) == 1
    assert desk.claim(mug, 2 * SECOND)
    assert desk.check_stale(62 * SECOND, SECOND, 60 * SECOND, "no image") == []
    assert len(desk.check_stale(64 * SECOND, SECOND, 60 * SECOND, "no image")) == 1


def test_request_ids_are_unique_over_restarts() -> None:
    ids = [desk.submit(text, 0).request.request_id for desk in (RequestDesk(), RequestDesk())
           for text in ("a", "a", "pick:", "stop")]  # fmt: skip
    assert len(set(ids)) == len(ids)


def test_every_command_ends_exactly_once_whatever_the_threads_do() -> None:
    desk, firsts, lock = RequestDesk(), Counter(), threading.Lock()
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            request = desk.current
            if request is not None:
                first = desk.needs_first_answer(request)
                if desk.claim(request, 0) and first:
                    with lock:
                        firsts[request.request_id] += 1

    worker = threading.Thread(target=answer)
    worker.start()
    ids = []
    for index in range(300):
        submission = desk.submit(f"thing {index}", 0)
        ids.append(submission.request.request_id)
        with lock:
            firsts.update(notice.request.request_id for notice in submission.notices)
    for notice in desk.submit("stop", 0).notices:
        if notice.request.text != "stop":
            firsts[notice.request.request_id] += 1
    done.set()
    worker.join()
    assert dict(firsts) == dict.fromkeys(ids, 1)
