# SPDX-License-Identifier: Apache-2.0
"""Run the node for half an hour with faults; check memory, threads and results.

    source install/local_setup.bash
    python benchmarks/soak.py                     # --minutes 30 --seed 0 --json FILE

The node runs as a process with the embedded model. Images arrive at 30 Hz with depth, commands at
random, and every few seconds there is one of the faults of tests/ros/faults.py, after which the
results on the next good images must be right; half-way there are 10 000 fuzzed messages and 200
rounds of the lifecycle. Memory goes up and down with the faults, so medians are compared: of the
tenth of the run that follows the first fifth, and of its last tenth.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "ros"))

import pytest
import tf2_msgs_package
from faults import FAULTS, Robot
from mllmseg_ros.msg import SegmentationArray

RATE_HZ = 30.0
BETWEEN_FAULTS_S = (4.0, 10.0)
BETWEEN_COMMANDS_S = (0.2, 2.0)
WARM_UP = 0.2  # of the run
COMPARED = 0.1  # of the run, after the warm-up and at the end
SCALED_UP = {"fuzzed_messages": 20, "deactivated_and_activated": 20}  # half-way, by this factor


class Soak:
    """Sends images, commands and faults to the node, and counts."""

    def __init__(self, robot: Robot, seed: int) -> None:
        self.robot, self.random = robot, random.Random(seed)
        self.sent: dict[str, float] = {}  # command -> time
        self.replied: set[str] = set()  # commands with at least one result
        self.n_results = 0
        robot.client.node.create_subscription(
            SegmentationArray, "segmentations", self._on_result, 1000
        )
        self.right_after_s: dict[str, list[float]] = defaultdict(list)
        self.memory_mb: list[tuple[float, float]] = []  # time, MB
        self.n_threads: list[int] = []
        self._faults = self._shuffle_faults()

    def _shuffle_faults(self) -> Iterator[str]:
        """Yield every fault once per round, in random order."""
        while True:
            names = list(FAULTS)
            self.random.shuffle(names)
            yield from names

    def _on_result(self, result: SegmentationArray) -> None:
        self.replied.add(result.command)
        self.n_results += 1

    def run(self, seconds: float) -> None:
        """Run for a time."""
        began = time.monotonic()
        end = began + seconds
        scaled_up = dict(SCALED_UP)
        while time.monotonic() < end:
            self._run_without_faults(self.random.uniform(*BETWEEN_FAULTS_S))
            half_way = time.monotonic() > began + seconds / 2
            fault, scale = (
                scaled_up.popitem() if half_way and scaled_up else (next(self._faults), 1)
            )
            name = fault if scale == 1 else f"{fault}, {scale} times as much"
            print(f"{end - time.monotonic():6.0f} s left: {name}", flush=True)
            FAULTS[fault](self.robot, scale)
            start_s = time.monotonic()
            self.robot.check_good()
            self.right_after_s[name].append(time.monotonic() - start_s)
            self.robot.client.reset()
            self.memory_mb.append((time.monotonic() - began, self.robot.resident_mb))
            self.n_threads.append(self.robot.n_threads)

    def median_mb(self, after_s: float, before_s: float) -> float:
        """Return the median memory between two times of the run."""
        return statistics.median(mb for when, mb in self.memory_mb if after_s <= when < before_s)

    def _run_without_faults(self, seconds: float) -> None:
        """Send images at the camera's rate, and commands, each of which must get a result."""
        client = self.robot.client
        end, due = time.monotonic() + seconds, 0.0

        def send_image_and_command() -> None:
            nonlocal due
            self.robot.send()
            if time.monotonic() >= due:
                text = f"the red mug, take {len(self.sent)}"
                if self.random.random() < 0.1:
                    text = f"nothing: {len(self.sent)};"  # will be refused
                self.sent[text] = time.monotonic()
                client.command(text)
                due = time.monotonic() + self.random.uniform(*BETWEEN_COMMANDS_S)

        client.wait(
            lambda: time.monotonic() > end,
            seconds + 60,
            send_image_and_command,
            every_s=1 / RATE_HZ,
        )
        client.spin(0.5, each=self.robot.send)
        for messages in (
            client.results, client.masks, client.labels, client.overlays, client.clouds,
            client.centroids, client.poses, client.markers, client.sent,
        ):  # fmt: skip
            messages.clear()


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.minutes < 10:
        parser.error("--minutes: at least 10 are needed for the comparison")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        tf2_msgs_package.use(tf2_msgs_package.build(Path(folder)), patch)
        robot = Robot()
        soak = Soak(robot, arguments.seed)
        try:
            robot.check_good()
            soak.run(60 * arguments.minutes)
        finally:
            robot.close()
    whole_s, part_s = soak.memory_mb[-1][0], COMPARED * 60 * arguments.minutes
    warm_s = WARM_UP * 60 * arguments.minutes
    warm = soak.median_mb(warm_s, warm_s + part_s)
    last = soak.median_mb(whole_s - part_s, float("inf"))
    without_result = sorted(set(soak.sent) - soak.replied)
    report = {
        "minutes": (time.monotonic() - began) / 60,
        "answers": soak.n_results,
        "commands": len(soak.sent),
        "commands without any answer": without_result,
        "memory after warm-up, MB": warm,
        "memory at the end, MB": last,
        "memory growth, %": 100 * (last - warm) / warm,
        "threads": [min(soak.n_threads), max(soak.n_threads)],
        "memory, MB by seconds": soak.memory_mb,
        "faults": {
            name: {"times": len(seconds), "right again within s": max(seconds)}
            for name, seconds in soak.right_after_s.items()
        },
    }
    for name, value in report.items():
        if name not in ("faults", "memory, MB by seconds"):
            print(f"{name}: {value}")
    print(f"{'fault':<50} {'times':>5} {'right again within':>20}")
    for name, seconds in sorted(soak.right_after_s.items()):
        print(f"{name:<50} {len(seconds):>5} {max(seconds):>18.1f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
