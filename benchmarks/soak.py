# SPDX-License-Identifier: Apache-2.0
"""Run the node and the console with faults; check memory, threads, files, log and results.

    source install/local_setup.bash
    python benchmarks/soak.py                     # --minutes 30 --seed 0 --json FILE
    python benchmarks/soak.py --minutes 480       # overnight

The node runs as a process with the embedded model. Images arrive at 30 Hz with depth, commands at
random, and every few seconds there is one of the faults of tests/ros/faults.py or an attack on the
console, after which the results on the next good images must be right; half-way there are 10 000
fuzzed messages and 200 rounds of the lifecycle. Memory goes up and down with the faults, so medians
are compared: of the tenth of the run that follows the first fifth, and of its last tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "ros"))

from faults import COMMAND, FAULTS, Robot
from mllmseg_ros.msg import SegmentationArray
from ros_harness import NodeProcess

HALF_OPEN = Path(__file__).resolve().parents[1] / "tests" / "security" / "half_open.py"
RATE_HZ = 30.0
BETWEEN_FAULTS_S = (4.0, 10.0)
BETWEEN_COMMANDS_S = (0.2, 2.0)
WARM_UP = 0.2  # of the run
COMPARED = 0.1  # of the run, after the warm-up and at the end
SCALED_UP = {"fuzzed_messages": 20, "deactivated_and_activated": 20}  # half-way, by this factor


TOKEN = "the token of the soak"
N_CONNECTIONS = 1100
ATTACK_S = 5.0
STOP_TIMEOUT_S = 10.0


class Console:
    """The web console beside the node, and attacks on it."""

    def __init__(self, domain: int, folder: Path) -> None:
        token_file = folder / "token"
        token_file.write_text(TOKEN)
        self.process = NodeProcess(
            domain, "--ros-args", "-p", "port:=0", "-p", f"token_file:={token_file}",
            executable="console",
        )  # fmt: skip
        self.process.wait_for("console at")
        self.url = self.process.log.split("console at ")[1].split()[0]
        self.stop_s: list[float] = []

    def post(self, path: str, body: bytes = b"", token: str = TOKEN) -> int:
        """Send a request, and return its status."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=STOP_TIMEOUT_S) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self) -> None:
        """Send stop, which must be accepted."""
        start_s = time.monotonic()
        status = self.post("stop")
        assert status == 200, f"stop got {status}"
        self.stop_s.append(time.monotonic() - start_s)

    def half_open_connections(self, robot: Robot, scale: int) -> None:
        """Connections from another address that never end their request."""
        port = self.url.rsplit(":", 1)[1].strip("/")
        attacker = subprocess.Popen(
            [sys.executable, str(HALF_OPEN), port, str(N_CONNECTIONS), "4", "2"],
            stdin=subprocess.PIPE,
        )
        assert attacker.stdin is not None
        attacker.stdin.write(b"POST /stop HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ")
        attacker.stdin.close()
        try:
            end_s = time.monotonic() + ATTACK_S
            while time.monotonic() < end_s:
                robot.client.spin(0.5, each=robot.send)
                self.stop()
        finally:
            attacker.kill()
            attacker.wait()

    def malformed_requests(self, robot: Robot, scale: int) -> None:
        """Malformed bodies, and wrong tokens."""
        for index in range(200):
            status = self.post("command", b"[" * index, TOKEN if index % 2 else "wrong")
            assert 400 <= status < 500, status
        self.stop()

    def a_stalled_console(self, robot: Robot, scale: int) -> None:
        """It is stopped as by a debugger, and continues."""
        self.process.process.send_signal(signal.SIGSTOP)
        robot.client.spin(3.0, each=robot.send)
        self.process.process.send_signal(signal.SIGCONT)
        self.stop()

    @property
    def faults(self) -> dict[str, Callable[[Robot, int], None]]:
        """The attacks by name."""
        attacks = (self.half_open_connections, self.malformed_requests, self.a_stalled_console)
        return {each.__name__: each for each in attacks}


@dataclass(frozen=True)
class State:
    """The node after a fault."""

    at_s: float  # of the run
    right_again_s: float  # from the end of the fault to a right result
    memory_mb: float
    n_threads: int
    n_files: int  # open ones
    log_bytes: int  # written because of the fault


class Soak:
    """Sends images, commands and faults to the node, and counts."""

    def __init__(self, robot: Robot, console: Console, seed: int) -> None:
        self.robot, self.console, self.random = robot, console, random.Random(seed)
        self.sent: dict[str, float] = {}  # command -> time
        self.replied: set[str] = set()  # commands with at least one result
        self.n_results = 0
        robot.client.node.create_subscription(
            SegmentationArray, "segmentations", self._on_result, 1000
        )
        self.states: dict[str, list[State]] = defaultdict(list)
        self._faults = {**FAULTS, **console.faults}

    def _shuffle_faults(self) -> Iterator[str]:
        """Yield every fault once per round, in random order."""
        while True:
            names = list(self._faults)
            self.random.shuffle(names)
            yield from names

    def _on_result(self, result: SegmentationArray) -> None:
        self.replied.add(result.command)
        self.n_results += 1

    def _log_bytes(self) -> int:
        return sum(map(len, (*self.robot.node.lines, *self.console.process.lines)))

    def run(self, seconds: float) -> None:
        """Run for a time."""
        began_s = time.monotonic()
        end_s = began_s + seconds
        scaled_up, names = dict(SCALED_UP), self._shuffle_faults()
        while time.monotonic() < end_s:
            self._run_without_faults(self.random.uniform(*BETWEEN_FAULTS_S))
            half_way = time.monotonic() > began_s + seconds / 2
            fault, scale = scaled_up.popitem() if half_way and scaled_up else (next(names), 1)
            name = fault if scale == 1 else f"{fault}, {scale} times as much"
            print(f"{end_s - time.monotonic():6.0f} s left: {name}", flush=True)
            log_bytes = self._log_bytes()
            self._faults[fault](self.robot, scale)
            start_s = time.monotonic()
            self.robot.check_good()
            now_s = time.monotonic()
            self.robot.client.reset()
            self.states[name].append(
                State(
                    at_s=now_s - began_s,
                    right_again_s=now_s - start_s,
                    memory_mb=self.robot.resident_mb,
                    n_threads=self.robot.n_threads,
                    n_files=len(os.listdir(f"/proc/{self.robot.node.process.pid}/fd")),
                    log_bytes=self._log_bytes() - log_bytes,
                )
            )

    @property
    def in_order(self) -> list[State]:
        """All states, in the order of time."""
        states = (each for found in self.states.values() for each in found)
        return sorted(states, key=lambda each: each.at_s)

    def median_mb(self, after_s: float, before_s: float) -> float:
        """Return the median memory between two times of the run."""
        return statistics.median(
            each.memory_mb for each in self.in_order if after_s <= each.at_s < before_s
        )

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


