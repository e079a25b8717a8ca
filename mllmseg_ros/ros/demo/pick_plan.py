# SPDX-License-Identifier: Apache-2.0
"""What the demo asks of the robot, how it judges what happened, and how it shows that.

Knows nothing of ROS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.sim.pick_scenes import GRASPABLE

__all__ = ["WorldTruth", "contact_sheet", "judge", "plan_tasks", "table"]

_PANEL_HW, _CAPTION_PX = (300, 400), 24


@dataclass(frozen=True, kw_only=True)
class PickTask:
    """A command, and what the world must look like after it."""

    text: str
    target: int | None  # instance id of what must be lifted; None: nothing may move
    into_bowl: bool = False


@dataclass(frozen=True, kw_only=True)
class WorldTruth:
    """What the simulated robot says; instance ids are places in ``names``, from 1."""

    names: Sequence[str]
    lifted: Sequence[int]
    held: Sequence[int]
    in_bowl: Sequence[int]
    away: bool  # the gripper is not at home
    done: bool  # the gripper has come to the end of its way

    @staticmethod
    def from_json(text: str) -> WorldTruth:
        """Read what ``truth/grasp`` says."""
        return WorldTruth(**json.loads(text))


def plan_tasks(names: Sequence[str]) -> list[PickTask]:
    """Choose the demo's tasks in a world of these objects ("red mug"); the absent one comes first.

    Raises:
        ValueError: if no red mug or no red cube is there.
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
    """Say how a task stands: "right", what is wrong, or None while it may still become right."""
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
    """Put pictures (H, W, 3) RGB with their captions side by side, three a row."""
    height, width = _PANEL_HW
    tiles = []
    for caption, rgb in panels.items():
        tile = np.full((height + _CAPTION_PX, width, 3), 30, np.uint8)
        if rgb is not None:
            tile[_CAPTION_PX:] = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        where, font = (8, _CAPTION_PX - 7), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(tile, caption, where, font, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        tiles.append(tile)
    while len(tiles) % 3:
        tiles.append(np.zeros_like(tiles[0]))
    return np.vstack([np.hstack(tiles[k : k + 3]) for k in range(0, len(tiles), 3)])


def table(rows: Sequence[tuple[PickTask, str, str, float]]) -> str:
    """Write tasks with the node's answer, the outcome and the seconds as a table for a terminal."""
    lines = [f"{'command':<40} {'expected':<16} {'answer':<15} {'outcome':<28} {'time':>7}"]
    for task, answer, outcome, seconds in rows:
        expected = (
            "no motion" if task.target is None else "in the bowl" if task.into_bowl else "lifted"
        )
        lines.append(f"{task.text:<40} {expected:<16} {answer:<15} {outcome:<28} {seconds:5.1f} s")
    return "\n".join(lines)
