# SPDX-License-Identifier: Apache-2.0
"""Sends commands to the node and shows what comes back, compared with the simulator's truth.

By itself a handful of commands built from the scene; with ``--live`` those typed into the terminal.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import deque
from pathlib import Path

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from mllmseg_ros.codecs.stamp_history import StampHistory
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.demo.pictures import empty_folder
from mllmseg_ros.ros.demo.plan import PlannedCommand, Verdict, judge, plan_commands, table
from mllmseg_ros.ros.messages.image_msgs import (
    depth_from_image,
    intrinsics_from_info,
    nanoseconds,
    rgb_from_image,
)
from mllmseg_ros.ros.messages.overlay import overlay_of
from mllmseg_ros.ros.messages.segmentation_msgs import segmentation_from_message
from mllmseg_ros.ros.support.spin import run
from mllmseg_ros.sim.view import VisibleObject

__all__ = ["main"]

_STEP_S = 0.05
_START_TIMEOUT_S = 120.0  # loading a model takes its time on a busy machine
_ANSWER_TIMEOUT_S = 30.0
_PAUSE_S = 1.0  # between commands: the objects move on
_HISTORY = 100  # images; ten seconds of them
_WITHOUT_ANSWER = {
    SegmentationArray.STATUS_SUPERSEDED: "SUPERSEDED",
    SegmentationArray.STATUS_STOPPED: "STOPPED",
    SegmentationArray.STATUS_ERROR: "ERROR",
}


class DemoCommander(Node):
    """Asks one thing after the other; ``done`` is the exit status once it has all answers."""

    def __init__(self, folder: Path, live: bool, seed: int) -> None:
        super().__init__("demo_commander")
        self.done: int | None = None
        self._folder, self._live, self._seed = folder, live, seed
        self._planned: deque[PlannedCommand] | None = None
        self._asked: PlannedCommand | None = None
        self._answered: tuple[PlannedCommand, SegmentationArray, float] | None = None
        self._sent_ns, self._deadline_s = 0, time.monotonic() + _START_TIMEOUT_S
        self._pause_until_s = 0.0
        self._first_image_s = 0.0
        self._n_images = 0
        self._rows: list[tuple[Verdict, float]] = []
        self._n_shown = 0
        self._images: StampHistory[Image] = StampHistory(_HISTORY)
        self._depths: StampHistory[Image] = StampHistory(_HISTORY)
        self._instances: StampHistory[Image] = StampHistory(_HISTORY)
        self._info: CameraInfo | None = None
        self._objects: list[VisibleObject] = []
        for topic, history in (
            ("image", self._images),
            ("depth/image", self._depths),
            ("truth/instances", self._instances),
        ):
            self.create_subscription(
                Image,
                topic,
                lambda message, history=history: history.put(
                    nanoseconds(message.header.stamp), message
                ),
                10,
            )
        self.create_subscription(Image, "image", self._count_image, 10)
        self.create_subscription(CameraInfo, "camera_info", self._on_info, 1)
        self._truth = self.create_subscription(String, "truth/objects", self._on_objects, 1)
        self._answers = self.create_subscription(
            SegmentationArray, "segmentations", self._on_answer, 100
        )
        self._commands = self.create_publisher(String, "command", 10)
        self.create_timer(_STEP_S, self._step)
        self._typed: deque[str] = deque()
        if live:
            threading.Thread(target=self._read_terminal, daemon=True).start()

    def stop(self) -> None:
        """End the command in force."""
        self._commands.publish(String(data="stop"))

    def _count_image(self, message: Image) -> None:
        self._first_image_s = self._first_image_s or time.monotonic()
        self._n_images += 1

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_objects(self, message: String) -> None:
        self._objects = [
            VisibleObject.from_dict(each) for each in json.loads(message.data)["objects"]
        ]

    def _step(self) -> None:
        """Send the next command when its time has come, or give up."""
        now_s = time.monotonic()
        if self.done is not None or now_s < self._pause_until_s:
            return
        if self._answered is not None:  # the truth of its image has come in the meantime
            self._show(*self._answered)
            self._answered = None
        if self._asked is not None:
            if now_s > self._deadline_s:
                self._fail(f"no answer to {self._asked.text!r} in {_ANSWER_TIMEOUT_S:.0f} s")
            return
        if self._planned is None:
            if self._ready():
                self._plan()
            elif now_s > self._deadline_s:
                self._fail(f"camera or node did not start in {_START_TIMEOUT_S:.0f} s")
            return
        if self._typed:
            self._planned.append(PlannedCommand(text=self._typed.popleft(), expressions=()))
        if self._planned:
            self._send(self._planned.popleft())
        elif not self._live:
            self._finish()

    def _plan(self) -> None:
        self._planned = deque([] if self._live else plan_commands(self._objects, self._seed))
        self.destroy_subscription(self._truth)  # measuring it slows the camera down
        if self._live:
            names = sorted({f"{each.color} {each.kind}" for each in self._objects})
            print(f"on the table: {', '.join(names)}\ntype a command, Ctrl-C ends", flush=True)

    def _fail(self, reason: str) -> None:
        """Say what went wrong; only a person at the terminal may want to go on."""
        print(f"demo failed: {reason}", file=sys.stderr, flush=True)
        self._asked = None
        if not self._live or self._planned is None:
            self.done = 1

    def _ready(self) -> bool:
        return bool(
            self._objects
            and self._info
            and all((len(self._images), len(self._depths), len(self._instances)))
            and self._commands.get_subscription_count()
            and self.count_publishers(self._answers.topic_name)
        )

    def _send(self, command: PlannedCommand) -> None:
        self._asked = command
        self._sent_ns = self.get_clock().now().nanoseconds
        self._deadline_s = time.monotonic() + _ANSWER_TIMEOUT_S
        self._commands.publish(String(data=command.text))

    def _on_answer(self, message: SegmentationArray) -> None:
        asked = self._asked
        # A refused command comes back cut short.
        if asked is None or not asked.text.startswith(message.command):
            return
        if nanoseconds(message.request_stamp) < self._sent_ns:
            return  # the same words, sent earlier
        if message.status == SegmentationArray.STATUS_STALE_INPUT:
            return  # an image will come
        self._asked = None
        self._pause_until_s = time.monotonic() + _PAUSE_S
        if self._live and message.status == SegmentationArray.STATUS_STOPPED:
            print(message.text, flush=True)
            return
        if self._live and message.status == SegmentationArray.STATUS_ERROR:
            print(f"refused: {message.text}", flush=True)
            return
        if message.status in _WITHOUT_ANSWER:
            self._fail(f"{asked.text!r}: {_WITHOUT_ANSWER[message.status]}, {message.text}")
            return
        latency_ms = (self.get_clock().now().nanoseconds - self._sent_ns) / 1e6
        self._answered = (asked, message, latency_ms)

    def _show(self, asked: PlannedCommand, message: SegmentationArray, latency_ms: float) -> None:
        size_hw = (message.image_height, message.image_width)
        answers = [segmentation_from_message(entry, size_hw) for entry in message.segmentations]
        stamp_ns = nanoseconds(message.header.stamp)
        image, depth = self._images.get(stamp_ns), self._depths.get(stamp_ns)
        instances = self._instances.get(stamp_ns)
        self._n_shown += 1
        path = self._folder / f"{self._n_shown:02d}.png"
        if image is not None:
            overlay = overlay_of(rgb_from_image(image), message)
            cv2.imwrite(str(path), cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
        print(f"{asked.text!r}: {message.text} in {latency_ms:.0f} ms, see {path}", flush=True)
        intrinsics = intrinsics_from_info(self._info, rectified=False) if self._info else None
        if depth is None or instances is None or intrinsics is None or not asked.expressions:
            if asked.expressions:
                self._fail(f"the truth of image {stamp_ns} did not arrive")
            return
        truth = rgb_from_image(instances)[:, :, 0]
        depth_m = depth_from_image(depth)
        for index, expression in enumerate(asked.expressions):
            entries = [each.expression_index == index for each in message.segmentations]
            points = [
                each.position
                for each, ours in zip(message.segmentations, entries, strict=True)
                if ours and each.has_position
            ]
            verdict = judge(
                [each for each, ours in zip(answers, entries, strict=True) if ours],
                [np.array([point.x, point.y, point.z]) for point in points],
                expression.targets,
                truth,
                depth_m,
                intrinsics.K,
            )
            self._rows.append((verdict, latency_ms))

    def _finish(self) -> None:
        rate_hz = (self._n_images - 1) / (time.monotonic() - self._first_image_s)
        print(f"\n{table(self._rows)}")
        print(f"camera at {rate_hz:.1f} Hz; overlays in {self._folder}", flush=True)
        self.done = 0

    def _read_terminal(self) -> None:
        for line in sys.stdin:
            self._typed.append(line.strip())


def arguments_parser() -> argparse.ArgumentParser:
    """What the commander can be told."""
    parser = argparse.ArgumentParser(description="send commands to the mllmseg node")
    parser.add_argument("--live", action="store_true", help="take commands from the terminal")
    parser.add_argument(
        "--out", type=Path, default=Path("demo_overlays"), help="folder for the overlays"
    )
    parser.add_argument("--seed", type=int, default=0, help="choice of the commands")
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the commander; returns 0 when every command was answered."""
    arguments = arguments_parser().parse_args(remove_ros_args(args or sys.argv)[1:])
    empty_folder(arguments.out)
    return run(lambda: DemoCommander(arguments.out, arguments.live, arguments.seed), args)
