# SPDX-License-Identifier: Apache-2.0
"""Measure a model on this machine: each stage, whole inferences, and a camera at 30 Hz."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mllmseg_ros.benchmark.machine import peak_memory_mib
from mllmseg_ros.benchmark.power import PowerMeter
from mllmseg_ros.benchmark.rates import count_flops, large_product, synchronize
from mllmseg_ros.export.exported_model import ExportedModel
from mllmseg_ros.model.passes import Passes
from mllmseg_ros.segmenter import Segmenter

__all__ = ["Measurement", "Times", "measure", "time_stages"]

EXPRESSIONS = ("the red mug", "the small bowl", "the ball left of the can", "all the books")
STAGES = ("resize and upload", "encode", "read", "decode", "masks to host")
CAMERA_HZ = 30.0
_PRODUCT = "matrix product"
_WARM_UP = 2  # rounds; the first ones choose kernels and take memory
_MIN_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Times:
    """Durations of one thing, in ms."""

    p50_ms: float
    p95_ms: float
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measurements of one model."""

    stages: dict[str, Times]  # of one expression, in order
    inferences: dict[str, Times]  # from RGB image to results
    camera_fps: float  # results per second of one expression, with images at CAMERA_HZ
    gemm_flops: float  # FLOP/s of a large matrix product, timed in turns with the stages
    gemm_share: dict[str, float]  # of that rate, which a stage reaches at its median
    peak_memory_mib: dict[str, float]
    power_w: float | None
    power_source: str


def measure(
    segmenter: Segmenter,
    size_hw: tuple[int, int],
    seconds: float,
    report: Callable[[str], None] = lambda line: None,
) -> Measurement:
    """Measure a model.

    Args:
        segmenter: the model.
        size_hw: of the images, px.
        seconds: s, how long each of two measurements takes at least.
        report: called with a line before each of them.

    Raises:
        RuntimeError: if the model's output is not finite.
    """
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    device = segmenter.device
    report("stages and inferences")
    times, product_flops = _time_in_turns(segmenter, image, seconds)
    report(f"images at {CAMERA_HZ:.0f} Hz")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # without the large matrices
    gpu = (device.index or 0) if device.type == "cuda" else None
    with PowerMeter(gpu) as power:
        camera_fps = _run_camera(lambda: segmenter(image, EXPRESSIONS[:1]), seconds)
    flops = count_flops(segmenter.model.config, segmenter.prompts.build(EXPRESSIONS[:1]))
    rate = product_flops / (1e-3 * times.pop(_PRODUCT).p50_ms)
    return Measurement(
        stages={name: times[name] for name in STAGES},
        inferences={name: each for name, each in times.items() if name not in STAGES},
        camera_fps=camera_fps,
        gemm_flops=rate,
        gemm_share={name: flops[name] / (1e-3 * times[name].p50_ms * rate) for name in flops},
        peak_memory_mib=peak_memory_mib(device),
        power_w=power.mean_w,
        power_source=power.source,
    )


def _time_in_turns(
    segmenter: Segmenter, image: NDArray[np.uint8], seconds: float
) -> tuple[dict[str, Times], float]:
    """Time stages, inferences and a large matrix product in turns, under the same load.

    Returns:
        Times by their names, and the product's FLOP.
    """
    product, flops = large_product(segmenter.device, segmenter.dtype)
    noted = _Noted(product, segmenter.device)

    def run() -> dict[str, float]:
        noted()
        return {
            **time_stages(segmenter, image),
            **_time_inferences(segmenter, image),
            _PRODUCT: noted.end_s - noted.begin_s,
        }

    return _repeat(run, seconds), flops


class _Noted:
    """Calls a function, and notes when it began and ended."""

    def __init__(self, run: Callable[..., Any], device: torch.device) -> None:
        self._run, self._device = run, device
        self.begin_s = self.end_s = 0.0

    def __call__(self, *arguments: Any) -> Any:
        synchronize(self._device)
        self.begin_s = time.perf_counter()
        result = self._run(*arguments)
        synchronize(self._device)
        self.end_s = time.perf_counter()
        return result


