# SPDX-License-Identifier: Apache-2.0
"""Measure the node's own time per image, without the model.

    python benchmarks/node.py [--size 640x480] [--repeats 30] [--json]

Measured in one process, from the image message to the messages of the result: conversion, and
results with four targets with and without subscribers. The baseline assigns NumPy arrays to
Image.data and builds every output for every image. Publishing and DDS are not included. Times are
CPU times of one thread, so that other processes do not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.geometry.instances import Depth, InstanceSet, locate_instances
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.ros.messages.image_msgs import image_from_array, rgb_from_image
from mllmseg_ros.ros.messages.segmentation_msgs import centroid_message
from mllmseg_ros.ros.node.request import RequestFactory
from mllmseg_ros.ros.node.result import Result
from mllmseg_ros.ros.node.result_messages import (
    array_message,
    chosen_position,
    label_image,
    union_image,
)
from mllmseg_ros.segmentation import Status, build_segmentation

SIZES = ("640x480", "1920x1080")
N_TARGETS = 4


def make_result(width: int, height: int) -> Result:
    """Make a result with four ellipses over noise, each about 3 % of the image."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:height, :width]
    segmentations = []
    for index in range(N_TARGETS):
        x, y = width * (index + 1) / (N_TARGETS + 1), height * 0.4 + height * 0.05 * index
        mask = ((u - x) / (0.09 * width)) ** 2 + ((v - y) / (0.11 * height)) ** 2 < 1
        segmentations.append(
            build_segmentation(
                f"thing {index}", Status.FOUND, 0.9, 0.9, mask.astype(np.float32), mask
            )
        )
    text = ";".join(each.expression for each in segmentations)
    return Result(
        request=RequestFactory().receive(text, 0),
        header=Header(frame_id="camera"),
        rgb=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        instance_set=InstanceSet(
            instances=locate_instances(segmentations, make_depth(width, height))
        ),
        latency_ns=0,
    )


def make_depth(width: int, height: int) -> Depth:
    """Make the depth of a tilted plane."""
    depth_m = np.broadcast_to(np.linspace(0.8, 1.2, height)[:, None], (height, width))
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    intrinsics = Intrinsics(K=K, D=np.zeros(5))
    return Depth(metres=depth_m.astype(np.float32), intrinsics=intrinsics)


def naive_image(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """Build an image message in the straightforward way."""
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels.nbytes // pixels.shape[0]
    message.data = pixels.ravel()
    return message


def build_all_outputs(result: Result, build: Callable[[np.ndarray, str, Header], Image]) -> None:
    """Build all outputs of a result."""
    array_message(result, "/image")
    position = chosen_position(result)
    assert position is not None
    centroid_message(result.header, position)
    build(union_image(result), "mono8", result.header)
    build(label_image(result), "mono8", result.header)
    found = [each.segmentation for each in result.instances]
    build(draw_overlay(result.rgb, found), "rgb8", result.header)


def median_ms(step: Callable[[], object], repeats: int) -> float:
    """Return the median CPU time of a step, ms."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        step()
        times.append(time.thread_time() - start)
    return 1000 * statistics.median(times)


def measure(size: str, repeats: int) -> dict[str, float]:
    """Measure the steps in ms, and the ratio of the baseline."""
    width, height = (int(side) for side in size.split("x"))
    result = make_result(width, height)
    segmentations = [each.segmentation for each in result.instances]
    depth = make_depth(width, height)
    message = image_from_array(result.rgb[:, :, ::-1], "bgr8", Header())
    steps: dict[str, Callable[[], object]] = {
        "image to RGB (bgr8)": lambda: rgb_from_image(message),
        "instances, positions of 4 targets": lambda: locate_instances(segmentations, depth),
        "segmentations only": lambda: array_message(result, "/image"),
        "mask": lambda: image_from_array(union_image(result), "mono8", result.header),
        "labels": lambda: image_from_array(label_image(result), "mono8", result.header),
        "overlay": lambda: image_from_array(
            draw_overlay(result.rgb, segmentations), "rgb8", result.header
        ),
        "all outputs": lambda: build_all_outputs(result, image_from_array),
    }
    results = {name: median_ms(step, repeats) for name, step in steps.items()}
    naive_repeats = max(3, repeats // 10)
    results["all outputs, naive"] = median_ms(
        lambda: build_all_outputs(result, naive_image), naive_repeats
    )
    results["naive / all outputs"] = results["all outputs, naive"] / results["all outputs"]
    results["naive / segmentations only"] = (
        results["all outputs, naive"] / results["segmentations only"]
    )
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, help="one size only")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    sizes = [arguments.size] if arguments.size else list(SIZES)
    results = {size: measure(size, arguments.repeats) for size in sizes}
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'ms per frame':<34}" + "".join(f"{size:>12}" for size in sizes))
    for name in results[sizes[0]]:
        print(f"{name:<34}" + "".join(f"{results[size][name]:12.2f}" for size in sizes))


if __name__ == "__main__":
    main()
