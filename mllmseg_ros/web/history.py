# SPDX-License-Identifier: Apache-2.0
"""The console's history: recent commands with their results and images."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from typing import Any

from mllmseg_ros.web.state import ConsoleImage, ConsoleResult

__all__ = ["History"]

_MAX_ENTRIES = 24


@dataclasses.dataclass(kw_only=True)
class HistoryEntry:
    """A command with its first result."""

    number: int
    time_s: float  # Unix
    result: ConsoleResult
    jpeg: bytes = b""  # b"" before its overlay has arrived

    def to_json(self) -> dict[str, Any]:
        """Convert for the page."""
        return {
            "number": self.number,
            "time_s": self.time_s,
            "camera": self.result.camera,
            "command": self.result.command,
            "status": self.result.status,
            "text": self.result.text,
            "has_picture": bool(self.jpeg),
        }


class History:
    """The most recent commands, each with the overlay of its first result."""

    def __init__(self) -> None:
        self._entries: deque[HistoryEntry] = deque(maxlen=_MAX_ENTRIES)
        self._n_entries = 0  # since the start
        self._without_image: dict[str, HistoryEntry] = {}  # by camera: its overlay is expected

    def contains(self, result: ConsoleResult) -> bool:
        """Whether the request of a result is in the history."""
        key = (result.camera, result.request_id)
        return any((each.result.camera, each.result.request_id) == key for each in self._entries)

    def add(self, result: ConsoleResult) -> None:
        """Add the first result of a request."""
        self._n_entries += 1
        entry = HistoryEntry(number=self._n_entries, time_s=time.time(), result=result)
        self._entries.append(entry)
        if result.entries:
            self._without_image[result.camera] = entry

    def expects_image(self, camera: str) -> bool:
        """Whether the newest entry of a camera has no image yet."""
        return camera in self._without_image

    def add_image(self, camera: str, image: ConsoleImage, jpeg: bytes) -> bool:
        """Add an overlay to the entry that expects it; returns whether there was one."""
        entry = self._without_image.get(camera)
        if entry is None or not image.is_overlay or image.stamp_ns < entry.result.stamp_ns:
            return False
        entry.jpeg = jpeg
        del self._without_image[camera]
        return True

    def find_jpeg(self, number: int) -> bytes | None:
        """Find the image of an entry."""
        for entry in self._entries:
            if entry.number == number and entry.jpeg:
                return entry.jpeg
        return None

    def to_json(self) -> list[dict[str, Any]]:
        """Convert for the page, newest first."""
        return [entry.to_json() for entry in reversed(self._entries)]