def main() -> int:
    """Run and report; 1 if a result was wrong or missing, which ends the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.minutes < 10:
        parser.error("--minutes: at least 10 are needed for the comparison")
    began, failure = time.monotonic(), ""
    with tempfile.TemporaryDirectory() as folder:
        robot = Robot()
        console = Console(robot.domain, Path(folder))
        soak = Soak(robot, console, arguments.seed)
        try:
            robot.check_good()
            soak.run(60 * arguments.minutes)
        except AssertionError as error:
            failure = f"{error}\n{describe_failure(robot)}"
        finally:
            robot.close()
            assert console.process.end() == 0, console.process.log[-4000:]
    report = summarize(soak, console, began)
    report["failure"] = failure
    for name, value in report.items():
        if name != "states":
            print(f"{name}: {value}")
    print_table(soak)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if failure else 0


OTHER_SUBSCRIBER = """
import time, rclpy
from mllmseg_ros.msg import SegmentationArray
rclpy.init()
node, results = rclpy.create_node("other_subscriber"), []
node.create_subscription(SegmentationArray, "segmentations", results.append, 10)
end = time.monotonic() + 20
while time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.1)
print(len(results))
"""


def describe_failure(robot: Robot) -> str:
    """Tell a node that is stuck from a middleware that delivers nothing.

    The stacks of the node's threads, and how many results a new subscriber and the robot's own get
    for a new command on good images.
    """
    client = robot.client
    client.results.clear()
    client.masks.clear()
    n_seen = client.node.count_publishers("segmentations")
    client.spin(10.0, each=lambda: (robot.send(), client.command(f"still, {COMMAND}")))
    alone = f"{len(client.results)} results and {len(client.masks)} masks of {n_seen} publishers"
    environment = {**os.environ, "ROS_DOMAIN_ID": str(robot.domain)}
    code = [sys.executable, "-c", OTHER_SUBSCRIBER]
    other = subprocess.Popen(code, env=environment, stdout=subprocess.PIPE, text=True, cwd="/")
    client.results.clear()
    client.spin(22.0, each=lambda: (robot.send(), client.command(f"after the failure, {COMMAND}")))
    robot.node.process.send_signal(signal.SIGUSR1)
    client.spin(1.0)
    n_others = other.communicate(timeout=60)[0].strip()
    return (
        f"the robot got {alone}; then a new subscriber got {n_others} results, the robot "
        f"{len(client.results)}\n"
        f"{robot.node.log[-20_000:]}"
    )


def summarize(soak: Soak, console: Console, began_s: float) -> dict[str, Any]:
    """Summarize a run, whole or up to a failure."""
    states = soak.in_order
    whole_s = states[-1].at_s
    part_s, warm_s = COMPARED * whole_s, WARM_UP * whole_s
    warm = soak.median_mb(warm_s, warm_s + part_s)
    last = soak.median_mb(whole_s - part_s, float("inf"))
    threads, files = [each.n_threads for each in states], [each.n_files for each in states]
    return {
        "minutes": (time.monotonic() - began_s) / 60,
        "faults": sum(map(len, soak.states.values())),
        "results": soak.n_results,
        "commands": len(soak.sent),
        "commands without any result": sorted(set(soak.sent) - soak.replied),
        "memory after warm-up, MB": warm,
        "memory at the end, MB": last,
        "memory growth, %": 100 * (last - warm) / warm,
        "threads": [min(threads), max(threads)],
        "open files": [min(files), max(files)],
        "longest stop by the console, s": max(console.stop_s),
        "log, bytes": sum(each.log_bytes for each in states),
        "states": {name: [asdict(each) for each in found] for name, found in soak.states.items()},
    }


def print_table(soak: Soak) -> None:
    """Print a row per fault, for docs/operations.md."""
    print("| fault | times | right again within | memory | threads | open files | log |")
    print("|---|---|---|---|---|---|---|")
    for name, found in sorted(soak.states.items()):
        print(
            f"| {name.replace('_', ' ')} | {len(found)} "
            f"| {max(each.right_again_s for each in found):.1f} s "
            f"| {statistics.median(each.memory_mb for each in found):.0f} MB "
            f"| {max(each.n_threads for each in found)} | {max(each.n_files for each in found)} "
            f"| {max(each.log_bytes for each in found) / 1000:.1f} kB |"
        )


if __name__ == "__main__":
    sys.exit(main())
