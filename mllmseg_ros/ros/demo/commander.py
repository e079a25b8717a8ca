# SPDX-License-Identifier: Apache-2.0
"""Send the commands of a plan to the segmenter one by one and judge each by the simulator's truth.

:class:`Commander` is what the commanders of both demos share; they add the plan, the judgement and
the report.
"""

from __future__ import annotations

import argparse
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import String

from mllmseg_ros.codecs.stamp_history import StampHistory
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.ros.support.spin import run

__all__ = ["Commander", "commander_parser", "run_commander"]

_STEP_S = 0.05
_START_TIMEOUT_S = 120.0  # loading a model takes its time on a busy machine
_MAX_UNCONFIRMED_S = 3.0  # for a result that further inferences are to confirm


class PlannedCommand(Protocol):
    """A command of a plan."""

    @property
    def text(self) -> str:
        """Text to publish on ``command``."""


Command = TypeVar("Command", bound=PlannedCommand)


class Commander(ABC, Node, Generic[Command]):
    """Sends the commands of a plan, each after the previous one is finished.

    Attributes:
        done: exit status once all commands are finished; None until then.
    """

    def __init__(self, name: str, folder: Path, n_images: int, timeout_s: float) -> None:
        """Create publishers and subscriptions.

        Args:
            name: name of the node.
            folder: existing folder for the images.
            n_images: number of camera images to keep.
            timeout_s: time for a command to be finished, s.
        """
        super().__init__(name)
        self.done: int | None = None
        self._folder, self._timeout_s = folder, timeout_s
        self._images: StampHistory[Image] = StampHistory(n_images)
        self._planned: deque[Command] | None = None  # None until the plan is made
        self._current: Command | None = None
        self._result: SegmentationArray | None = None  # of the current command
        self._result_s = 0.0  # monotonic time of its arrival
        self._n_written = 0
        self._sent_ns, self._sent_s = 0, 0.0
        self._deadline_s = time.monotonic() + _START_TIMEOUT_S
        self.create_subscription(Image, "image", self._on_image, 10)
        self._results = self.create_subscription(
            SegmentationArray, "segmentations", self._on_result, 100
        )
        self._commands = self.create_publisher(String, "command", 10)
        self.create_timer(_STEP_S, self._step)

    def stop(self) -> None:
        """End the command in force."""
        self._commands.publish(String(data="stop"))

    # What the two demos differ in

    @abstractmethod
    def _plan(self) -> Sequence[Command]:
        """Plan the commands; called once everything is ready."""

    @abstractmethod
    def _handle_result(self, command: Command, result: SegmentationArray) -> None:
        """Take the first result of the current command."""

    @abstractmethod
    def _follow(self, command: Command, now_s: float) -> None:
        """Check on the current command; it ends when ``_current`` is None."""

    @abstractmethod
    def _report(self) -> None:
        """Print the results of all commands and set ``done``."""

    def _is_ready(self) -> bool:
        """Return whether everything that the plan needs has started."""
        return bool(
            self._commands.get_subscription_count()
            and self.count_publishers(self._results.topic_name)
        )

    def _may_send(self, now_s: float) -> bool:
        """Return whether the next command can be sent."""
        return True

    def _is_finished(self) -> bool:
        """Return whether no more commands will come."""
        return not self._planned

    def _describe_start_failure(self) -> str:
        return f"camera or node did not start in {_START_TIMEOUT_S:.0f} s"

    # What they share

    def _on_image(self, message: Image) -> None:
        self._images.put(nanoseconds(message.header.stamp), message)

    def _on_result(self, message: SegmentationArray) -> None:
        command = self._current
        if command is None or self._result is not None:
            return
        if not command.text.startswith(message.command):  # a refused command may be cut
            return
        if nanoseconds(message.request_stamp) < self._sent_ns:
            return  # of the same command, sent earlier
        if message.status == SegmentationArray.STATUS_STALE_INPUT:
            return  # an image will come
        is_unconfirmed = any(entry.unconfirmed for entry in message.segmentations)
        if is_unconfirmed and time.monotonic() < self._sent_s + _MAX_UNCONFIRMED_S:
            return  # the next inference decides
        self._result, self._result_s = message, time.monotonic()
        self._handle_result(command, message)

    def _step(self) -> None:
        """Send the next command when its time has come, check on the current one, or give up."""
        now_s = time.monotonic()
        if self.done is not None:
            return
        if self._planned is None:
            if self._is_ready():
                self._planned = deque(self._plan())
            elif now_s > self._deadline_s:
                self._fail(self._describe_start_failure())
        elif self._current is not None:
            self._follow(self._current, now_s)
        elif self._may_send(now_s):
            if self._planned:
                self._send(self._planned.popleft())
            elif self._is_finished():
                self._report()

    def _send(self, command: Command) -> None:
        self._current, self._result = command, None
        self._sent_ns = self.get_clock().now().nanoseconds
        self._sent_s = time.monotonic()
        self._deadline_s = self._sent_s + self._timeout_s
        self._commands.publish(String(data=command.text))

    def _fail(self, reason: str) -> None:
        """End the demo with an error."""
        print(f"demo failed: {reason}", file=sys.stderr, flush=True)
        self._current = None
        self.done = 1

    def _next_path(self) -> Path:
        """Return the file of the next image: 01.png, 02.png and so on."""
        self._n_written += 1
        return self._folder / f"{self._n_written:02d}.png"


def commander_parser(description: str, out_help: str) -> argparse.ArgumentParser:
    """Create a command line parser with the option of both commanders."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("demo_overlays"), help=out_help)
    return parser


def run_commander(
    make_commander: Callable[[argparse.Namespace], Node],
    parser: argparse.ArgumentParser,
    args: list[str] | None,
) -> int:
    """Parse the command line, empty the image folder and run a commander; return its status."""
    arguments = parser.parse_args(remove_ros_args(args or sys.argv)[1:])
    arguments.out.mkdir(parents=True, exist_ok=True)
    for old in arguments.out.glob("[0-9][0-9].png"):  # of an earlier run
        old.unlink()
    return run(lambda: make_commander(arguments), args)
