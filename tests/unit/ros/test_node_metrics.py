# SPDX-License-Identifier: Apache-2.0
"""Rates, ages and times of the last few seconds."""

from __future__ import annotations

import time

import pytest

from mllmseg_ros.ros.node import metrics
from mllmseg_ros.ros.node.metrics import CameraMetrics, Metric, ModelMetrics, Quantiles


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    return now


def test_only_the_window_counts(clock: list[float]) -> None:
    meter = Metric()
    assert (meter.rate(), meter.quantiles(), meter.mean()) == (0.0, None, None)
    for value in range(101):  # 20 Hz for 5 s
        meter.add(float(value))
        clock[0] += 0.05
    assert meter.rate() == pytest.approx(20, rel=0.05)
    assert meter.quantiles() == Quantiles(p50=50.0, p95=95.0)
    assert meter.mean() == 50.0
    clock[0] += 5.0  # the camera has stopped
    assert meter.rate() == pytest.approx(10, rel=0.05)
    clock[0] += metrics.WINDOW_S
    assert (meter.rate(), meter.quantiles()) == (0.0, None)


def test_what_fails_has_no_time() -> None:
    meter = Metric()
    with meter.timing():
        time.sleep(0.01)
    with pytest.raises(KeyError), meter.timing():
        raise KeyError
    (value,) = meter.values()
    assert value >= 10


def test_a_command_waits_from_its_coming_or_from_the_last_answer(clock: list[float]) -> None:
    meter = CameraMetrics()
    meter.requested()
    clock[0] += 3
    assert (meter.unanswered_s, meter.since_result_s) == (3, None)
    meter.published(500_000_000, [True, False])
    clock[0] += 1
    assert (meter.unanswered_s, meter.since_result_s) == (1, 1)
    assert meter.no_target.mean() == 0.5
    assert meter.result_age.values() == [500.0]


def test_a_model_fails_until_it_answers_again() -> None:
    meter = ModelMetrics()
    with pytest.raises(RuntimeError), meter.encoding():
        raise RuntimeError
    assert meter.is_failing
    with meter.encoding():
        pass
    assert meter.is_failing
    with pytest.raises(ValueError, match="words"), meter.segmenting():
        raise ValueError("words")
    with meter.segmenting():
        pass
    assert not meter.is_failing
