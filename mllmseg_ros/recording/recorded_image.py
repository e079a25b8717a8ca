# SPDX-License-Identifier: Apache-2.0
"""An undecoded recorded image, and the interface of all recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth

BAG_SUFFIXES = (".mcap", ".db3")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".heic", ".heif")


@dataclass(frozen=True, kw_only=True)
class RecordedImage:
    """One image of a recording, decoded on demand."""

    camera: str  # topic of the image, without the transport's suffix
    stamp_ns: int  # of the image
    frame_id: str  # optical frame of the camera
    recorded_ns: int  # when it was recorded
    decode: Callable[[], Frame]  # ValueError if the image is malformed
    find_depth: Callable[[Frame], Depth | None]  # ValueError that says why there is none
    # File contents and ".jpg" or ".png", if the image is stored in that format.
    encoded: tuple[bytes, str] | None = None


class ImageSource(Protocol):
    """A recording that yields images."""

    path: Path

    def images(self, every: int) -> Iterator[RecordedImage]:
        """Yield every n-th image of each camera, in the order recorded, beginning with the first.

        An image can be decoded until the next one is taken.
        """

    def expect_images(self, every: int) -> int:
        """How many images :meth:`images` will yield, as the recording says; 0 if it does not."""

    def identity(self) -> dict[str, object]:
        """Get what distinguishes this recording from others, ready for JSON."""


def no_depth(frame: Frame) -> Depth | None:
    """Find no depth, for recordings without any."""
    return None
