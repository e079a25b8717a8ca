# SPDX-License-Identifier: Apache-2.0
"""The demo without ``ros2 launch``: camera, node and commander as processes of their own.

With ``--pick`` a robot takes the camera's place, and the example that drives its gripper comes in.
A web console runs beside them where aiohttp is installed; it says its address. They talk over real
DDS, and none of them outlives this one.
"""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from rclpy.utilities import remove_ros_args

from mllmseg_ros.ros.demo import commander, pick_commander
from mllmseg_ros.ros.support import large_images

__all__ = ["main"]

_CONSOLE_PORT = 8642  # as in config/console.yaml
_POLL_S = 0.1
_GRACE_S = 10.0  # between asking a process to end and ending it


def main(args: list[str] | None = None) -> int:
    """Start the processes; arguments but ``--pick`` go to the commander. Returns its exit status.

    A free ROS_DOMAIN_ID cannot be asked for, so one is drawn where the user has set none: the demo
    must not talk into a robot's network by accident.
    """
    arguments = sys.argv[1:] if args is None else args
    _check(arguments)
    environment = dict(os.environ)
    environment.setdefault("ROS_DOMAIN_ID", str(random.randint(1, 101)))
    environment |= large_images.environment()
    print(f"demo on ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}", flush=True)
    interrupted: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: interrupted.append(number))
    commands = _commands(arguments)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            processes[name] = subprocess.Popen(command, env=environment)
        return _watch(processes, interrupted)
    finally:
        _end(list(processes.values()))


def _check(arguments: list[str]) -> None:
    """End with the usage where the commander would, before anything is started."""
    commander_of = pick_commander if "--pick" in arguments else commander
    parser = commander_of.arguments_parser()
    parser.prog = "demo"
    parser.add_argument("--pick", action="store_true", help="a robot picks what is named")
    parser.parse_args(remove_ros_args(arguments))


def _commands(arguments: list[str]) -> dict[str, list[str]]:
    """The processes by name; the commander ends the demo."""
    folder = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros"
    node = [str(folder / "mllmseg_node"), "--ros-args", "-p", "device:=cpu"]
    console = _console(str(folder / "console"))
    if "--pick" not in arguments:
        return {
            "camera": [str(folder / "sim_camera")],
            "node": node,
            **console,
            "commander": [str(folder / "demo_commander"), *arguments],
        }
    arguments = [each for each in arguments if each != "--pick"]
    examples = Path(get_package_share_directory("mllmseg_ros")) / "examples"
    return {
        "robot": [str(folder / "sim_robot")],
        "node": node,
        **console,
        "example": [sys.executable, str(examples / "pick_and_place.py")],
        "commander": [str(folder / "pick_commander"), *arguments],
    }


def _console(executable: str) -> dict[str, list[str]]:
    """The web console, on its usual port if that is free; without aiohttp there is none."""
    if importlib.util.find_spec("aiohttp") is None:
        print("no web console: pip install aiohttp", flush=True)
        return {}
    port = _CONSOLE_PORT
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            port = 0
    return {"console": [executable, "--ros-args", "-p", f"port:={port}"]}


def _watch(processes: dict[str, subprocess.Popen[bytes]], interrupted: list[int]) -> int:
    """Wait until the commander is done, somebody interrupts, or a process that it needs fails."""
    needed = {name: process for name, process in processes.items() if name != "console"}
    while not interrupted:
        for name, process in needed.items():
            status = process.poll()
            if status is not None:
                if name != "commander":
                    print(f"demo failed: the {name} ended with {status}", file=sys.stderr)
                    return 1
                return status
        time.sleep(_POLL_S)
    return 0


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline_s = time.monotonic() + _GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
