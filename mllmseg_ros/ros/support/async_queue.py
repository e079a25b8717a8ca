# SPDX-License-Identifier: Apache-2.0
"""Pass items from any thread to a coroutine that rclpy's executor runs."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Protocol, TypeVar

from rclpy.task import Future

__all__ = ["AsyncQueue"]

T = TypeVar("T")


class Trigger(Protocol):
    """rclpy's guard condition."""

    def trigger(self) -> None:
        """Make the executor resume its coroutines."""


class AsyncQueue(Generic[T]):
    """A queue that a coroutine of rclpy's executor can await."""

    def __init__(self, guard: Trigger, capacity: int = 8) -> None:
        """Make an empty one.

        Args:
            guard: of the coroutine's executor.
            capacity: number of items that may wait; the oldest is dropped.
        """
        self._guard = guard
        self._lock = threading.Lock()
        self._items: deque[T] = deque(maxlen=capacity)
        self._filled: Future = Future()

    def put(self, item: T) -> None:
        """Hand an item over, from any thread."""
        with self._lock:
            self._items.append(item)
            if not self._filled.done():
                self._filled.set_result(None)
        self._guard.trigger()

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
