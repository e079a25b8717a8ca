# SPDX-License-Identifier: Apache-2.0
"""What the web console costs, by how many pages are open.

    python benchmarks/console.py [--seconds 10] [--json]     in a sourced workspace

A process publishes what a camera or the segmenter does at 15 Hz, 640x480; the console is a process
of its own, the pages read as fast as they can. Measured is the CPU time of the console's process
alone, as a share of one core, with 0, 1 and 20 pages; the baseline of a ratio is one page in the
same run. ``image`` has every picture encoded by the console (once for all pages), ``overlay`` comes
encoded from the segmenter, with an answer of four targets.
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
from node import made_up_answer
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.ros.messages.image_msgs import compressed_from_array, image_from_array
from mllmseg_ros.ros.node.result_messages import array_message
from mllmseg_ros.ros.support import large_images

SIZE = (640, 480)
RATE_HZ = 15.0
PAGES = (0, 1, 20)
SETTLE_S = 2.0  # discovery, first pictures


class Source(Node):
    """Publishes images, or overlays with their answers."""

    def __init__(self, kind: str) -> None:
        super().__init__("source")
        answer = made_up_answer(*SIZE)
        overlay = draw_overlay(answer.rgb, [each.segmentation for each in answer.instances])
        header = answer.header
        if kind == "image":
            self._messages = [
                (
                    self.create_publisher(Image, "image", 1),
                    image_from_array(answer.rgb, "rgb8", header),
                )
            ]
        else:
            self._messages = [
                (
                    self.create_publisher(SegmentationArray, "segmentations", 10),
                    array_message(answer, "image"),
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
    """CPU time of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def look(url: str, n_pages: int, seconds: float, pid: int) -> tuple[float, float]:
    """Share of a core, and pictures per second and page, while pages are open."""
    n_pictures = 0

    async def read(ws: aiohttp.ClientWebSocketResponse) -> None:
        nonlocal n_pictures
        async for message in ws:
            if message.type is aiohttp.WSMsgType.BINARY:
                n_pictures += 1
                await ws.send_str('{"kind": "shown"}')

    async with aiohttp.ClientSession() as session:
        sockets = [await session.ws_connect(f"{url}socket") for _ in range(n_pages)]
        readers = [asyncio.create_task(read(ws)) for ws in sockets]
        await asyncio.sleep(SETTLE_S)
        n_before, before_s, began_s = n_pictures, cpu_s(pid), time.monotonic()
        await asyncio.sleep(seconds)
        elapsed_s = time.monotonic() - began_s
        share = (cpu_s(pid) - before_s) / elapsed_s
        rate_hz = (n_pictures - n_before) / elapsed_s / max(1, n_pages)
        for ws in sockets:
            await ws.close()
        await asyncio.gather(*readers)
    return share, rate_hz


def measure(kind: str, seconds: float) -> dict[str, tuple[float, float]]:
    """Start a source and a console; (share of a core, pictures per second) by number of pages."""
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
            results[str(n_pages)] = asyncio.run(look(url, n_pages, seconds, console.pid))
            time.sleep(1.0)  # until the console has noticed that they are gone
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
    print(f"{'picture':<9}{'pages':>6}{'% of a core':>13}{'pictures/s':>12}{'against 1 page':>16}")
    for kind, of in results.items():
        for n_pages, (share, rate_hz) in of.items():
            ratio = f"{share / of['1'][0]:.2f}" if of["1"][0] else "-"
            print(f"{kind:<9}{n_pages:>6}{100 * share:>13.1f}{rate_hz:>12.1f}{ratio:>16}")


if __name__ == "__main__":
    main()
