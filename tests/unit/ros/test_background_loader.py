# SPDX-License-Identifier: Apache-2.0
"""Another model is loaded in the background: the newest request counts; failures are reported."""

from __future__ import annotations

import queue
import threading

import pytest

from mllmseg_ros.ros.support.background_loader import BackgroundLoader


class Rig:
    """Loads numbers; ``gate`` holds the loader where a test asks for it, odd ones fail."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.loading: queue.Queue[int] = queue.Queue()
        self.finished: queue.Queue[tuple] = queue.Queue()
        self.crashes: list[tuple[str, BaseException]] = []
        self.loader = BackgroundLoader(
            self.load,
            lambda *result: self.finished.put(result),
            lambda *crash: self.crashes.append(crash),
        )

    def load(self, wanted: int, superseded: threading.Event) -> str:
        self.loading.put(wanted)
        self.superseded = superseded
        self.gate.wait(10)
        if wanted % 2:
            raise ValueError(f"{wanted} is damaged")
        return f"model {wanted}"


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_model_or_the_reason_why_there_is_none(rig: Rig) -> None:
    rig.loader.begin(2)
    assert rig.finished.get(timeout=10) == (2, "model 2")
    rig.loader.begin(3)
    wanted, problem = rig.finished.get(timeout=10)
    assert isinstance(problem, ValueError)
    assert (wanted, str(problem)) == (3, "3 is damaged")
    rig.loader.begin(4)
    assert rig.finished.get(timeout=10)[1] == "model 4"
    rig.loader.stop()
    assert rig.loader.wanted is None


def test_the_newest_request_counts_and_none_is_delivered_after_a_cancel(rig: Rig) -> None:
    rig.gate.clear()
    rig.loader.begin(2)
    assert rig.loading.get(timeout=10) == 2
    assert not rig.superseded.is_set()
    rig.loader.begin(4)
    assert rig.superseded.is_set()
    rig.loader.begin(6)
    rig.gate.set()
    assert rig.finished.get(timeout=10)[0] == 6
    assert rig.loading.get(timeout=10) == 6  # 4 was never loaded

    rig.gate.clear()
    rig.loader.begin(8)
    assert rig.loading.get(timeout=10) == 8
    assert not rig.superseded.is_set()
    rig.loader.cancel()
    assert rig.superseded.is_set()
    threading.Timer(0.1, rig.gate.set).start()
    rig.loader.stop()  # waits for the load
    assert rig.gate.is_set()
    assert rig.finished.empty()
