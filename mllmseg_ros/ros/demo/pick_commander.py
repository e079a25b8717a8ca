# SPDX-License-Identifier: Apache-2.0
"""Send pick commands to the segmenter and judge what the robot does by the simulator's truth.

The commander talks to the segmenter only; the example that subscribes to the segmenter moves the
gripper.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rclpy.client import Client
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from mllmseg_ros.drawing.image_file import write_image
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.demo.commander import (
    Commander,
    commander_parser,
    run_commander,
)
from mllmseg_ros.ros.demo.pick_plan import (
    PickTask,
    WorldTruth,
    contact_sheet,
    format_table,
    judge,
    plan_tasks,
)
from mllmseg_ros.ros.messages.image_msgs import nanoseconds, rgb_from_image
from mllmseg_ros.ros.messages.overlay import draw_result

__all__ = ["main"]

_TASK_TIMEOUT_S = 60.0
_STILL_S = 3.0  # nothing may move for so long if nothing is to be picked up
_HELD_S = 1.5  # an outcome has to last so long
_HISTORY = 40  # images
_MOMENTS = ("before", "during", "after")
_STATUS = {
    getattr(SegmentationArray, f"STATUS_{name}"): name
    for name in ("OK", "PARTIAL", "NO_TARGET", "LOW_CONFIDENCE", "SUPERSEDED", "STOPPED", "ERROR")
}


class PickCommander(Commander[PickTask]):
    """Sends the tasks, resets the world between them, and writes images of each."""

    def __init__(self, folder: Path) -> None:
        super().__init__("pick_commander", folder, _HISTORY, _TASK_TIMEOUT_S)
        self._rows: list[tuple[PickTask, str, str, float]] = []
        self._truth: WorldTruth | None = None
        self._newest: dict[str, Image] = {}  # the newest image of each camera
        self._panels: dict[str, NDArray[np.uint8] | None] = {}
        self._reset_ns: int | None = None  # time of the last reset; None: not finished
        self._undecided_s = 0.0  # monotonic time until which the outcome was undecided
        self.create_subscription(
            Image, "onlooker/image", lambda image: self._newest.update(onlooker=image), 1
        )
        self.create_subscription(String, "truth/grasp", self._on_truth, 1)
        self._reset: Client = self.create_client(Trigger, "reset")

    def _on_image(self, message: Image) -> None:
        super()._on_image(message)
        self._newest["camera"] = message

    def _on_truth(self, message: String) -> None:
        self._truth = WorldTruth.from_json(message.data)

    def _is_ready(self) -> bool:
        return bool(
            {"camera", "onlooker"} <= set(self._newest)
            and super()._is_ready()
            and self.count_subscribers("segmentations") > 1  # the example as well
            and self.count_publishers("joint_trajectory")
            and self._reset.service_is_ready()
            and self._truth is not None
        )

    def _describe_start_failure(self) -> str:
        return "robot, node or example did not start"

    def _plan(self) -> Sequence[PickTask]:
        assert self._truth is not None
        self._reset_world()
        return plan_tasks(self._truth.names)

    def _reset_world(self) -> None:
        self._reset_ns = None

        def finish(_: object) -> None:
            self._reset_ns = self.get_clock().now().nanoseconds

        self._reset.call_async(Trigger.Request()).add_done_callback(finish)

    def _may_send(self, now_s: float) -> bool:
        """Return whether all cameras have sent an image of the world since the reset."""
        newest_ns = min(nanoseconds(each.header.stamp) for each in self._newest.values())
        return self._reset_ns is not None and newest_ns > self._reset_ns

    def _send(self, command: PickTask) -> None:
        views = (f"{camera}: {when}" for camera in ("camera", "onlooker") for when in _MOMENTS)
        self._panels = dict.fromkeys(views)
        self._keep_images("before")
        self._undecided_s = time.monotonic()
        super()._send(command)

    def _keep_images(self, moment: str) -> None:
        for camera, image in self._newest.items():
            self._panels[f"{camera}: {moment}"] = rgb_from_image(image)

    def _handle_result(self, command: PickTask, result: SegmentationArray) -> None:
        image = self._images.get(nanoseconds(result.header.stamp))
        if image is not None:
            self._panels["camera: before"] = draw_result(rgb_from_image(image), result)

    def _follow(self, command: PickTask, now_s: float) -> None:
        """Judge the current task and finish it when its outcome is decided."""
        assert self._truth is not None
        outcome = judge(command, self._truth)
        if self._truth.held and self._panels["onlooker: during"] is None and self._truth.lifted:
            self._keep_images("during")
        if self._result is None:
            if now_s > self._deadline_s:
                self._finish(command, "no result")
            return
        if outcome is None and now_s - self._result_s > _STILL_S and not self._truth.away:
            outcome = "right" if command.target is None else "did not move"
        if outcome is None and now_s > self._deadline_s:
            outcome = "lifted nothing"
        if outcome is None:
            self._undecided_s = now_s
        elif command.target is None or now_s - self._undecided_s > _HELD_S:
            self._finish(command, outcome)

    def _finish(self, command: PickTask, outcome: str) -> None:
        """Write the images of a task and note its outcome."""
        self._keep_images("after")
        path = self._next_path()
        write_image(path, contact_sheet(self._panels))
        status = "none" if self._result is None else _STATUS[self._result.status]
        seconds = (self.get_clock().now().nanoseconds - self._sent_ns) / 1e9
        self._rows.append((command, status, outcome, seconds))
        print(f"{command.text!r}: {outcome}, see {path}", flush=True)
        self._current = None
        if self._planned:
            self._reset_world()

    def _report(self) -> None:
        print(f"\n{format_table(self._rows)}", flush=True)
        self.done = int(any(outcome != "right" for _, _, outcome, _ in self._rows))


def arguments_parser() -> argparse.ArgumentParser:
    """Create the command line parser."""
    return commander_parser("let the simulated robot pick up objects", "folder for the images")


def main(args: list[str] | None = None) -> int:
    """Run the commander; return 0 if the robot did what it was told and nothing else."""
    return run_commander(lambda arguments: PickCommander(arguments.out), arguments_parser(), args)
