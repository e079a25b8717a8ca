# SPDX-License-Identifier: Apache-2.0
"""Every command gets exactly one first result or an end, whatever the threads do."""

from __future__ import annotations

import threading
from collections import Counter

from mllmseg_ros.ros.node.current_command import CurrentCommand
from mllmseg_ros.ros.node.request import EndReason, Request, RequestEvent, RequestFactory

SECOND = 1_000_000_000


class Command(CurrentCommand):
    """A command that people give."""

    def __init__(self) -> None:
        super().__init__()
        self.factory = RequestFactory()

    def say(self, text: str, now_ns: int) -> tuple[Request, list[RequestEvent]]:
        request = self.factory.receive(text, now_ns)
        return request, self.submit(request)


def reasons(events: list[RequestEvent]) -> list[tuple[str, EndReason]]:
    return [(event.request.text, event.reason) for event in events]


def test_superseded_only_before_the_first_result() -> None:
    command = Command()
    first = command.say("the mug", 0)[0]
    assert reasons(command.say("the bowl", 1)[1]) == [("the mug", EndReason.SUPERSEDED)]
    assert not command.claim(first, 2)
    bowl = command.request
    assert bowl is not None
    assert command.claim(bowl, 3)
    assert command.claim(bowl, 4)  # the next image
    assert command.say("the can", 5)[1] == []


def test_stop_ends_what_waits_and_answers_itself() -> None:
    command = Command()
    command.say("the mug", 0)
    assert reasons(command.say("stop", 1)[1]) == [
        ("the mug", EndReason.STOPPED),
        ("stop", EndReason.STOPPED),
    ]
    assert command.request is None
    assert reasons(command.say("", 2)[1]) == [("", EndReason.STOPPED)]


def test_refused_command_leaves_the_one_in_force() -> None:
    command = Command()
    mug = command.say("the mug", 0)[0]
    refused, events = command.say("pick:", 1)
    assert reasons(events) == [("pick:", EndReason.REFUSED)]
    assert refused.command is None
    assert command.request is mug


def test_stale_once_an_outage() -> None:
    command = Command()
    assert command.check_stale(10 * SECOND, SECOND, 0, "no image") == []
    mug = command.say("the mug", 10 * SECOND)[0]
    assert command.check_stale(11 * SECOND, SECOND, 0, "no image") == []
    assert reasons(command.check_stale(11 * SECOND + 1, SECOND, 0, "no image")) == [
        ("the mug", EndReason.STALE_INPUT)
    ]
    assert command.check_stale(20 * SECOND, SECOND, 0, "no image") == []
    assert command.claim(mug, 20 * SECOND)
    assert len(command.check_stale(22 * SECOND, SECOND, 0, "no image")) == 1
    # STALE_INPUT was a first result: nothing is superseded any more.
    assert command.say("the bowl", 23 * SECOND)[1] == []


def test_the_first_result_is_due_at_once_the_next_only_after_the_period() -> None:
    command = Command()
    mug = command.say("the mug", 0)[0]
    assert len(command.check_stale(2 * SECOND, SECOND, 60 * SECOND, "no image")) == 1
    assert command.claim(mug, 2 * SECOND)
    assert command.check_stale(62 * SECOND, SECOND, 60 * SECOND, "no image") == []
    assert len(command.check_stale(64 * SECOND, SECOND, 60 * SECOND, "no image")) == 1


def test_a_stopped_command_has_no_further_result() -> None:
    command = Command()
    mug = command.say("the mug", 0)[0]
    command.stop("")
    assert command.request is None
    assert not command.claim(mug, 3)


def test_every_command_ends_exactly_once_whatever_the_threads_do() -> None:
    command, firsts, lock = Command(), Counter(), threading.Lock()
    done = threading.Event()

    def publish() -> None:
        while not done.is_set():
            request = command.request
            if request is not None:
                first = command.awaits_first_result(request)
                if command.claim(request, 0) and first:
                    with lock:
                        firsts[request.request_id] += 1

    worker = threading.Thread(target=publish)
    worker.start()
    ids = []
    for index in range(300):
        request, events = command.say(f"thing {index}", 0)
        ids.append(request.request_id)
        with lock:
            firsts.update(event.request.request_id for event in events)
    for event in command.say("stop", 0)[1]:
        if event.request.text != "stop":
            firsts[event.request.request_id] += 1
    done.set()
    worker.join()
    assert dict(firsts) == dict.fromkeys(ids, 1)
