# SPDX-License-Identifier: Apache-2.0
"""Measure the CPU time per frame before and after the network, against a naive baseline.

    python benchmarks/frame.py [--size 640x480] [--rounds 9] [--json]

Resizing the image, building results from the network's probability maps, splitting and locating
four targets. The plain way interpolates every map to the image's size and computes from all of its
pixels and points. Times are CPU times of one thread, so that other processes do not count; medians
over interleaved rounds. No ROS, no model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mllmseg_ros.geometry.instances import Depth, locate_instances
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.model.pixels import resize_to_square, to_image_size
from mllmseg_ros.probability_map import ProbabilityMap
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

SIZES = ("640x480", "1920x1080", "3840x2160")
SIDE = 448  # of the network's map
N_TARGETS = 4
Map = NDArray[np.float32]


def draw_maps() -> list[Map]:
    """Draw four ellipses, each about 3 % of the image, with the soft rim of a network's map."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:SIDE, :SIDE] / SIDE
    maps = []
    for index in range(N_TARGETS):
        x, y = (index + 1) / (N_TARGETS + 1), 0.4 + 0.05 * index
        inside = 1 - ((u - x) / 0.09) ** 2 - ((v - y) / 0.11) ** 2
        logits = 12 * inside + 0.3 * rng.standard_normal(inside.shape)
        maps.append((1 / (1 + np.exp(-logits.clip(-30, 30)))).astype(np.float32))
    return maps


def draw_depth(masks: list[NDArray[np.bool_]], width: int, height: int) -> Depth:
    """Draw things in front of a wall, which the masks reach by a pixel or two, with noise."""
    rng = np.random.default_rng(1)
    depth_m = np.full((height, width), 1.2, np.float32)
    reach = np.ones((2 * round(width / 900) + 1,) * 2, np.uint8)
    for index, mask in enumerate(masks):
        depth_m[cv2.erode(mask.astype(np.uint8), reach) > 0] = 0.8 + 0.05 * index
    depth_m += rng.normal(0, 0.002, depth_m.shape).astype(np.float32)
    depth_m[rng.random(depth_m.shape) < 0.03] = np.nan
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    return Depth(metres=depth_m, intrinsics=Intrinsics(K=K, D=np.zeros(5)))


def build_result(values: Map, size_hw: tuple[int, int]) -> Segmentation:
    """Build the result of an expression as the segmenter does."""
    probability = ProbabilityMap(values=values, size_hw=size_hw)
    mask, box, score = probability.find_mask(0.5)
    return build_segmentation("it", Status.FOUND, 0.9, score, probability, mask, within=box)


def naive_result(values: Map, size_hw: tuple[int, int]) -> tuple[object, ...]:
    """Compute the same from all pixels of the image."""
    probability = to_image_size(torch.from_numpy(values)[None], size_hw)[0].numpy()
    mask = probability >= 0.5
    v, u = np.nonzero(mask)
    box = cv2.boundingRect(mask.view(np.uint8))
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5)
    inside = np.unravel_index(int(np.argmax(distance)), mask.shape)
    return probability, mask, len(u), probability[mask].mean(), u.mean(), v.mean(), box, inside


def naive_position(segmentation: Segmentation, depth: Depth) -> tuple[object, ...]:
    """Split a mask, and compute mean, covariance and box from all of its points."""
    K, z_m = depth.intrinsics.K, depth.metres
    count, labels = cv2.connectedComponents(segmentation.mask.view(np.uint8), connectivity=8)
    positions = []
    for label in range(1, count):
        v, u = np.nonzero((labels == label) & np.isfinite(z_m) & (z_m > 0))
        if len(u) < 10:  # a speck
            continue
        z = z_m[v, u].astype(np.float64)
        points = np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z])
        covariance = np.cov(points)
        across = np.linalg.eigh(covariance)[1][:, 1:].T @ points
        box = cv2.minAreaRect((1000 * across.T).astype(np.float32))
        positions.append((points.mean(axis=1), covariance, box))
    return tuple(positions)


def cpu_ms(step: Callable[[], object]) -> float:
    """Return the CPU time of a call in this thread, ms."""
    start = time.thread_time()
    step()
    return 1000 * (time.thread_time() - start)


def measure(size: str, rounds: int) -> dict[str, dict[str, float]]:
    """Measure the steps in ms, the plain way, and its ratio."""
    width, height = (int(side) for side in size.split("x"))
    size_hw = (height, width)
    image = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
    maps = draw_maps()
    results = [build_result(each, size_hw) for each in maps]
    depth = draw_depth([each.mask for each in results], width, height)
    steps: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {
        "resize the image": (lambda: resize_to_square(image, SIDE), None),
        "result of 1 expression": (
            lambda: build_result(maps[0], size_hw),
            lambda: naive_result(maps[0], size_hw),
        ),
        "results of 4 expressions": (
            lambda: [build_result(each, size_hw) for each in maps],
            lambda: [naive_result(each, size_hw) for each in maps],
        ),
        "positions of 4 targets": (
            lambda: locate_instances(results, depth),
            lambda: [naive_position(each, depth) for each in results],
        ),
        "probability at image size, if read": (
            lambda: results[0].probability_map.read((0, 0, width, height)),
            None,
        ),
    }
    rows = {}
    for name, (ours, naive) in steps.items():
        ours()  # what is kept for images of this size
        times = [(cpu_ms(ours), cpu_ms(naive) if naive else float("nan")) for _ in range(rounds)]
        rows[name] = {
            "ms": statistics.median(a for a, _ in times),
            "naive_ms": statistics.median(b for _, b in times),
            "ratio": statistics.median(b / a for a, b in times),
        }
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, help="one size only")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sizes = [arguments.size] if arguments.size else list(SIZES)
    report = {size: measure(size, arguments.rounds) for size in sizes}
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for size, rows in report.items():
        print(f"{size + ', CPU ms':<36}{'ours':>9}{'plain':>9}{'ratio':>8}")
        for name, row in rows.items():
            plain = "" if np.isnan(row["ratio"]) else f"{row['naive_ms']:9.2f}{row['ratio']:8.1f}"
            print(f"{name:<36}{row['ms']:9.2f}{plain}")


if __name__ == "__main__":
    main()
