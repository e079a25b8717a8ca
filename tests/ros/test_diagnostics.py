# SPDX-License-Identifier: Apache-2.0
"""Levels of diagnostics follow from readings and thresholds."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("diagnostic_msgs", reason="needs ROS 2")

from diagnostic_msgs.msg import DiagnosticStatus

from mllmseg_ros.ros.node import metrics
from mllmseg_ros.ros.node.diagnostics import (
    CameraReading,
    ModelReading,
    Thresholds,
    camera_status,
    model_status,
)
from mllmseg_ros.ros.node.metrics import CameraMetrics, ModelMetrics

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE
)  # fmt: skip
LIMITS = Thresholds()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    return now


def camera(meter: CameraMetrics, **changes: object) -> tuple[bytes, str]:
    reading = CameraReading(
        is_active=True,
        metrics=meter,
        received=10,
        dropped=3,
        has_request=False,
        period_s=0.0,
        problem="",
        mismatches=(),
    )
    status = camera_status("node: camera", "/image", replace(reading, **changes), LIMITS)
    return status.level, status.message


def test_a_camera(clock: list[float]) -> None:
    meter = CameraMetrics()
    assert camera(meter) == (STALE, "no image has arrived")
    assert camera(meter, is_active=False) == (OK, "not active")
    meter.arrived(0)
    assert camera(meter) == (OK, "ready")
    assert camera(meter, problem="the newest image is malformed") == (
        ERROR,
        "the newest image is malformed",
    )
    meter.requested()
    assert camera(meter, has_request=True) == (OK, "answering")
    for wait_s, level in ((LIMITS.unanswered_warn_s, WARN), (LIMITS.unanswered_error_s, ERROR)):
        clock[0] = 1000 + wait_s + 1
        meter.arrived(0)
        assert camera(meter, has_request=True)[0] == level
        assert camera(meter, has_request=True, period_s=wait_s)[0] != level  # as configured
    clock[0] += LIMITS.silent_warn_s + 0.1
    assert camera(meter)[0] == WARN
    clock[0] += LIMITS.silent_stale_s
    assert camera(meter)[0] == STALE
    meter.arrived(0)
    meter.published(int(LIMITS.result_age_warn_ms * 1e6 + 1e6), [])
    assert camera(meter) == (WARN, "answers are 1001 ms old (p95)")
    meter.published(int(LIMITS.result_age_error_ms * 1e6 + 1e6), [])
    level, message = camera(meter, mismatches=["/image: …"])
    assert (level, message) == (ERROR, "answers are 5001 ms old (p95); QoS mismatch: /image: …")


def test_a_model(clock: list[float]) -> None:
    meter = ModelMetrics()
    reading = ModelReading(
        state="active",
        name="m",
        device="cpu",
        dtype="float32",
        path="eager",
        quantization="",
        load_warning="",
        loading="",
        failure="",
        metrics=meter,
        mismatches=(),
    )

    def judge(**changes: object) -> tuple[bytes, str]:
        status = model_status("node: model", replace(reading, **changes), LIMITS)
        return status.level, status.message

    assert judge() == (OK, "active")
    assert judge(loading="other") == (OK, "loading other")
    assert judge(failure="cannot replace")[0] == WARN
    assert judge(load_warning="runs on the CPU: why") == (WARN, "runs on the CPU: why")
    assert judge(failure="cannot configure", name="")[0] == ERROR
    level, message = judge(lost_ports=[7415, 7417])
    assert level == WARN
    assert message.endswith("shared memory, port 7415, 7417): restart this node")
    meter.failed("no position: no depth")
    assert judge() == (WARN, "no position: no depth")
    clock[0] += LIMITS.error_shown_s + 1
    assert judge()[0] == OK
    with pytest.raises(RuntimeError), meter.segmenting():
        raise RuntimeError
    assert judge() == (ERROR, "no position: no depth")
    with meter.segmenting():
        pass
    assert judge()[0] == OK
    meter.crashed("thread inference failed: Panic")
    assert judge() == (ERROR, "thread inference failed: Panic")
    clock[0] += LIMITS.error_shown_s + 1
    assert judge()[0] == OK
