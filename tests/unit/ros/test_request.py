# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections import Counter

import pytest

from mllmseg_ros.ros.node.request import (
    MAX_ERRANDS,
    Ending,
    Errand,
    Notice,
    Reception,
    Request,
    RequestDesk,
)

SECOND = 1_000_000_000


class Desk(RequestDesk):
    """A desk that people speak to."""

    def __init__(self) -> None:
        super().__init__()
        self.reception = Reception()

    def say(self, text: str, now_ns: int) -> tuple[Request, list[Notice]]:
        request = self.reception.receive(text, now_ns)
        return request, self.submit(request)


def endings(notices: list) -> list[tuple[str, Ending]]:
    return [(notice.request.text, notice.ending) for notice in notices]


def test_superseded_only_before_the_first_answer() -> None:
    desk = Desk()
    first = desk.say("the mug", 0)[0]
    assert endings(desk.say("the bowl", 1)[1]) == [("the mug", Ending.SUPERSEDED)]
    assert not desk.claim(first, 2)
    bowl = desk.current
    assert bowl is not None
    assert desk.claim(bowl, 3)
    assert desk.claim(bowl, 4)  # the next frame
    assert desk.say("the can", 5)[1] == []


def test_stop_ends_what_waits_and_answers_itself() -> None:
    desk = Desk()
    desk.say("the mug", 0)
    assert endings(desk.say("stop", 1)[1]) == [
        ("the mug", Ending.STOPPED),
        ("stop", Ending.STOPPED),
    ]
    assert desk.current is None
    assert endings(desk.say("", 2)[1]) == [("", Ending.STOPPED)]


def test_refused_command_leaves_the_one_in_force() -> None:
    desk = Desk()
    mug = desk.say("the mug", 0)[0]
    refused, notices = desk.say("pick:", 1)
    assert endings(notices) == [("pick:", Ending.REFUSED)]
    assert refused.command is None
    assert desk.current is mug


def test_stale_once_an_outage() -> None:
    desk = Desk()
    assert desk.check_stale(10 * SECOND, SECOND, 0, "no image") == []
    mug = desk.say("the mug", 10 * SECOND)[0]
    assert desk.check_stale(11 * SECOND, SECOND, 0, "no image") == []
    assert endings(desk.check_stale(11 * SECOND + 1, SECOND, 0, "no image")) == [
        ("the mug", Ending.STALE_INPUT)
    ]
    assert desk.check_stale(20 * SECOND, SECOND, 0, "no image") == []
    assert desk.claim(mug, 20 * SECOND)
    assert len(desk.check_stale(22 * SECOND, SECOND, 0, "no image")) == 1
    # STALE_INPUT was a first answer: nothing is superseded any more.
    assert desk.say("the bowl", 23 * SECOND)[1] == []


def test_the_first_answer_is_due_at_once_the_next_only_after_the_period() -> None:
    desk = Desk()
    mug = desk.say("the mug", 0)[0]
    assert len(desk.check_stale(2 * SECOND, SECOND, 60 * SECOND, "no image")) == 1
    assert desk.claim(mug, 2 * SECOND)
    assert desk.check_stale(62 * SECOND, SECOND, 60 * SECOND, "no image") == []
    assert len(desk.check_stale(64 * SECOND, SECOND, 60 * SECOND, "no image")) == 1


def test_sentences_follow_on_what_was_asked_and_not_on_errands() -> None:
    desk = Desk()
    desk.say("please pick up the red mug", 0)
    errand(desk, "where is the bowl", 1)
    request, _ = desk.say("no, the blue one", 2)
    assert request.command is not None
    assert (request.text, request.command.text) == ("no, the blue one", "pick: the blue mug")
    assert request.note == "understood as 'pick: the blue mug'"
    desk.say("never mind", 3)
    assert desk.current is None
    desk.say("again", 4)
    assert desk.current is not None
    assert desk.current.command == request.command


def test_the_language_may_change_while_people_speak() -> None:
    language = "en"
    reception = Reception(language=lambda: language)
    assert "not understood" in reception.receive("nimm die rote Tasse", 0).note
    language = "de"
    command = reception.receive("nimm die rote Tasse", 1).command
    assert command is not None
    assert (command.intent, command.expressions) == ("pick", ["the red mug"])


def test_request_ids_are_unique_over_restarts() -> None:
    ids = [desk.say(text, 0)[0].request_id for desk in (Desk(), Desk())
           for text in ("a", "a", "pick:", "stop")]  # fmt: skip
    assert len(set(ids)) == len(ids)


def test_every_command_ends_exactly_once_whatever_the_threads_do() -> None:
    desk, firsts, lock = Desk(), Counter(), threading.Lock()
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
        request, notices = desk.say(f"thing {index}", 0)
        ids.append(request.request_id)
        with lock:
            firsts.update(notice.request.request_id for notice in notices)
    for notice in desk.say("stop", 0)[1]:
        if notice.request.text != "stop":
            firsts[notice.request.request_id] += 1
    done.set()
    worker.join()
    assert dict(firsts) == dict.fromkeys(ids, 1)


def errand(desk: Desk, text: str, now_ns: int, image: object | None = None) -> Errand:
    request = desk.reception.receive(text, now_ns, remember=False)
    errand = Errand(request, lambda answer: False, image)
    desk.add(errand)
    return errand


def test_errands_and_the_command_leave_each_other_alone() -> None:
    desk = Desk()
    mug, _ = desk.say("the mug", 0)
    bowl = errand(desk, "the bowl", 1)
    desk.say("the can", 2)
    desk.stop("")
    assert desk.errands == (bowl,)
    assert desk.remove(bowl)
    assert not desk.remove(bowl)  # who comes second does not answer again
    assert desk.current is None
    assert not desk.claim(mug, 3)


def test_errands_are_limited_in_number() -> None:
    desk = Desk()
    for index in range(MAX_ERRANDS):
        errand(desk, f"thing {index}", 0)
    with pytest.raises(ValueError, match="16 requests are being answered already"):
        errand(desk, "one more", 0)


def test_an_errand_that_sees_no_image_is_overdue_once_an_outage() -> None:
    desk = Desk()
    waiting = errand(desk, "the mug", 10 * SECOND)
    errand(desk, "with an image of its own", 10 * SECOND, image=b"")
    assert desk.overdue_errands(11 * SECOND, SECOND) == []
    assert desk.overdue_errands(11 * SECOND + 1, SECOND) == [waiting]
    assert desk.overdue_errands(11 * SECOND + 2, SECOND) == []
    desk.restart_clock(5 * SECOND)  # images from the new beginning count
    assert waiting.after_ns == 5 * SECOND
