# SPDX-License-Identifier: Apache-2.0
"""Inferences beside busy processes: threads that wait in busy loops against threads that sleep.

    python benchmarks/threads.py                   # a busy process per core
    python benchmarks/threads.py --busy 0          # on an idle machine

Each way runs in a process of its own, in turns, because OpenMP reads OMP_WAIT_POLICY once. The
executables and ``mllmseg`` set PASSIVE where the user has set nothing; "unset" is what they did
before, and what a program of your own does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

WAYS = {
    "unset": {},
    "PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
_SETTINGS = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def measure(inferences: int) -> dict[str, list[float]]:
    """Segment a scene several times; wall and processor time of each inference in ms."""
    from mllmseg_ros.segmenter import Segmenter
    from mllmseg_ros.sim.samples import load_sample

    segmenter, rgb = Segmenter.from_pretrained(device="cpu", dtype="float32"), load_sample(0).rgb
    segmenter(rgb, ["the red mug"])
    wall, cpu = [], []
    for _ in range(inferences):
        began, used = time.perf_counter(), time.process_time()
        segmenter(rgb, ["the red mug"])
        wall.append(1e3 * (time.perf_counter() - began))
        cpu.append(1e3 * (time.process_time() - used))
    return {"wall": wall, "cpu": cpu}


def measure_in_child(settings: dict[str, str], inferences: int) -> dict[str, list[float]]:
    """Run :func:`measure` in a process of its own."""
    environment = {name: each for name, each in os.environ.items() if name not in _SETTINGS}
    command = [sys.executable, __file__, "--child", "--inferences", str(inferences)]
    done = subprocess.run(
        command, env=environment | settings, capture_output=True, text=True, check=True
    )
    result: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, default=os.cpu_count(), help="busy processes beside it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inferences", type=int, default=20, help="per round")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.inferences)))
        return
    loop = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(loop) for _ in range(arguments.busy)]
    times: dict[str, dict[str, list[float]]] = {way: {"wall": [], "cpu": []} for way in WAYS}
    try:
        for _ in range(arguments.rounds):
            for way, settings in WAYS.items():
                for kind, each in measure_in_child(settings, arguments.inferences).items():
                    times[way][kind] += each
    finally:
        for process in busy:
            process.kill()
            process.wait()
    print(f"{arguments.busy} busy processes, {os.cpu_count()} cores; one inference, ms")
    print(f"{'OMP_WAIT_POLICY':16} {'median':>8} {'95 %':>8} {'worst':>8} {'processor':>10}")
    for way, each in times.items():
        wall = sorted(each["wall"])
        print(
            f"{way:16} {statistics.median(wall):8.0f} {wall[int(0.95 * len(wall))]:8.0f} "
            f"{wall[-1]:8.0f} {statistics.median(each['cpu']):10.0f}"
        )


if __name__ == "__main__":
    main()
