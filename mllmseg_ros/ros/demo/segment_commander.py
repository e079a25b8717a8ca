# SPDX-License-Identifier: Apache-2.0
"""Send commands to the segmenter and compare the results with the simulator's truth.

The commands are planned from the scene, or typed into the terminal with ``--live``.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from mllmseg_ros.codecs.stamp_history import StampHistory
from mllmseg_ros.drawing.image_file import write_image
from mllmseg_ros.files import parse_json
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.ros.demo.commander import (
    Commander,
    commander_parser,
    run_commander,
)
from mllmseg_ros.ros.demo.segment_plan import (
    SegmentCommand,
    Verdict,
    format_table,
    judge,
    plan_commands,
)
from mllmseg_ros.ros.messages.image_msgs import (
    depth_from_image,
    intrinsics_of_image,
    nanoseconds,
    rgb_from_image,
)
from mllmseg_ros.ros.messages.overlay import camera_distance_m, draw_result
from mllmseg_ros.ros.messages.segmentation_msgs import segmentation_from_message
from mllmseg_ros.sim.view import VisibleObject

__all__ = ["main"]

_RESULT_TIMEOUT_S = 30.0
_PAUSE_S = 1.0  # between commands: the objects move on
_HISTORY = 100  # images; ten seconds of them
_WITHOUT_RESULT = {
    SegmentationArray.STATUS_SUPERSEDED: "SUPERSEDED",
    SegmentationArray.STATUS_STOPPED: "STOPPED",
    SegmentationArray.STATUS_ERROR: "ERROR",
}


_ENTRY_STATUS = {
    Segmentation.STATUS_FOUND: "FOUND",
    Segmentation.STATUS_NO_TARGET: "NO_TARGET",
    Segmentation.STATUS_LOW_CONFIDENCE: "LOW_CONFIDENCE",
}


class SegmentCommander(Commander[SegmentCommand]):
    """Sends commands and writes the overlay of each result."""

    def __init__(self, folder: Path, live: bool, seed: int, keep: bool, page: str) -> None:
        super().__init__("demo_commander", folder, _HISTORY, _RESULT_TIMEOUT_S)
        self._live, self._seed, self._keep, self._page = live, seed, keep, page
        self._pause_until_s, self._latency_ms = 0.0, 0.0
        self._first_image_s, self._n_images = 0.0, 0
        self._rows: list[tuple[Verdict, float]] = []
        self._depths: StampHistory[Image] = StampHistory(_HISTORY)
        self._instances: StampHistory[Image] = StampHistory(_HISTORY)
        self._info: CameraInfo | None = None
        self._objects: list[VisibleObject] = []
        for topic, history in (("depth/image", self._depths), ("truth/instances", self._instances)):
            self.create_subscription(
                Image,
                topic,
                lambda message, history=history: history.put(
                    nanoseconds(message.header.stamp), message
                ),
                10,
            )
        self.create_subscription(CameraInfo, "camera_info", self._on_info, 1)
        self._truth = self.create_subscription(String, "truth/objects", self._on_objects, 1)
        self._typed: deque[str] = deque()
        if live:
            threading.Thread(target=self._read_terminal, daemon=True).start()

    def stop(self) -> None:
        """End the command in force, unless it is to stay."""
        if not self._keep:
            super().stop()

    def _on_image(self, message: Image) -> None:
        super()._on_image(message)
        self._first_image_s = self._first_image_s or time.monotonic()
        self._n_images += 1

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_objects(self, message: String) -> None:
        objects = parse_json(message.data, "truth/objects")["objects"]
        self._objects = [VisibleObject.from_dict(fields) for fields in objects]

    def _is_ready(self) -> bool:
        return bool(
            self._objects
            and self._info
            and all((len(self._images), len(self._depths), len(self._instances)))
            and super()._is_ready()
        )

    def _plan(self) -> Sequence[SegmentCommand]:
        self.destroy_subscription(self._truth)  # measuring it slows the camera down
        if not self._live:
            return plan_commands(self._objects, self._seed)
        names = sorted({f"{each.color} {each.kind}" for each in self._objects})
        print(f"on the table: {', '.join(names)}")
        page = f" (or open {self._page} in a browser)" if self._page else ""
        print(f"type a command{page}, Ctrl-C to quit; overlays are in {self._folder}")
        self._prompt()
        return []

    def _may_send(self, now_s: float) -> bool:
        if now_s < self._pause_until_s:
            return False
        if self._typed and self._planned is not None:
            self._planned.append(SegmentCommand(text=self._typed.popleft(), expressions=()))
        return True

    def _is_finished(self) -> bool:
        return not self._live and super()._is_finished()

    def _handle_result(self, command: SegmentCommand, result: SegmentationArray) -> None:
        self._latency_ms = (self.get_clock().now().nanoseconds - self._sent_ns) / 1e6
        self._pause_until_s = time.monotonic() + _PAUSE_S
        if self._live and result.status == SegmentationArray.STATUS_STOPPED:
            print(result.text)
            self._current = None
            self._prompt()
        elif self._live and result.status == SegmentationArray.STATUS_ERROR:
            print(f"refused: {result.text}")
            self._current = None
            self._prompt()
        elif result.status in _WITHOUT_RESULT:
            self._fail(f"{command.text!r}: {_WITHOUT_RESULT[result.status]}, {result.text}")

    def _follow(self, command: SegmentCommand, now_s: float) -> None:
        """Show the result after the pause: the truth of its image has arrived by then."""
        if self._result is None:
            if now_s > self._deadline_s:
                self._fail(f"no result of {command.text!r} in {_RESULT_TIMEOUT_S:.0f} s")
        elif now_s >= self._pause_until_s:
            self._show(command, self._result)
            self._current = None

    def _fail(self, reason: str) -> None:
        """End the demo with an error, unless a person at the terminal can continue."""
        super()._fail(reason)
        if self._live and self._planned is not None:
            self.done = None
            self._prompt()

    def _show(self, command: SegmentCommand, result: SegmentationArray) -> None:
        """Write the overlay and compare the result with the truth."""
        size_hw = (result.image_height, result.image_width)
        segmentations = [segmentation_from_message(each, size_hw) for each in result.segmentations]
        stamp_ns = nanoseconds(result.header.stamp)
        image, depth = self._images.get(stamp_ns), self._depths.get(stamp_ns)
        instances = self._instances.get(stamp_ns)
        path = self._next_path()
        if image is not None:
            write_image(path, draw_result(rgb_from_image(image), result))
        latency_ms = self._latency_ms
        if self._live:
            print("\n".join(describe_entries(result)))
            self._prompt()
            return
        print(f"{command.text!r}: {result.text} in {latency_ms:.0f} ms, see {path}", flush=True)
        if depth is None or instances is None or self._info is None:
            self._fail(f"the truth of image {stamp_ns} did not arrive")
            return
        truth = rgb_from_image(instances)[:, :, 0]
        depth_m = depth_from_image(depth)
        depth_hw = (depth_m.shape[0], depth_m.shape[1])
        intrinsics = intrinsics_of_image(self._info, depth_hw, rectified=False)
        for index, expression in enumerate(command.expressions):
            found = [
                (entry, segmentation)
                for entry, segmentation in zip(result.segmentations, segmentations, strict=True)
                if entry.expression_index == index
            ]
            points = [entry.position for entry, _ in found if entry.has_position]
            verdict = judge(
                [segmentation for _, segmentation in found],
                [np.array([point.x, point.y, point.z]) for point in points],
                expression.targets,
                truth,
                depth_m,
                intrinsics.K,
            )
            self._rows.append((verdict, latency_ms))

    def _report(self) -> None:
        rate_hz = (self._n_images - 1) / (time.monotonic() - self._first_image_s)
        print(f"\n{format_table(self._rows)}")
        print(f"camera at {rate_hz:.1f} Hz; overlays in {self._folder}", flush=True)
        self.done = 0

    def _prompt(self) -> None:
        print("> ", end="", flush=True)

    def _read_terminal(self) -> None:
        for line in sys.stdin:
            self._typed.append(line.strip())


def describe_entries(result: SegmentationArray) -> list[str]:
    """Describe each entry in a line: ``pick: the orange mug  FOUND 0.51 m``.

    What the entries do not say, such as why a word is not known, follows from the result's text.
    """
    lines = []
    for entry in result.segmentations:
        role = f"{entry.role}: " if entry.role else ""
        distance_m = camera_distance_m(entry, result.header.frame_id)
        distance = "" if distance_m is None else f" {distance_m:.2f} m"
        lines.append(f"{role}{entry.expression}  {_ENTRY_STATUS[entry.status]}{distance}")
    notes = result.text.split("; ")[1:]
    return [*lines, *(f"  {note}" for note in notes)]


def arguments_parser() -> argparse.ArgumentParser:
    """Create the command line parser."""
    parser = commander_parser("send commands to the mllmseg node", "folder for the overlays")
    parser.add_argument("--live", action="store_true", help="take commands from the terminal")
    parser.add_argument("--page", default="", help="address of the web console, to be shown")
    parser.add_argument(
        "--keep",
        choices=("true", "false"),
        default="false",
        help="true: keep the last command active at the end",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed for the choice of commands"
    )
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the commander; return 0 if every command got a result."""
    return run_commander(
        lambda arguments: SegmentCommander(
            arguments.out,
            arguments.live,
            arguments.seed,
            arguments.keep == "true",
            arguments.page,
        ),
        arguments_parser(),
        args,
    )
