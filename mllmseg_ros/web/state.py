# SPDX-License-Identifier: Apache-2.0
"""What the console shows: frozen values, and how the page gets them as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Explanation", "Health", "Picture", "Presence", "Setting", "hit"]

SettingValue = bool | float | int | str
_NEAR_PX = 8  # a click that far off a box still means it: fingers are wide


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a camera, with the answers drawn in or without."""

    stamp_ns: int
    encode: Callable[[], bytes]  # JPEG; called from a thread of its own, may raise ValueError
    is_overlay: bool
    age_ms: float  # of the image when it came here


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that was asked for, as answered."""

    expression: str
    role: str  # "" without one
    status: str  # found, no_target or low_confidence
    score: float  # 0 to 1; NaN where the model cannot reject
    mask_score: float  # 0 to 1
    track_id: str  # "" where it is not tracked
    color_rgb: tuple[int, int, int]  # in the overlay
    box_xyxy: tuple[int, int, int, int] | None  # px, half-open
    mask: NDArray[np.bool_] | None  # (h, w) within the box
    area_px: int
    position_m: tuple[float, float, float] | None
    frame_id: str  # of the position
    distance_m: float | None  # from the camera
    age_s: float  # since the model looked at it; 0 where it did on this image

    def to_json(self) -> dict[str, Any]:
        """Everything but the mask."""
        return {
            "expression": self.expression,
            "role": self.role,
            "status": self.status,
            "score": _number(self.score),
            "mask_score": _number(self.mask_score),
            "track_id": self.track_id,
            "color": "#{:02x}{:02x}{:02x}".format(*self.color_rgb),
            "box": self.box_xyxy,
            "area_px": self.area_px,
            "position_m": self.position_m,
            "distance_m": self.distance_m,
            "frame_id": self.frame_id,
            "age_s": self.age_s,
        }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the segmenter says to a command, on one image or on none."""

    camera: str
    stamp_ns: int  # of the image, 0 without one
    size_hw: tuple[int, int]  # px, of the image
    request_id: str
    command: str
    status: str  # ok, partial, no_target, low_confidence, stale_input, superseded, stopped, error
    text: str
    model: str
    latency_ms: float
    entries: Sequence[Entry]

    @property
    def has_image(self) -> bool:
        """Whether somebody looked."""
        return self.size_hw[0] > 0

    def to_json(self) -> dict[str, Any]:
        """For the page; the stamp as text, JavaScript's numbers are too short for it."""
        return {
            "camera": self.camera,
            "stamp_ns": str(self.stamp_ns),
            "size_hw": self.size_hw,
            "request_id": self.request_id,
            "command": self.command,
            "status": self.status,
            "text": self.text,
            "model": self.model,
            "latency_ms": self.latency_ms,
            "entries": [each.to_json() for each in self.entries],
        }


@dataclass(frozen=True, kw_only=True)
class Health:
    """One status of the node's diagnostics."""

    name: str
    level: str  # ok, warn, error or stale
    message: str
    values: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A parameter of the segmenter that may change while it runs."""

    name: str
    description: str
    value: SettingValue
    choices: Sequence[str] = ()  # of a text
    range: tuple[float, float] | None = None  # of a number


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What is there of the robot's software."""

    node: str  # fully qualified name of the segmenter
    is_there: bool
    explains: bool  # its service `explain` is there
    hears: bool  # somebody listens to `audio`


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why the segmenter answers as it does."""

    text: str
    png: bytes  # b"" without a panel


def hit(answer: Answer, u: float, v: float) -> int | None:
    """Which entry a click at pixel (u, v) means.

    The smallest mask that holds the pixel; without one, the smallest box that does or nearly does.
    """
    masked, boxed = [], []
    for index, entry in enumerate(answer.entries):
        if entry.box_xyxy is None:
            continue
        x0, y0, x1, y1 = entry.box_xyxy
        x, y = math.floor(u + 0.5), math.floor(v + 0.5)  # pixel centres lie at integers
        size = ((x1 - x0) * (y1 - y0), index)
        if x0 <= x < x1 and y0 <= y < y1 and entry.mask is not None and entry.mask[y - y0, x - x0]:
            masked.append((entry.area_px, index))
        elif x0 - _NEAR_PX <= x < x1 + _NEAR_PX and y0 - _NEAR_PX <= y < y1 + _NEAR_PX:
            boxed.append(size)
    best = min(masked, default=None) or min(boxed, default=None)
    return best[1] if best else None


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
