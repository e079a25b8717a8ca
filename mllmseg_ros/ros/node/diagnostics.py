# SPDX-License-Identifier: Apache-2.0
"""``/diagnostics``: readings in, statuses out, once a second and in every state of the node.

A status per camera and one for the model; what is too slow, too old or too full is decided by
:class:`Thresholds` alone. Published from its own thread, so that it goes on while a model is
loaded.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from mllmseg_ros.ros.node.fault_log import FaultLog
from mllmseg_ros.ros.node.metrics import CameraMetrics, ModelMetrics, Quantiles
from mllmseg_ros.ros.support.worker_thread import WorkerThread

__all__ = ["Diagnostics", "Thresholds", "camera_status", "model_status"]

PERIOD_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Limits above which a reading is WARN or ERROR."""

    silent_warn_s: float = 2.0  # no image for that long while the node is active
    silent_stale_s: float = 10.0
    result_age_warn_ms: float = 1000.0  # now - stamp of 95 % of the results
    result_age_error_ms: float = 5000.0
    unanswered_warn_s: float = 5.0  # a command is in force and images come
    unanswered_error_s: float = 30.0
    error_shown_s: float = 10.0  # WARN, or ERROR, for that long after something went wrong
    cuda_memory_warn: float = 0.95  # share of the GPU's memory in use


@dataclass(frozen=True, kw_only=True)
class CameraReading:
    """Readings of one camera."""

    is_active: bool
    metrics: CameraMetrics
    received: int  # images since the start of the process
    dropped: int  # of them replaced unread by newer ones
    has_request: bool  # a command is in force
    period_s: float  # s, shortest time between two results
    problem: str  # why the newest image was not used, "" if it was
    mismatches: Sequence[str]  # of quality of service
    wrong_types: Sequence[str] = ()  # publishers of another message type


@dataclass(frozen=True, kw_only=True)
class ModelReading:
    """Readings of the model."""

    state: str  # unconfigured, inactive or active
    name: str  # "" without a model
    device: str
    dtype: str
    path: str  # how the last pass ran: eager or graphs
    quantization: str  # of its linear layers, "" if they are not quantised
    load_warning: str  # warning from loading it, "" if there is none
    loading: str  # the model that is being loaded, "" if none is
    failure: str  # why the newest load failed, "" if it did not
    metrics: ModelMetrics
    mismatches: Sequence[str]  # of quality of service, of topics of no camera
    lost_ports: Sequence[int] = ()  # of shared memory, to which nobody listens any more


_Finding = tuple[bytes, str]  # level, message


def camera_status(
    name: str, hardware_id: str, reading: CameraReading, limits: Thresholds
) -> DiagnosticStatus:
    """Judge one camera."""
    metrics = reading.metrics
    findings: list[_Finding] = []
    silent_s, age = metrics.since_image_s, metrics.result_age.quantiles()
    if reading.is_active:
        if silent_s is None:
            findings.append((DiagnosticStatus.STALE, "no image has arrived"))
        elif silent_s > limits.silent_stale_s:
            findings.append((DiagnosticStatus.STALE, f"no image for {silent_s:.0f} s"))
        elif silent_s > limits.silent_warn_s:
            findings.append((DiagnosticStatus.WARN, f"no image for {silent_s:.1f} s"))
        elif reading.problem:
            findings.append((DiagnosticStatus.ERROR, reading.problem))
        elif reading.has_request:
            waited_s = metrics.unanswered_s - reading.period_s
            level = _level(waited_s, limits.unanswered_warn_s, limits.unanswered_error_s)
            findings.append((level, f"no answer for {waited_s:.0f} s"))
        if age is not None:
            level = _level(age.p95, limits.result_age_warn_ms, limits.result_age_error_ms)
            findings.append((level, f"answers are {age.p95:.0f} ms old (p95)"))
    findings += [(DiagnosticStatus.WARN, each) for each in reading.wrong_types]
    findings += [(DiagnosticStatus.WARN, f"QoS mismatch: {each}") for each in reading.mismatches]
    no_target = metrics.no_target.mean()
    values = {
        "image rate in (Hz)": _number(metrics.arrival_age.rate()),
        "answer rate out (Hz)": _number(metrics.result_age.rate()),
        **_quantiles("image age on arrival (ms)", metrics.arrival_age.quantiles()),
        **_quantiles("answer age, now - stamp (ms)", age),
        **_quantiles("convert (ms)", metrics.convert.quantiles()),
        **_quantiles("locate and publish (ms)", metrics.publish.quantiles()),
        "images received": str(reading.received),
        "images dropped": str(reading.dropped),
        "seconds since last image": _number(silent_s),
        "seconds since last answer": _number(metrics.since_result_s),
        "no-target share": _number(no_target),
    }
    return _status(name, hardware_id, findings, "answering" if reading.has_request else "ready"
                   if reading.is_active else "not active", values)  # fmt: skip


