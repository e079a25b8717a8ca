# SPDX-License-Identifier: Apache-2.0
"""Start the demo without ``ros2 launch``: camera, segmenter and commander as processes.

With ``--pick`` a simulated robot replaces the camera, and the pick-and-place example runs as well.
A web console runs if aiohttp is installed. With ``--live`` the terminal is for commands and
results: the other processes log into a file. The processes talk over DDS and end with this one.
"""

from __future__ import annotations

import argparse
import contextlib
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

from mllmseg_ros.files import make_folder, open_own_file
from mllmseg_ros.ros.demo import pick_commander, segment_commander
from mllmseg_ros.ros.support import large_images

__all__ = ["main"]

_LOG = "node.log"  # in the folder of the overlays
_CONSOLE_PORT = 8642  # as in config/console.yaml
_POLL_S = 0.1
_GRACE_S = 10.0  # between SIGTERM and SIGKILL


def main(args: list[str] | None = None) -> int:
    """Start the processes; return the commander's exit status, which gets the other arguments.

    If ROS_DOMAIN_ID is not set, a random one is used, so that the demo does not talk to a robot in
    the same network by accident.
    """
    arguments = sys.argv[1:] if args is None else args
    parsed = _parse_arguments(arguments)
    environment = dict(os.environ)
    environment.setdefault("ROS_DOMAIN_ID", str(random.randint(1, 101)))
    environment |= large_images.environment()
    print(f"demo on ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}", flush=True)
    interrupted: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: interrupted.append(number))
    commands = _list_commands(arguments)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with contextlib.ExitStack() as stack:
        log, path = None, parsed.out / _LOG
        if getattr(parsed, "live", False):
            make_folder(parsed.out)
            log = stack.enter_context(open(open_own_file(path, os.O_WRONLY | os.O_TRUNC), "wb"))
            print(f"log of the node: {path}", flush=True)
        try:
            for name, command in commands.items():
                output = None if name == "commander" else log
                processes[name] = subprocess.Popen(
                    command, env=environment, stdout=output, stderr=output
                )
            return _watch(processes, interrupted, f"; see {path}" if log else "")
        finally:
            _end_processes(list(processes.values()))


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the commander's arguments; exits with the usage before anything is started."""
    commander = pick_commander if "--pick" in arguments else segment_commander
    parser = commander.arguments_parser()
    parser.prog = "demo"
    parser.add_argument("--pick", action="store_true", help="let a simulated robot pick up objects")
    return parser.parse_args(remove_ros_args(arguments))


def _list_commands(arguments: list[str]) -> dict[str, list[str]]:
    """Return the command lines of the processes by name."""
    folder = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros"
    node = [str(folder / "mllmseg_node"), "--ros-args", "-p", "device:=cpu"]
    port = _console_port()
    console = {}
    if port:
        console["console"] = [str(folder / "console"), "--ros-args", "-p", f"port:={port}"]
    if "--pick" not in arguments:
        page = ["--page", f"http://127.0.0.1:{port}/"] if port else []
        return {
            "camera": [str(folder / "sim_camera")],
            "node": node,
            **console,
            "commander": [str(folder / "demo_commander"), *arguments, *page],
        }
    arguments = [argument for argument in arguments if argument != "--pick"]
    examples = Path(get_package_share_directory("mllmseg_ros")) / "examples"
    return {
        "robot": [str(folder / "sim_robot")],
        "node": node,
        **console,
        "example": [sys.executable, str(examples / "pick_and_place.py")],
        "commander": [str(folder / "pick_commander"), *arguments],
    }


def _console_port() -> int:
    """Return the port for the web console, the usual one if it is free; 0 without aiohttp."""
    if importlib.util.find_spec("aiohttp") is None:
        print("no web console: pip install aiohttp", flush=True)
        return 0
    for port in (_CONSOLE_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    return 0


def _watch(
    processes: dict[str, subprocess.Popen[bytes]], interrupted: list[int], advice: str
) -> int:
    """Wait until the commander is done, a signal arrives, or another needed process ends."""
    needed = {name: process for name, process in processes.items() if name != "console"}
    while not interrupted:
        for name, process in needed.items():
            status = process.poll()
            if status is not None:
                if name != "commander":
                    text = f"demo failed: the {name} exited with status {status}{advice}"
                    print(text, file=sys.stderr)
                    return 1
                return status
        time.sleep(_POLL_S)
    return 0


def _end_processes(processes: list[subprocess.Popen[bytes]]) -> None:
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
