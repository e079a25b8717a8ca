# SPDX-License-Identifier: Apache-2.0
"""Where a service or action waits for what another thread hands it, while the executor goes on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from rclpy.task import Future

__all__ = ["Inbox"]

T = TypeVar("T")


class Inbox(Generic[T]):
    """A queue that a coroutine of rclpy's executor can wait at."""

    def __init__(self, wake: Callable[[], None], room: int = 8) -> None:
        """Make an empty one.

        Args:
            wake: makes the executor look at its coroutines again.
            room: how many items may wait; the oldest goes.
        """
        self._wake = wake
        self._lock = threading.Lock()
        self._items: deque[T] = deque(maxlen=room)
        self._filled: Future = Future()

    def put(self, item: T) -> None:
        """Hand an item over, from any thread."""
        with self._lock:
            self._items.append(item)
            if not self._filled.done():
                self._filled.set_result(None)
        self._wake()

    async def take(self) -> T:
        """Wait for the next item."""
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                if self._filled.done():
                    self._filled = Future()
                filled = self._filled
            await filled
