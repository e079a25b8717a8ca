# SPDX-License-Identifier: Apache-2.0
"""One recorded image, undecoded, and what every recording can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth

BAG_SUFFIXES = (".mcap", ".db3")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One recorded image."""

    camera: str  # topic of the image, without the transport's suffix
    stamp_ns: int  # ns, of the image
    frame_id: str  # the camera's optical frame
    recorded_ns: int  # ns, when it was recorded
    frame: Callable[[], Frame]  # decodes it; ValueError where it is malformed
    depth_of: Callable[[Frame], Depth | None]  # ValueError saying why there is none
    encoded: tuple[bytes, str] | None = None  # as stored, with ".jpg" or ".png", where it is that


class Source(Protocol):
    """A recording."""

    path: Path

    def pictures(self, every: int) -> Iterator[Picture]:
        """Every so manieth image of each camera, in the order recorded, from the first on."""

    def identity(self) -> dict[str, object]:
        """Tell this recording from another; ready for JSON."""


def no_depth(frame: Frame) -> Depth | None:
    """What a picture without depth says of it."""
    return None
