# SPDX-License-Identifier: Apache-2.0
"""What the console shows, as immutable values that can be converted to JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ConsoleImage",
    "ConsoleResult",
    "Entry",
    "Explanation",
    "Health",
    "Presence",
    "Setting",
    "find_entry",
]

SettingValue = bool | float | int | str
_CLICK_MARGIN_PX = 8  # a click that close to a box still hits it


@dataclass(frozen=True, kw_only=True)
class ConsoleImage:
    """An image of a camera, with or without overlay."""

    stamp_ns: int
    encode: Callable[[], bytes]  # as JPEG; called in another thread, may raise ValueError
    is_overlay: bool
    age_ms: float  # of the image on arrival


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One instance of a result."""

    expression: str
    role: str  # "" without one
    status: str  # found, no_target or low_confidence
    score: float  # 0 to 1; NaN if the model cannot reject
    mask_score: float  # 0 to 1
    track_id: str  # "" if it is not tracked
    color_rgb: tuple[int, int, int]  # in the overlay
    box_xyxy: tuple[int, int, int, int] | None  # px, half-open
    mask: NDArray[np.bool_] | None  # (h, w) within the box
    area_px: int
    position_m: tuple[float, float, float] | None
    frame_id: str  # of the position
    distance_m: float | None  # from the camera
    age_s: float  # since the inference; 0 if that was on this image
    doubt: str = ""  # why it is not found, where the score does not say it

    def to_json(self) -> dict[str, Any]:
        """Convert everything but the mask."""
        return {
            "expression": self.expression,
            "role": self.role,
            "status": self.status,
            "score": _finite_or_none(self.score),
            "mask_score": _finite_or_none(self.mask_score),
            "track_id": self.track_id,
            "color": "#{:02x}{:02x}{:02x}".format(*self.color_rgb),
            "box": self.box_xyxy,
            "area_px": self.area_px,
            "position_m": self.position_m if _are_finite(self.position_m) else None,
            "distance_m": self.distance_m if _are_finite((self.distance_m,)) else None,
            "frame_id": self.frame_id,
            "age_s": self.age_s,
            "doubt": self.doubt,
        }


@dataclass(frozen=True, kw_only=True)
class ConsoleResult:
    """A result for a command, or its end without an image."""

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
        """Whether an image was segmented."""
        return self.size_hw[0] > 0

    def to_json(self) -> dict[str, Any]:
        """Convert for the page. The stamp is text, because it does not fit JavaScript's numbers."""
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
            "entries": [entry.to_json() for entry in self.entries],
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
    """A parameter of the segmenter that can be changed while it runs."""

    name: str
    description: str
    value: SettingValue
    choices: Sequence[str] = ()  # for a string
    range: tuple[float, float] | None = None  # for a number


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Which parts of the robot's software are running."""

    node: str  # fully qualified name of the segmenter
    is_there: bool
    explains: bool  # it offers the service `explain`
    hears: bool  # somebody subscribes to `audio`


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why the segmenter gives a result."""

    text: str
    png: bytes  # b"" without a panel


def find_entry(result: ConsoleResult, u: float, v: float) -> int | None:
    """Find the entry for a click at pixel (u, v).

    It is the one with the smallest mask that contains the pixel, or else with the smallest box that
    contains it or nearly does.
    """
    by_mask, by_box = [], []
    margin = _CLICK_MARGIN_PX
    for index, entry in enumerate(result.entries):
        if entry.box_xyxy is None:
            continue
        x0, y0, x1, y1 = entry.box_xyxy
        x, y = math.floor(u + 0.5), math.floor(v + 0.5)  # pixel centres lie at integers
        size = ((x1 - x0) * (y1 - y0), index)
        if x0 <= x < x1 and y0 <= y < y1 and entry.mask is not None and entry.mask[y - y0, x - x0]:
            by_mask.append((entry.area_px, index))
        elif x0 - margin <= x < x1 + margin and y0 - margin <= y < y1 + margin:
            by_box.append(size)
    best = min(by_mask, default=None) or min(by_box, default=None)
    return best[1] if best else None


def _are_finite(values: Sequence[float | None] | None) -> bool:
    return all(value is not None and math.isfinite(value) for value in values or (None,))


def _finite_or_none(value: float) -> float | None:
    """Replace NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None