def model_status(name: str, reading: ModelReading, limits: Thresholds) -> DiagnosticStatus:
    """Judge the model."""
    findings: list[_Finding] = []
    if reading.failure:
        level = DiagnosticStatus.WARN if reading.name else DiagnosticStatus.ERROR
        findings.append((level, reading.failure))
    if reading.load_warning:
        findings.append((DiagnosticStatus.WARN, reading.load_warning))
    crash = reading.metrics.last_crash
    if crash is not None and crash[0] < limits.error_shown_s:
        findings.append((DiagnosticStatus.ERROR, crash[1]))
    error = reading.metrics.last_error
    if error is not None and (reading.metrics.is_failing or error[0] < limits.error_shown_s):
        level = DiagnosticStatus.ERROR if reading.metrics.is_failing else DiagnosticStatus.WARN
        if (DiagnosticStatus.ERROR, error[1]) not in findings:
            findings.append((level, error[1]))
    cuda = _cuda_memory(reading.device)
    if cuda is not None and cuda.in_use > limits.cuda_memory_warn * cuda.total:
        share = 100 * cuda.in_use / cuda.total
        findings.append((DiagnosticStatus.WARN, f"{share:.0f} % of the GPU's memory is in use"))
    findings += [(DiagnosticStatus.WARN, f"QoS mismatch: {each}") for each in reading.mismatches]
    if reading.lost_ports:
        ports = ", ".join(map(str, reading.lost_ports))
        findings.append(
            (
                DiagnosticStatus.WARN,
                f"a process was killed, and one that was started later receives nothing from this "
                f"node (Fast DDS, shared memory, port {ports}): restart this node",
            )
        )
    values = {
        "state": reading.state,
        "model": reading.name,
        "loading": reading.loading,
        "device": reading.device,
        "dtype": reading.dtype,
        "path": reading.path,
        "quantize": reading.quantization or "none",
        "inference rate (Hz)": _number(reading.metrics.encode.rate()),
        **_quantiles("encode (ms)", reading.metrics.encode.quantiles()),
        **_quantiles("segment (ms)", reading.metrics.segment.quantiles()),
        "memory, RSS (MB)": _number(_rss_bytes() / 1e6),
        "last error": "" if error is None else f"{error[0]:.0f} s ago: {error[1]}",
    }
    if cuda is not None:
        values["CUDA memory allocated (MB)"] = _number(cuda.allocated / 1e6)
        values["CUDA memory in use by all (MB)"] = _number(cuda.in_use / 1e6)
        values["CUDA memory of the device (MB)"] = _number(cuda.total / 1e6)
    nothing_wrong = f"loading {reading.loading}" if reading.loading else reading.state
    return _status(name, reading.device, findings, nothing_wrong, values)


class Diagnostics:
    """The thread that publishes."""

    def __init__(
        self, node: Node, judge: Callable[[], list[DiagnosticStatus]], log: FaultLog
    ) -> None:
        """Begin to publish.

        Args:
            node: to publish from, in whatever state.
            judge: called once a second, from this thread.
            log: takes what interrupted the thread.
        """
        self._node, self._judge = node, judge
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._stopping = threading.Event()
        self._thread = WorkerThread("diagnostics", self._run, log.report_crash)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            try:
                message = DiagnosticArray(status=self._judge())
                message.header.stamp = self._node.get_clock().now().to_msg()
                self._publisher.publish(message)
            except Exception as error:  # the next second is published again
                self._node.get_logger().error(
                    f"no diagnostics: {type(error).__name__}: {error}", once=True
                )


def _level(value: float, warn: float, error: float) -> bytes:
    if value > error:
        return DiagnosticStatus.ERROR
    return DiagnosticStatus.WARN if value > warn else DiagnosticStatus.OK


def _status(
    name: str,
    hardware_id: str,
    findings: Sequence[_Finding],
    nothing_wrong: str,
    values: dict[str, str],
) -> DiagnosticStatus:
    """Worst first."""
    wrong = [each for each in findings if each[0] != DiagnosticStatus.OK]
    wrong.sort(key=lambda each: each[0], reverse=True)
    return DiagnosticStatus(
        level=wrong[0][0] if wrong else DiagnosticStatus.OK,
        name=name,
        message="; ".join(message for _, message in wrong) or nothing_wrong,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"


def _quantiles(name: str, of: Quantiles | None) -> dict[str, str]:
    return {
        f"{name} p50": _number(of.p50 if of else None),
        f"{name} p95": _number(of.p95 if of else None),
    }


def _rss_bytes() -> float:
    """Memory of this process; NaN if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return math.nan
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


@dataclass(frozen=True, kw_only=True)
class _CudaMemory:
    allocated: float  # bytes, by this process's tensors
    in_use: float  # bytes, by all processes
    total: float  # bytes


def _cuda_memory(device: str) -> _CudaMemory | None:
    torch: Any = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return None
    free, total = torch.cuda.mem_get_info(device)
    allocated = torch.cuda.memory_allocated(device)
    return _CudaMemory(allocated=allocated, in_use=total - free, total=total)
