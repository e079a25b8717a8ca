# SPDX-License-Identifier: Apache-2.0
"""An exported model in ONNX Runtime against the same model in torch, on the CPU, in turns.

    python benchmarks/export.py                      # embedded model
    python benchmarks/export.py --model NAME --rounds 5

Both compute in float32 with the same number of threads, and their results are compared. Read the
ratios.
With one thread (OMP_NUM_THREADS=1) times are of the processor, without what other programs take.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mllmseg_ros import cli
from mllmseg_ros.masks import iou
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.samples import N_SAMPLES, load_sample, sample_expressions

EXPRESSIONS = ["the red mug", "the small bowl", "the ball left of the can", "all the books"]


def seconds(run: Callable[[], Any]) -> float:
    """Time one call."""
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began_s = now()
    run()
    return now() - began_s


def compare_times(onnx: Segmenter, eager: Segmenter, rounds: int) -> dict[str, dict[str, float]]:
    """Time both in turns."""
    image = load_sample(0).rgb
    contexts = {segmenter: segmenter.encode(image) for segmenter in (onnx, eager)}
    cases: dict[str, Callable[[Segmenter], Any]] = {
        "1 expression": lambda segmenter: segmenter(image, EXPRESSIONS[:1]),
        "4 expressions": lambda segmenter: segmenter(image, EXPRESSIONS),
        "new expression, same image": lambda segmenter: segmenter.segment(
            contexts[segmenter], EXPRESSIONS[:1]
        ),
    }
    rows = {}
    for name, run in cases.items():
        run(onnx)
        run(eager)
        times = [(seconds(lambda: run(onnx)), seconds(lambda: run(eager))) for _ in range(rounds)]  # noqa: B023 - called at once
        rows[name] = {
            "onnxruntime_ms": 1e3 * statistics.median(first for first, _ in times),
            "torch_ms": 1e3 * statistics.median(second for _, second in times),
            "ratio": statistics.median(second / first for first, second in times),
        }
    return rows


def compare_results(onnx: Segmenter, eager: Segmenter) -> dict[str, float]:
    """Compare both on the expressions of the sample frames."""
    ious, n_equal, n = [], 0, 0
    for frame in range(N_SAMPLES):
        rgb = load_sample(frame).rgb
        expressions = [each.text for each in sample_expressions(frame)]
        for first, second in zip(onnx(rgb, expressions), eager(rgb, expressions), strict=True):
            ious.append(iou(first.mask, second.mask))
            n_equal += first.status is second.status
            n += 1
    return {"expressions": n, "equal_decisions": n_equal, "min_mask_iou": min(ious)}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="checkpoint folder or name (default: embedded model)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder, "exported")
        model = [asked.model] if asked.model else []
        if cli.main(["export", *model, "-o", str(exported)]):
            raise SystemExit(1)
        onnx = Segmenter.from_pretrained(exported, device="cpu")
        eager = Segmenter.from_pretrained(asked.model, device="cpu", dtype="float32")
        rows = compare_times(onnx, eager, asked.rounds)
        results = compare_results(onnx, eager)
    print(f"{eager.name}, float32, {torch.get_num_threads()} thread(s)")
    print(f"{'':28}{'onnxruntime ms':>16}{'torch ms':>12}{'ratio':>8}")
    for name, row in rows.items():
        print(f"{name:28}{row['onnxruntime_ms']:16.1f}{row['torch_ms']:12.1f}{row['ratio']:8.2f}")
    print(
        f"{results['expressions']} expressions of the sample frames: {results['equal_decisions']} "
        f"decisions equal, worst mask IoU {results['min_mask_iou']:.5f}"
    )
    if asked.json:
        report = {"model": eager.name, "cases": rows, "results": results}
        asked.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
