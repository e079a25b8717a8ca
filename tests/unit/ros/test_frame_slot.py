# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time

from mllmseg_ros.codecs.stamp_history import StampHistory
from mllmseg_ros.ros.node.frame_slot import FrameSlot

SECOND = 1_000_000_000


def test_the_newest_wins_and_the_unread_are_counted() -> None:
    slot: FrameSlot[str] = FrameSlot()
    assert slot.peek() is None
    for item in "abc":
        slot.put(item)
    newest = slot.peek()
    assert newest is not None
    assert (newest.number, newest.item) == (3, "c")
    assert (slot.received, slot.dropped) == (3, 2)
    slot.mark_read(newest.number)
    slot.put("d")
    assert slot.dropped == 2
    slot.mark_read(newest.number)  # late: "d" is still unread
    slot.put("e")
    assert slot.dropped == 3


def test_discard_spares_a_newer_item() -> None:
    slot: FrameSlot[str] = FrameSlot()
    slot.put("bad")
    slot.put("good")
    slot.discard(1)
    assert slot.peek() is not None
    slot.discard(2)
    assert slot.peek() is None


def test_numbers_are_not_reused_after_clear() -> None:
    slot: FrameSlot[str] = FrameSlot()
    slot.put("a")
    slot.clear()
    assert slot.peek() is None
    slot.put("b")
    newest = slot.peek()
    assert newest is not None
    assert newest.number == 2


def test_history_pairs_by_exact_stamp_and_keeps_what_is_asked_for() -> None:
    history: StampHistory[str] = StampHistory(capacity=2)
    history.put(1, "one")
    one = history.match(1)
    history.put(2, "two")
    history.put(3, "three")
    assert history.get(1) is None
    assert history.wait_for(one, 0.0) == "one"
    assert history.wait_for(history.match(4), 0.0) is None


def test_several_may_keep_something() -> None:
    history: StampHistory[str] = StampHistory(capacity=1)
    history.put(1, "one")
    one, two = history.match(1), history.match(2)
    history.put(2, "two")
    assert (history.wait_for(one, 0.0), history.wait_for(two, 0.0)) == ("one", "two")
    history.clear()
    assert history.wait_for(one, 0.0) == "one"
    assert len(history) == 0


def test_history_takes_the_nearest_within_a_tolerance() -> None:
    history: StampHistory[str] = StampHistory()
    history.put(100, "before")
    kept = history.match(110, 15)
    assert history.wait_for(kept, 0.0) == "before"
    history.put(114, "after")  # nearer
    history.put(120, "later")  # not nearer
    assert history.wait_for(kept, 0.0) == "after"
    assert history.wait_for(history.match(140, 15), 0.0) is None


def test_history_waits_for_what_is_late_but_not_for_what_will_not_come() -> None:
    history: StampHistory[str] = StampHistory()
    history.put(10 * SECOND, "before")
    kept = history.match(10 * SECOND + 1)
    late = threading.Timer(0.05, history.put, (10 * SECOND + 1, "late"))
    late.start()
    assert history.wait_for(kept, 10.0) == "late"
    late.join()
    began = time.monotonic()
    assert history.wait_for(history.match(10 * SECOND), 10.0) == "before"  # there
    assert history.wait_for(history.match(9 * SECOND), 10.0) is None  # passed by
    assert history.wait_for(history.match(99 * SECOND), 10.0) is None  # the topic has fallen silent
    assert time.monotonic() - began < 5.0
