# SPDX-License-Identifier: Apache-2.0
"""A worker's loop begins again after whatever it raises, and panics become errors."""

from __future__ import annotations

import threading

import pytest

from mllmseg_ros.ros.support.panics import panics_are_errors
from mllmseg_ros.ros.support.worker_thread import WorkerThread


class Panic(BaseException):
    """As pyo3's PanicException."""


def test_the_loop_begins_again_until_it_returns() -> None:
    raised: list[BaseException] = [ValueError("a"), Panic("b"), SystemExit(1), KeyboardInterrupt()]
    left, reports = list(raised), []

    def loop() -> None:
        if left:
            raise left.pop(0)

    def report(what: str, error: BaseException) -> None:
        reports.append((what, error))
        if isinstance(error, Panic):
            raise RuntimeError("the log is broken too")

    thread = WorkerThread("worker", loop, report)
    thread.join()  # was not started
    thread.start()
    thread.join()
    assert reports == [("thread worker", error) for error in raised]


def test_the_thread_has_its_name() -> None:
    names: list[str] = []
    thread = WorkerThread("worker", lambda: names.append(threading.current_thread().name), print)
    thread.start()
    thread.join()
    assert names == ["worker"]


def test_a_panic_becomes_an_error_and_an_intention_passes() -> None:
    with pytest.raises(ValueError, match="Panic: on these words"), panics_are_errors():
        raise Panic("on these\nwords")
    for kind in (OSError, KeyboardInterrupt, SystemExit, GeneratorExit):
        with pytest.raises(kind), panics_are_errors():
            raise kind
