# SPDX-License-Identifier: Apache-2.0
"""The staged engine against the naive one: everything recomputed per expression, all logits.

    python benchmarks/engine.py                      # embedded model
    python benchmarks/engine.py --dimensions 1b --dtype bfloat16

Real 1B dimensions get random weights, made here and never stored. Times are medians over
interleaved rounds (events on CUDA); on a shared machine read the ratios.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mllmseg_ros.benchmark.random_model import random_segmenter
from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.pixels import resize_to_square, to_image_size, to_pixel_values
from mllmseg_ros.model.precision import choose_device_and_dtype
from mllmseg_ros.segmenter import Segmenter

EXPRESSIONS = ["the red mug", "the small bowl", "the ball left of the can", "all the books"]


class Clock:
    """Seconds of a call: events on CUDA, processor time of one thread on a CPU, else wall time.

    Processor time leaves out what other programs on a shared machine take.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def __call__(self, run: Callable[[], Any]) -> float:
        """Time one call."""
        if not self._cuda:
            started = self._now()
            run()
            return self._now() - started
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3


@torch.inference_mode()
def naive(segmenter: Segmenter, image: np.ndarray, expressions: list[str]) -> None:
    """Ask each expression by a whole pass of its own, as the reference would."""
    model = segmenter.model
    for expression in expressions:
        prompt = segmenter.prompts.build([expression])
        square = to_pixel_values(resize_to_square(image, model.config.image_size_px))
        done = model(
            square[None].to(segmenter.device, segmenter.dtype),
            torch.tensor(prompt.input_ids, device=segmenter.device),
            prompt.image_start,
            prompt.answer_positions,
        )
        to_image_size(done.mask_logits.sigmoid(), image.shape[:2]).cpu()


@torch.inference_mode()
def stages(segmenter: Segmenter, image: np.ndarray, clock: Clock) -> dict[str, float]:
    """Seconds of each stage for one expression."""
    model, prompts = segmenter.model, segmenter.prompts
    prompt = prompts.build(EXPRESSIONS[:1])
    square = to_pixel_values(resize_to_square(image, model.config.image_size_px))[None]
    square = square.to(segmenter.device, segmenter.dtype)
    prefix = torch.tensor([prompt.prefix_ids], device=segmenter.device)
    context = segmenter.encode(image)
    packed = pack([[prompt]], prefix_is_cached=True).to(segmenter.device)
    cache = context.features.prefix_cache
    states = model.read_prompts(cache, packed)
    drawn = model.decode_masks(context.features, states).float().sigmoid()
    encode = clock(lambda: model.encode_image(square, prefix, prompt.image_start))
    see = clock(lambda: model.encode_vision(square))
    return {
        "resize": clock(lambda: resize_to_square(image, model.config.image_size_px)),
        "vision tower + projector": see,
        "LLM prefix + fusion": max(0.0, encode - see),
        "LLM suffix": clock(lambda: model.read_prompts(cache, packed)),
        "mask decoder": clock(lambda: model.decode_masks(context.features, states)),
        "mask to image size": clock(lambda: to_image_size(drawn, context.size_hw).cpu()),
    }


def measure(segmenter: Segmenter, rounds: int) -> dict[str, Any]:
    """Time both engines in turns."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    clock = Clock(segmenter.device)
    context = segmenter.encode(image)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "1 expression": (
            lambda: segmenter(image, EXPRESSIONS[:1]),
            lambda: naive(segmenter, image, EXPRESSIONS[:1]),
        ),
        "4 expressions": (
            lambda: segmenter(image, EXPRESSIONS),
            lambda: naive(segmenter, image, EXPRESSIONS),
        ),
        "new expression, same frame": (
            lambda: segmenter.segment(context, EXPRESSIONS[:1]),
            lambda: naive(segmenter, image, EXPRESSIONS[:1]),
        ),
    }
    rows = {}
    for name, (staged, plain) in pairs.items():
        staged()  # warm up
        times = [(clock(staged), clock(plain)) for _ in range(rounds)]
        rows[name] = {
            "staged_s": statistics.median(a for a, _ in times),
            "naive_s": statistics.median(b for _, b in times),
            "ratio": statistics.median(b / a for a, b in times),
        }
    parts = [stages(segmenter, image, clock) for _ in range(rounds)]
    share = {name: statistics.median(part[name] for part in parts) for name in parts[0]}
    peak = (
        torch.cuda.max_memory_allocated(segmenter.device)
        if segmenter.device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "model": segmenter.name,
        "device": str(segmenter.device),
        "dtype": str(segmenter.dtype),
        "torch_threads": torch.get_num_threads(),
        "rounds": rounds,
        "cases": rows,
        "stages_s": share,
        "peak_memory_mib": peak / 2**20,
    }


def print_report(report: dict[str, Any]) -> None:
    """Print a table."""
    unit, factor = ("ms", 1e3)
    print(f"{report['model']}  {report['device']}  {report['dtype']}")
    print(f"{'':28}{'staged ' + unit:>12}{'naive ' + unit:>12}{'ratio':>8}")
    for name, row in report["cases"].items():
        staged, plain = row["staged_s"] * factor, row["naive_s"] * factor
        print(f"{name:28}{staged:12.1f}{plain:12.1f}{row['ratio']:8.2f}")
    total = sum(report["stages_s"].values())
    for name, seconds in report["stages_s"].items():
        print(f"{name:28}{seconds * factor:12.1f}{100 * seconds / total:11.0f} %")
    print(f"peak memory {report['peak_memory_mib']:.0f} MiB")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", choices=("embedded", "1b"), default="embedded")
    parser.add_argument("--device", default=None)
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    device, dtype = choose_device_and_dtype(asked.device, asked.dtype)
    segmenter = (
        random_segmenter("1B", device, dtype)
        if asked.dimensions == "1b"
        else Segmenter.from_pretrained(device=device, dtype=dtype, whole_head=True)
    )
    report = measure(segmenter, asked.rounds)
    print_report(report)
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
