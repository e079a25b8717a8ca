# SPDX-License-Identifier: Apache-2.0
"""CPU time of the web console by the number of open pages.

    python benchmarks/console.py [--seconds 10] [--json]     in a sourced workspace

One process publishes like a camera or the segmenter, at 15 Hz and 640x480, another one runs the
console, and pages read as fast as they can. The CPU time of the console's process is measured, as a
share of one core, with 0, 1 and 20 pages; ratios compare with one page in the same run. With
``image`` the console encodes every image (once for all pages); with ``overlay`` images come encoded
from the segmenter, with a result of four targets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import rclpy
from ament_index_python.packages import get_package_prefix
from mllmseg_ros.msg import SegmentationArray
from node import make_result
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.ros.messages.image_msgs import compressed_from_array, image_from_array
from mllmseg_ros.ros.node.result_messages import array_message
from mllmseg_ros.ros.support import large_images

SIZE = (640, 480)
RATE_HZ = 15.0
PAGES = (0, 1, 20)
SETTLE_S = 2.0  # discovery, first images


class Source(Node):
    """Publishes images, or overlays with results."""

    def __init__(self, kind: str) -> None:
        super().__init__("source")
        result = make_result(*SIZE)
        overlay = draw_overlay(result.rgb, [each.segmentation for each in result.instances])
        header = result.header
        if kind == "image":
            self._messages = [
                (
                    self.create_publisher(Image, "image", 1),
                    image_from_array(result.rgb, "rgb8", header),
                )
            ]
        else:
            self._messages = [
                (
                    self.create_publisher(SegmentationArray, "segmentations", 10),
                    array_message(result, "image"),
                ),
                (
                    self.create_publisher(CompressedImage, "overlay/compressed", 1),
                    compressed_from_array(overlay, "rgb8", header),
                ),
            ]
        self.create_timer(1 / RATE_HZ, self._publish)

    def _publish(self) -> None:
        stamp = self.get_clock().now().to_msg()
        for publisher, message in self._messages:
            message.header.stamp = stamp
            publisher.publish(message)


def cpu_s(pid: int) -> float:
    """Get the CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure_pages(url: str, n_pages: int, seconds: float, pid: int) -> tuple[float, float]:
    """Measure the share of a core, and images per second and page."""
    n_images = 0

    async def read(ws: aiohttp.ClientWebSocketResponse) -> None:
        nonlocal n_images
        async for message in ws:
            if message.type is aiohttp.WSMsgType.BINARY:
                n_images += 1
                await ws.send_str('{"kind": "shown"}')

    async with aiohttp.ClientSession() as session:
        sockets = [await session.ws_connect(f"{url}socket") for _ in range(n_pages)]
        readers = [asyncio.create_task(read(ws)) for ws in sockets]
        await asyncio.sleep(SETTLE_S)
        n_before, before_s, start_s = n_images, cpu_s(pid), time.monotonic()
        await asyncio.sleep(seconds)
        elapsed_s = time.monotonic() - start_s
        share = (cpu_s(pid) - before_s) / elapsed_s
        rate_hz = (n_images - n_before) / elapsed_s / max(1, n_pages)
        for ws in sockets:
            await ws.close()
        await asyncio.gather(*readers)
    return share, rate_hz


def measure(kind: str, seconds: float) -> dict[str, tuple[float, float]]:
    """Measure (share of a core, images per second) by number of pages."""
    folder = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros"
    source = subprocess.Popen([sys.executable, __file__, "--source", kind])
    console = subprocess.Popen(
        [str(folder / "console"), "--ros-args", "-p", "port:=0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert console.stderr is not None
        url = ""
        while "console at " not in url:
            url = console.stderr.readline()
            if not url:
                raise RuntimeError("the console did not start")
        url = url.split("console at ")[1].strip()
        results = {}
        for n_pages in PAGES:
            results[str(n_pages)] = asyncio.run(measure_pages(url, n_pages, seconds, console.pid))
            time.sleep(1.0)  # until the console has noticed that they closed
        return results
    finally:
        for process in (console, source):
            process.terminate()
            process.wait(20)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--source", choices=("image", "overlay"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.source:
        rclpy.init()
        try:
            rclpy.spin(Source(arguments.source))
        except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
            return
    os.environ.update(large_images.environment())
    results = {kind: measure(kind, arguments.seconds) for kind in ("image", "overlay")}
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"{'source':<9}{'pages':>6}{'% of a core':>13}{'images/s':>12}{'vs 1 page':>16}")
    for kind, of in results.items():
        for n_pages, (share, rate_hz) in of.items():
            ratio = f"{share / of['1'][0]:.2f}" if of["1"][0] else "-"
            print(f"{kind:<9}{n_pages:>6}{100 * share:>13.1f}{rate_hz:>12.1f}{ratio:>16}")


if __name__ == "__main__":
    main()