class _Changed:
    """Temporarily change attributes of an object."""

    def __init__(self, original: Any, **changes: Any) -> None:
        self._original = original
        vars(self).update(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def time_stages(segmenter: Segmenter, image: NDArray[np.uint8]) -> dict[str, float]:
    """Run an inference of one expression stage by stage, without CUDA graphs.

    Returns:
        Seconds of each of STAGES, in order.
    """
    model, device, staged = segmenter.model, segmenter.device, copy.copy(segmenter)
    passes: Any
    if isinstance(model, ExportedModel):
        sessions = model.sessions
        encode, read = (_Noted(sessions[name].run, device) for name in ("encode", "read"))
        passes = ExportedModel(
            model.config,
            model.backend,
            {**sessions, "encode": _Changed(None, run=encode), "read": _Changed(None, run=read)},
            device,
        )
    else:
        encode, read = (_Noted(run, device) for run in (model.encode_image, model.read_prompts))
        prompts = segmenter.prompts
        passes = Passes(
            _Changed(model, encode_image=encode, read_prompts=read),  # type: ignore[arg-type]
            (prompts.seg_id, prompts.rej_id),
            prompts.build(EXPRESSIONS[:1]),
        )
    to_host = _Noted(segmenter._to_host, device)
    vars(staged).update(_passes=passes, _to_host=to_host)
    begin_s = time.perf_counter()
    context = staged.encode(image)
    encoded_s = time.perf_counter()
    staged.segment(context, EXPRESSIONS[:1])
    end_s = time.perf_counter()
    seconds = (
        encode.begin_s - begin_s,
        encode.end_s - encode.begin_s,
        read.end_s - encoded_s,
        to_host.begin_s - read.end_s,
        end_s - to_host.begin_s,
    )
    return dict(zip(STAGES, seconds, strict=True))


def _time_inferences(segmenter: Segmenter, image: NDArray[np.uint8]) -> dict[str, float]:
    """Seconds of whole calls, which return when the results are on the host."""
    context = segmenter.encode(image)
    synchronize(segmenter.device)
    calls = {
        "1 expression": lambda: segmenter(image, EXPRESSIONS[:1]),
        "4 expressions": lambda: segmenter(image, EXPRESSIONS),
        "new expression": lambda: segmenter.segment(context, EXPRESSIONS[:1]),
    }
    seconds = {}
    for name, call in calls.items():
        began_s = time.perf_counter()
        call()
        seconds[name] = time.perf_counter() - began_s
    return seconds


def _repeat(run: Callable[[], dict[str, float]], seconds: float) -> dict[str, Times]:
    """Repeat a round for some seconds; returns the times of each of its parts."""
    for _ in range(_WARM_UP):
        run()
    rounds: list[dict[str, float]] = []
    end_s = time.monotonic() + seconds
    while len(rounds) < _MIN_ROUNDS or time.monotonic() < end_s:
        rounds.append(run())
    return {name: _times([each[name] for each in rounds]) for name in rounds[0]}


def _times(seconds: Sequence[float]) -> Times:
    p50, p95 = np.percentile(1e3 * np.asarray(seconds), (50, 95))
    return Times(p50_ms=float(p50), p95_ms=float(p95), rounds=len(seconds))


def _run_camera(run: Callable[[], Any], seconds: float) -> float:
    """Run on the newest image of a camera, as the node does, for some seconds; returns the rate.

    Images come at CAMERA_HZ. One that comes during an inference waits for its end, a later one
    takes its place.
    """
    began_s = time.monotonic()
    n_results, last_image = 0, -1
    while True:
        newest = int((time.monotonic() - began_s) * CAMERA_HZ)
        if newest == last_image:
            time.sleep(max(0.0, began_s + (newest + 1) / CAMERA_HZ - time.monotonic()))
            newest += 1
        last_image = newest
        run()
        n_results += 1
        elapsed_s = time.monotonic() - began_s
        if elapsed_s >= seconds and n_results >= _MIN_ROUNDS:
            return n_results / elapsed_s
