# SPDX-License-Identifier: Apache-2.0
"""A slot for one item, the newest image of a camera."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["FrameSlot"]

T = TypeVar("T")


@dataclass(frozen=True)
class Arrival(Generic[T]):
    """An item with its place in the order of arrival."""

    number: int  # counts up from 1 and is never used twice, over `clear` too
    item: T


class FrameSlot(Generic[T]):
    """Holds the newest item and counts those that were replaced before anybody read them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: Arrival[T] | None = None
        self._read = True
        self._count = 0
        self._dropped = 0

    @property
    def received(self) -> int:
        """Number of items put in so far."""
        return self._count

    @property
    def dropped(self) -> int:
        """Number of items that were replaced unread."""
        return self._dropped

    def put(self, item: T) -> None:
        """Replace what is in the slot."""
        with self._lock:
            self._dropped += not self._read
            self._count += 1
            self._newest = Arrival(self._count, item)
            self._read = False

    def peek(self) -> Arrival[T] | None:
        """The newest item, which stays; it does not count as read."""
        with self._lock:
            return self._newest

    def mark_read(self, number: int) -> None:
        """Note that the item of this number was put to use."""
        with self._lock:
            self._read = self._read or (self._newest is not None and self._newest.number == number)

    def discard(self, number: int) -> None:
        """Forget the item of this number, if it is still the newest."""
        with self._lock:
            if self._newest is not None and self._newest.number == number:
                self._newest, self._read = None, True

    def clear(self) -> None:
        """Forget the newest item."""
        with self._lock:
            self._newest, self._read = None, True
