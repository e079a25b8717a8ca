# SPDX-License-Identifier: Apache-2.0
"""Quantised models against plain ones: memory, time and masks.

    python benchmarks/quantization.py                    # embedded model, 40 test scenes
    python benchmarks/quantization.py --dimensions 1b    # random weights: memory and time alone

Memory and load time are those of a process of its own; times of inference are medians over
interleaved rounds in one process, so that their ratios hold on a shared machine. Masks are compared
with those of the plain model in float32.
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

import numpy as np
from loading import measure_in_child, write_checkpoint
from numpy.typing import NDArray

from mllmseg_ros.checkpoints.hub import EMBEDDED
from mllmseg_ros.checkpoints.quantizing import quantize_checkpoint
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.expressions import draw_expressions
from mllmseg_ros.sim.random_scenes import random_scene

# dtype, quantisation; the first one is what masks are compared with
WAYS = (
    ("float32", "none"),
    ("float32", "int8"),
    ("float16", "none"),
    ("bfloat16", "none"),
    ("bfloat16", "int8"),
    ("bfloat16", "int4"),
)
FIRST_SEED = 400_000
EXPRESSIONS_PER_SCENE = 3


def load_stored(model: Path, folder: Path, row: dict[str, Any]) -> float:
    """Seconds to load the checkpoint that ``mllmseg quantize`` writes; NaN for plain models."""
    if row["quantize"] == "none":
        return float("nan")
    stored = folder / f"{row['dtype']}_{row['quantize']}"
    quantize_checkpoint(model, stored, row["quantize"])
    return measure_in_child(stored, row["dtype"], "auto")["seconds"]


def time_rounds(segmenters: list[Segmenter], rounds: int) -> list[tuple[float, float]]:
    """Median seconds of the first expression on an image, and of another on the same image."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    times: list[list[tuple[float, float]]] = [[] for _ in segmenters]
    for number in range(rounds + 1):
        for segmenter, found in zip(segmenters, times, strict=True):
            context, _ = segmenter.encode_and_segment(image, ["the red mug"])
            first = _seconds(lambda s=segmenter: s.encode_and_segment(image, ["the red mug"]))
            second = _seconds(lambda s=segmenter, c=context: s.segment(c, ["the bowl"]))
            if number:  # the first round warms up
                found.append((first, second))
    return [
        (statistics.median(a for a, _ in each), statistics.median(b for _, b in each))
        for each in times
    ]


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def compare_masks(segmenters: list[Segmenter], n_scenes: int) -> list[dict[str, float]]:
    """Mean IoU with the masks of the first model, and the share of equal decisions."""
    ious: list[list[float]] = [[] for _ in segmenters]
    equal: list[list[bool]] = [[] for _ in segmenters]
    with TabletopCamera(640, 480) as camera:
        for seed in range(FIRST_SEED, FIRST_SEED + n_scenes):
            camera.load(random_scene(seed, "test"))
            view = camera.render()
            drawn = draw_expressions(
                view.objects, np.random.default_rng(seed), EXPRESSIONS_PER_SCENE
            )
            texts = [each.text for each in drawn]
            answers = [segmenter(view.rgb, texts) for segmenter in segmenters]
            for index, found in enumerate(answers):
                for ours, reference in zip(found, answers[0], strict=True):
                    equal[index].append(ours.status is reference.status)
                    if reference.found:
                        ious[index].append(_iou(ours.mask, reference.mask))
    return [
        {"mask_iou": float(np.mean(each)), "equal_decisions": float(np.mean(same)), "n": len(same)}
        for each, same in zip(ious, equal, strict=True)
    ]


def _iou(ours: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    return float((ours & reference).sum() / max(1, (ours | reference).sum()))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", choices=("embedded", "1b"), default="embedded")
    parser.add_argument("--scenes", type=int, default=40, help="to compare masks on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="only this one")
    parser.add_argument("--folder", type=Path, help="for the checkpoint (default: temporary)")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    ways = [way for way in WAYS if asked.dtype in (None, way[0])]
    with tempfile.TemporaryDirectory(dir=asked.folder) as temporary:
        model = EMBEDDED
        if asked.dimensions == "1b":
            model = Path(temporary) / "1b"
            write_checkpoint(model, rank=0)
        rows: list[dict[str, Any]] = [
            {"dtype": dtype, "quantize": kind, **measure_in_child(model, dtype, kind)}
            for dtype, kind in ways
        ]
        for row in rows:
            row["stored_s"] = load_stored(model, Path(temporary), row)
        segmenters = [
            Segmenter.from_pretrained(model, device="cpu", dtype=dtype, quantize=kind)
            for dtype, kind in ways
        ]
    for row, times in zip(rows, time_rounds(segmenters, asked.rounds), strict=True):
        row["first_s"], row["next_s"] = times
    if asked.dimensions == "embedded":
        for row, masks in zip(rows, compare_masks(segmenters, asked.scenes), strict=True):
            row.update(masks)
    print(
        f"{'':18}{'memory':>9}{'load':>8}{'stored':>9}{'first':>9}{'next':>9}{'IoU':>8}{'equal':>8}"
    )
    for row in rows:
        print(
            f"{row['dtype']:9} {row['quantize']:8}{row['held_bytes'] / 1e6:6.0f} MB"
            f"{row['seconds']:6.1f} s{row['stored_s']:7.1f} s"
            f"{row['first_s'] * 1e3:6.0f} ms{row['next_s'] * 1e3:6.0f} ms"
            f"{row.get('mask_iou', np.nan):8.4f}{row.get('equal_decisions', np.nan):8.3f}"
        )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
