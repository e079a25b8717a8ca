# SPDX-License-Identifier: Apache-2.0
"""From the start of a process to its first answer: wall and processor time.

    python benchmarks/first_answer.py              # mllmseg segment
    python benchmarks/first_answer.py --node       # the node over DDS, in a sourced workspace

Against importing torch alone, and torch with the classes of transformers that the model is built
of. In turns, each in a process of its own, with the settings of the executables.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

FRAME = Path(__file__).parents[1] / "mllmseg_ros" / "assets" / "frames" / "frame_0.png"
TRANSFORMERS = "from transformers import InternVLVisionModel, LlamaModel, Qwen2Model"
SEGMENT = "from mllmseg_ros.cli import main; assert main({}) == 0"
NODE = "import sys; from mllmseg_ros.ros.node.segmenter_node import main; sys.exit(main())"

Times = tuple[float, float]  # wall and processor, s


def run_segment() -> Times:
    """Run ``mllmseg segment`` on an image."""
    arguments = ["segment", str(FRAME), "the red mug", "--device", "cpu"]
    return run_code(SEGMENT.format(arguments))


def run_code(code: str) -> Times:
    """Run code in a process of its own."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # Not in the folder of the repository, whose package has no messages.
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=FRAME.parent)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used


def run_node() -> Times:
    """Start the node while a command and images are sent ten times a second; until a result."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ros"))
    from ros_harness import START_S, Client, new_domain

    from mllmseg_ros.sim.samples import load_sample

    domain, rgb = new_domain(), load_sample(0).rgb
    client = Client(domain)

    def send() -> None:
        client.command("the red mug")
        client.send_image(rgb)

    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", NODE, "--ros-args", "-p", "device:=cpu"],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        cwd=FRAME.parent,
        stderr=subprocess.DEVNULL,
    )
    try:
        client.wait(lambda: client.results, START_S, each=send)
        return time.perf_counter() - began, _processor_s(process.pid)
    finally:
        process.terminate()
        process.wait()
        client.close()


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", action="store_true", help="the node instead of mllmseg segment")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run: Callable[[], Times] = run_node if arguments.node else run_segment
    ways: dict[str, Callable[[], Times]] = {
        "import torch": lambda: run_code("import torch"),
        "transformers' classes": lambda: run_code(TRANSFORMERS),
        "first answer": run,
    }
    times: dict[str, list[Times]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            times[name].append(way())
    print(f"median (least) of {arguments.rounds}, s {'wall':>14} {'processor':>16}")
    for name, each in times.items():
        columns = [f"{statistics.median(x):8.2f} ({min(x):5.2f})" for x in zip(*each, strict=True)]
        print(f"{name:22} {columns[0]:>18} {columns[1]:>16}")


if __name__ == "__main__":
    main()
