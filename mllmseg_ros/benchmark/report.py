# SPDX-License-Identifier: Apache-2.0
"""A measurement as text, as a row of the table in docs/performance.md, and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from mllmseg_ros.benchmark.machine import describe_machine, machine_name
from mllmseg_ros.benchmark.measure import CAMERA_HZ, Measurement, Times
from mllmseg_ros.benchmark.parity import Parity
from mllmseg_ros.segmenter import Segmenter

__all__ = ["TABLE_HEAD", "json_fields", "report_lines", "table_row"]

_COLUMNS = (
    "machine", "model", "image", "resize and upload", "encode", "read", "decode", "masks to host",
    "1 expression", "4 expressions", "new expression", f"results/s at {CAMERA_HZ:.0f} Hz",
    "memory (GPU)", "power", "matrix product",
)  # fmt: skip
TABLE_HEAD = (f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}")


def json_fields(
    segmenter: Segmenter,
    size_hw: tuple[int, int],
    parity: Parity | None,
    measured: Measurement,
) -> dict[str, Any]:
    """All measurements, with a description of the machine."""
    return {
        "format": 1,
        "machine": describe_machine(segmenter.device),
        "model": {
            "name": segmenter.name,
            "device": str(segmenter.device),
            "dtype": str(segmenter.dtype).removeprefix("torch."),
            "quantize": segmenter.quantization or "none",
            "backend": segmenter.backend,
            "path": segmenter.path,
        },
        "image_hw": list(size_hw),
        "parity": None if parity is None else dataclasses.asdict(parity),
        **dataclasses.asdict(measured),
    }


def table_row(fields: dict[str, Any]) -> str:
    """Write the row of the table for the fields of :func:`json_fields`."""
    model, memory = fields["model"], fields["peak_memory_mib"]
    height, width = fields["image_hw"]
    gpu = f" ({memory['gpu']:.0f})" if "gpu" in memory else ""
    power = fields["power_w"]
    times = {**fields["stages"], **fields["inferences"]}
    cells = [
        machine_name(fields["machine"]),
        f"{model['name']}, {model['dtype']}, {model['path']}",
        f"{width}x{height}",
        *(_cell(each, fields["gemm_share"].get(name)) for name, each in times.items()),
        f"{fields['camera_fps']:.2g}",
        f"{memory.get('process', float('nan')):.0f}{gpu} MiB",
        "-" if power is None else f"{power:.1f} W",
        f"{fields['gemm_flops'] / 1e12:.2g} TFLOP/s",
    ]
    return f"| {' | '.join(cells)} |"


def report_lines(measured: Measurement) -> Iterator[str]:
    """Write the times of stages and inferences, a line each."""
    yield f"{'':20}{'p50 ms':>10}{'p95 ms':>10}{'of GEMM rate':>14}"
    for name, times in measured.stages.items():
        share = measured.gemm_share.get(name)
        yield _line(name, times) + (f"{100 * share:12.0f} %" if share is not None else "")
    for name, times in measured.inferences.items():
        yield _line(name, times)
    yield (
        f"{measured.camera_fps:.2f} results/s with images at {CAMERA_HZ:.0f} Hz; GEMM rate "
        f"{measured.gemm_flops / 1e12:.2f} TFLOP/s"
    )
    memory = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in measured.peak_memory_mib.items())
    power = (
        "not read"
        if measured.power_w is None
        else (f"{measured.power_w:.1f} W ({measured.power_source})")
    )
    yield f"peak memory: {memory}; power: {power}"


def _cell(times: dict[str, Any], share: float | None) -> str:
    """Write ``p50 (p95) ms``, and the share of the rate of a large matrix product."""
    text = f"{_short(times['p50_ms'])} ({_short(times['p95_ms'])}) ms"
    return text if share is None else f"{text}, {100 * share:.0f} %"


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _line(name: str, times: Times) -> str:
    return f"{name:20}{times.p50_ms:10.2f}{times.p95_ms:10.2f}"
