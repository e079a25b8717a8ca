# SPDX-License-Identifier: Apache-2.0
"""Sends pick commands to the node, watches what the robot does, and judges it by the world's truth.

Speaks to the node alone: what moves the gripper is the example that listens to the node. Entry
point: :func:`main`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.client import Client
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from mllmseg_ros.codecs.stamp_history import StampHistory
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.demo.pick_plan import (
    PickTask,
    WorldTruth,
    contact_sheet,
    judge,
    plan_tasks,
    table,
)
from mllmseg_ros.ros.demo.pictures import empty_folder
from mllmseg_ros.ros.messages.image_msgs import nanoseconds, rgb_from_image
from mllmseg_ros.ros.messages.overlay import overlay_of
from mllmseg_ros.ros.support.spin import run

_STEP_S = 0.05
_START_TIMEOUT_S = 120.0  # loading a model takes its time on a busy machine
_TASK_TIMEOUT_S = 60.0
_STILL_S = 3.0  # so long nothing may move where nothing is to be picked up
_HELD_S = 1.5  # so long an outcome has to last
_HISTORY = 40  # images
_MOMENTS = ("before", "during", "after")
_STATUS = {
    getattr(SegmentationArray, f"STATUS_{name}"): name
    for name in ("OK", "PARTIAL", "NO_TARGET", "LOW_CONFIDENCE", "SUPERSEDED", "STOPPED", "ERROR")
}


class PickCommander(Node):
    """Does one task after the other; ``done`` is the exit status after the last one."""

    def __init__(self, folder: Path) -> None:
        super().__init__("pick_commander")
        self.done: int | None = None
        self._folder = folder
        self._tasks: deque[PickTask] | None = None
        self._task: PickTask | None = None
        self._answer: SegmentationArray | None = None
        self._rows: list[tuple[PickTask, str, str, float]] = []
        self._truth: WorldTruth | None = None
        self._images: StampHistory[Image] = StampHistory(_HISTORY)
        self._pictures: dict[str, Image] = {}  # the newest of each topic
        self._panels: dict[str, NDArray[np.uint8] | None] = {}
        self._reset_ns: int | None = None  # when the world was last put back; None: under way
        self._sent_ns, self._answered_s, self._right_since_s = 0, 0.0, 0.0
        self._deadline_s = time.monotonic() + _START_TIMEOUT_S
        self.create_subscription(Image, "image", self._on_image, 10)
        self.create_subscription(
            Image, "onlooker/image", lambda image: self._pictures.update(onlooker=image), 1
        )
        self.create_subscription(String, "truth/grasp", self._on_truth, 1)
        self._answers = self.create_subscription(
            SegmentationArray, "segmentations", self._on_answer, 100
        )
        self._commands = self.create_publisher(String, "command", 10)
        self._reset: Client = self.create_client(Trigger, "reset")
        self.create_timer(_STEP_S, self._step)

    def stop(self) -> None:
        """End the command in force."""
        self._commands.publish(String(data="stop"))

    def _on_image(self, image: Image) -> None:
        self._images.put(nanoseconds(image.header.stamp), image)
        self._pictures["camera"] = image

    def _on_truth(self, message: String) -> None:
        self._truth = WorldTruth.from_json(message.data)

    def _on_answer(self, message: SegmentationArray) -> None:
        if (
            self._task is None
            or self._answer is not None
            or message.command != self._task.text
            or nanoseconds(message.request_stamp) < self._sent_ns
            or message.status == SegmentationArray.STATUS_STALE_INPUT
        ):
            return
        self._answer, self._answered_s = message, time.monotonic()
        image = self._images.get(nanoseconds(message.header.stamp))
        if image is not None:
            self._panels["camera: before"] = overlay_of(rgb_from_image(image), message)

    def _step(self) -> None:
        now_s = time.monotonic()
        if self.done is not None:
            return
        if self._tasks is None:
            if self._ready() and self._truth is not None:
                self._tasks = deque(plan_tasks(self._truth.names))
                self._put_back()
            elif now_s > self._deadline_s:
                print("demo failed: robot, node or example did not start", file=sys.stderr)
                self.done = 1
        elif self._task is not None:
            self._look(now_s)
        elif self._reset_ns is not None and self._newest_ns() > self._reset_ns:
            self._begin(self._tasks.popleft())

    def _ready(self) -> bool:
        return bool(
            {"camera", "onlooker"} <= set(self._pictures)
            and self._commands.get_subscription_count()
            and self.count_publishers(self._answers.topic_name)
            and self.count_subscribers("segmentations") > 1  # the example listens, too
            and self.count_publishers("joint_trajectory")
            and self._reset.service_is_ready()
        )

    def _newest_ns(self) -> int:
        return min(nanoseconds(each.header.stamp) for each in self._pictures.values())

    def _put_back(self) -> None:
        """Have the world put back; what was seen before that does not count."""
        self._reset_ns = None

        def is_back(_: object) -> None:
            self._reset_ns = self.get_clock().now().nanoseconds

        self._reset.call_async(Trigger.Request()).add_done_callback(is_back)

    def _begin(self, task: PickTask) -> None:
        self._task, self._answer = task, None
        views = (f"{who}: {when}" for who in ("camera", "onlooker") for when in _MOMENTS)
        self._panels = dict.fromkeys(views)
        self._show("before")
        self._sent_ns = self.get_clock().now().nanoseconds
        self._right_since_s = time.monotonic()
        self._deadline_s = self._right_since_s + _TASK_TIMEOUT_S
        self._commands.publish(String(data=task.text))

    def _show(self, moment: str) -> None:
        for who, image in self._pictures.items():
            self._panels[f"{who}: {moment}"] = rgb_from_image(image)

    def _look(self, now_s: float) -> None:
        """Judge the task in hand, and end it once it is decided."""
        assert self._task is not None
        assert self._truth is not None
        outcome = judge(self._task, self._truth)
        if self._truth.held and self._panels["onlooker: during"] is None and self._truth.lifted:
            self._show("during")
        if self._answer is None:
            if now_s > self._deadline_s:
                self._end("no answer")
            return
        waited_s = now_s - self._answered_s
        if outcome is None and waited_s > _STILL_S and not self._truth.away:
            outcome = "right" if self._task.target is None else "did not move"
        if outcome is None and now_s > self._deadline_s:
            outcome = "lifted nothing"
        if outcome is None:
            self._right_since_s = now_s
        elif self._task.target is None or now_s - self._right_since_s > _HELD_S:
            self._end(outcome)

    def _end(self, outcome: str) -> None:
        assert self._task is not None
        self._show("after")
        path = self._folder / f"{len(self._rows) + 1:02d}.png"
        sheet = contact_sheet(self._panels)
        cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        status = "none" if self._answer is None else _STATUS[self._answer.status]
        seconds = (self.get_clock().now().nanoseconds - self._sent_ns) / 1e9
        self._rows.append((self._task, status, outcome, seconds))
        print(f"{self._task.text!r}: {outcome}, see {path}", flush=True)
        self._task = None
        if self._tasks:
            self._put_back()
        else:
            print(f"\n{table(self._rows)}", flush=True)
            self.done = int(any(each != "right" for _, _, each, _ in self._rows))


def arguments_parser() -> argparse.ArgumentParser:
    """What the commander can be told."""
    parser = argparse.ArgumentParser(description="have the simulated robot pick things up")
    parser.add_argument(
        "--out", type=Path, default=Path("demo_overlays"), help="folder for the pictures"
    )
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the commander; returns 0 when the robot did what it was told, and nothing else."""
    arguments = arguments_parser().parse_args(remove_ros_args(args or sys.argv)[1:])
    empty_folder(arguments.out)
    return run(lambda: PickCommander(arguments.out), args)
