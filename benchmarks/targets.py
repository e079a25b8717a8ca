# SPDX-License-Identifier: Apache-2.0
"""Measure the error of target positions on depth with the errors of a stereo camera.

    python benchmarks/targets.py                  # --frames 300 --model

The truth is the mean of the exact points of the true mask. Positions are computed from noisy depth,
by this package and as the plain mean of all valid points (the baseline), with true masks and with
the model's masks. Then masks of two to four objects are split.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.geometry.instances import split_mask
from mllmseg_ros.geometry.localization import Intrinsics, locate
from mllmseg_ros.masks import inside_uv
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.depth_noise import add_stereo_noise
from mllmseg_ros.sim.expressions import draw_expressions
from mllmseg_ros.sim.random_scenes import random_scene
from mllmseg_ros.sim.view import View

NEAREST_M, FARTHEST_M = 0.5, 1.2
FIRST_SEED = 300_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    segmenter = Segmenter.from_pretrained(arguments.model)
    errors: dict[str, list[float]] = {
        "true masks, plain mean": [],
        "true masks": [],
        "model's masks, plain mean": [],
        "model's masks": [],
    }
    split_right: list[bool] = []
    missed = 0
    with TabletopCamera(640, 480) as camera:
        for seed in tqdm(range(FIRST_SEED, FIRST_SEED + arguments.frames), unit="frame"):
            rng = np.random.default_rng(seed)
            camera.load(random_scene(seed, "test"))
            view = camera.render()
            depth = add_stereo_noise(view.depth_m, float(view.K[0, 0]), rng)
            for thing in view.objects:
                mask = view.instances == thing.instance_id
                truth = mean_point(view.depth_m, mask, view)
                if thing.nameable and NEAREST_M <= truth[2] <= FARTHEST_M:
                    errors["true masks, plain mean"].append(
                        error(mean_point(depth, mask, view), truth)
                    )
                    errors["true masks"].append(error(locate_target(mask, depth, view), truth))
            context = segmenter.encode(view.rgb)
            for expression in draw_expressions(view.objects, rng, 3, no_target_share=0.0):
                if len(expression.targets) != 1:
                    continue
                truth = mean_point(view.depth_m, np.isin(view.instances, expression.targets), view)
                if not NEAREST_M <= truth[2] <= FARTHEST_M:
                    continue
                (segmentation,) = segmenter.segment(context, [expression.text])
                if segmentation.area_px:
                    plain = mean_point(depth, segmentation.mask, view)
                    errors["model's masks, plain mean"].append(error(plain, truth))
                    errors["model's masks"].append(
                        error(locate_target(segmentation.mask, depth, view), truth)
                    )
                else:
                    missed += 1
            split_right += [right for right in check_split(view, depth, rng) if right is not None]
    rows = {
        name: {
            "n": len(values),
            "median_mm": 1000 * float(np.median(values)),
            "p95_mm": 1000 * float(np.percentile(values, 95)),
            "within_20_mm": float(np.mean(np.array(values) <= 0.02)),
        }
        for name, values in errors.items()
    }
    for name, row in rows.items():
        print(
            f"{name:<26} n {row['n']:5d}  median {row['median_mm']:6.1f} mm  "
            f"95 % {row['p95_mm']:7.1f} mm  within 20 mm {100 * row['within_20_mm']:5.1f} %"
        )
    print(f"model: {missed} targets not found")
    share = 100 * np.mean(split_right)
    print(f"split right: {sum(split_right)} of {len(split_right)} ({share:.1f} %)")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def compute_points(
    depth: NDArray[np.float32], mask: NDArray[np.bool_], view: View
) -> NDArray[np.float64]:
    """Compute the points (N, 3) of the mask's valid depths."""
    v, u = np.nonzero(mask & np.isfinite(depth) & (depth > 0))
    z = depth[v, u].astype(np.float64)
    x = (u - view.K[0, 2]) / view.K[0, 0] * z
    y = (v - view.K[1, 2]) / view.K[1, 1] * z
    return np.stack([x, y, z], axis=-1)


def mean_point(
    depth: NDArray[np.float32], mask: NDArray[np.bool_], view: View
) -> NDArray[np.float64]:
    """Return the mean of these points; infinite if there are none."""
    points = compute_points(depth, mask, view)
    return points.mean(axis=0) if len(points) else np.full(3, np.inf)


def locate_target(
    mask: NDArray[np.bool_], depth: NDArray[np.float32], view: View
) -> NDArray[np.float64]:
    """Return the position as the node computes it; infinite without one."""
    inside = inside_uv(mask)
    position = inside and locate(mask, depth, Intrinsics(K=view.K, D=np.zeros(5)), inside)
    return position.mean if position else np.full(3, np.inf)


def error(measured: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return the distance, m."""
    return float(np.linalg.norm(measured - truth))


def check_split(
    view: View, depth: NDArray[np.float32], rng: np.random.Generator
) -> list[bool | None]:
    """Check whether each object in a common mask is split into one part that covers it."""
    objects = [thing for thing in view.objects if thing.nameable]
    if len(objects) < 2:
        return []
    n = int(rng.integers(2, min(4, len(objects)) + 1))
    masks = [
        view.instances == objects[int(k)].instance_id
        for k in rng.choice(len(objects), n, replace=False)
    ]
    parts = split_mask(np.any(masks, axis=0), depth)
    right: list[bool | None] = []
    for mask in masks:
        overlaps = [(part & mask).sum() / (part | mask).sum() for part in parts]
        right.append(max(overlaps) > 0.7)
    if len(parts) > n:
        right.append(False)  # one object was split
    return right


if __name__ == "__main__":
    main()
