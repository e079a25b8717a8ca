#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Listen to the results of the segmenter: the smallest node that uses it, to copy from.

In: ``segmentations``. It prints what was found and where, and why nothing was.

    python examples/listen.py --ros-args -r segmentations:=/front/segmentations
"""

import contextlib

import rclpy
from mllmseg_ros.msg import Segmentation, SegmentationArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node


class Listener(Node):
    """Prints a line per result, and one per instance that was found."""

    def __init__(self) -> None:
        super().__init__("listen")
        self.create_subscription(SegmentationArray, "segmentations", self.on_result, 10)

    def on_result(self, result: SegmentationArray) -> None:
        """Take the result of a command on one image, or the end of a command."""
        print(f"{result.command!r}: {result.text}", flush=True)
        for entry in result.segmentations:
            if entry.status != Segmentation.STATUS_FOUND:
                continue  # not there, or too uncertain to act on
            where = "without a position"
            if entry.has_position:  # metres, in entry.frame_id
                where = f"at x {entry.position.x:.2f}, y {entry.position.y:.2f}, "
                where += f"z {entry.position.z:.2f} m in {entry.frame_id}"
            print(f"  {entry.expression} {entry.track_id}: {where}", flush=True)


if __name__ == "__main__":
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(Listener())
