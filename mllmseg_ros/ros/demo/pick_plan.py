# SPDX-License-Identifier: Apache-2.0
"""Plan the tasks of the pick demo, judge them and draw their images, without ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.files import parse_json
from mllmseg_ros.sim.pick_scenes import GRASPABLE

__all__ = ["PickTask", "WorldTruth", "contact_sheet", "format_table", "judge", "plan_tasks"]

_PANEL_HW, _CAPTION_PX = (300, 400), 24


@dataclass(frozen=True, kw_only=True)
class PickTask:
    """A command and the state of the world that it must lead to."""

    text: str
    target: int | None  # instance id of the object to lift; None: nothing may move
    into_bowl: bool = False


@dataclass(frozen=True, kw_only=True)
class WorldTruth:
    """State of the simulated world; instance ids are indices of ``names``, from 1."""

    names: Sequence[str]
    lifted: Sequence[int]
    held: Sequence[int]
    in_bowl: Sequence[int]
    away: bool  # the gripper is not at home
    done: bool  # the gripper has finished its trajectory

    @staticmethod
    def from_json(text: str) -> WorldTruth:
        """Read a message of ``truth/grasp``.

        Raises:
            ValueError: if it is not what the simulated gripper sends.
        """
        try:
            return WorldTruth(**parse_json(text, "truth/grasp"))
        except TypeError as error:
            raise ValueError(f"truth/grasp: {error}") from error


def plan_tasks(names: Sequence[str]) -> list[PickTask]:
    """Plan the tasks in a world of these objects ("red mug"); the absent object comes first.

    Raises:
        ValueError: if there is no red mug or no red cube.
    """
    colors = [name.split()[0] for name in names]
    absent = next(f"{c} {kind}" for c in colors for kind in GRASPABLE if f"{c} {kind}" not in names)
    mug, cube = (list(names).index(name) + 1 for name in ("red mug", "red cube"))
    return [
        PickTask(text=f"pick: the {absent}", target=None),
        PickTask(text="pick: the red mug", target=mug),
        PickTask(text="pick: the red cube; place: the bowl", target=cube, into_bowl=True),
    ]


def judge(task: PickTask, truth: WorldTruth) -> str | None:
    """Return the outcome of a task: "right", the error, or None while it is undecided."""
    wrong = [truth.names[each - 1] for each in truth.lifted if each != task.target]
    if wrong:
        return f"lifted the {', '.join(wrong)}"
    if task.target is None:
        return "moved" if truth.away else None
    if not truth.done or (not truth.away and not task.into_bowl):
        return None
    if task.into_bowl:
        return "right" if task.target in truth.in_bowl else None
    return "right" if task.target in truth.lifted and task.target in truth.held else None


def contact_sheet(panels: Mapping[str, NDArray[np.uint8] | None]) -> NDArray[np.uint8]:
    """Arrange images (H, W, 3) RGB with captions in rows of three."""
    height, width = _PANEL_HW
    tiles = []
    for caption, rgb in panels.items():
        tile = np.full((height + _CAPTION_PX, width, 3), 30, np.uint8)
        if rgb is not None:
            tile[_CAPTION_PX:] = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        origin, font = (8, _CAPTION_PX - 7), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(tile, caption, origin, font, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        tiles.append(tile)
    while len(tiles) % 3:
        tiles.append(np.zeros_like(tiles[0]))
    return np.vstack([np.hstack(tiles[k : k + 3]) for k in range(0, len(tiles), 3)])


def format_table(rows: Sequence[tuple[PickTask, str, str, float]]) -> str:
    """Format tasks with the result's status, the outcome and the seconds as a table."""
    lines = [f"{'command':<40} {'expected':<16} {'result':<15} {'outcome':<28} {'time':>7}"]
    for task, status, outcome, seconds in rows:
        expected = (
            "no motion" if task.target is None else "in the bowl" if task.into_bowl else "lifted"
        )
        lines.append(f"{task.text:<40} {expected:<16} {status:<15} {outcome:<28} {seconds:5.1f} s")
    return "\n".join(lines)
