# SPDX-License-Identifier: Apache-2.0
"""Find the message that belongs to an image: same stamp, from a short history.

Knows nothing of what it stores. Entry point: :class:`StampHistory`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

_ALIVE_NS = 1_000_000_000  # a topic that was silent for longer is not waited for


class StampHistory(Generic[T]):
    """The newest few items by stamp, and the one a slow reader has asked to keep."""

    def __init__(self, capacity: int = 8) -> None:
        self._changed = threading.Condition()
        self._capacity = capacity
        self._items: OrderedDict[int, T] = OrderedDict()
        self._kept: tuple[int, T | None] = (-1, None)

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def put(self, stamp_ns: int, item: T) -> None:
        """Add an item; the oldest goes when there are too many."""
        with self._changed:
            self._items[stamp_ns] = item
            if len(self._items) > self._capacity:
                self._items.popitem(last=False)
            if stamp_ns == self._kept[0]:
                self._kept = (stamp_ns, item)
            self._changed.notify_all()

    def at(self, stamp_ns: int) -> T | None:
        """The item of this stamp, if it is still in the history."""
        with self._changed:
            return self._items.get(stamp_ns)

    def keep(self, stamp_ns: int) -> None:
        """Hold on to the item of this stamp, there or yet to come, until the next call."""
        with self._changed:
            self._kept = (stamp_ns, self._items.get(stamp_ns))

    def kept(self, stamp_ns: int, timeout_s: float) -> T | None:
        """The item asked for; waits for it where such items are arriving but this one is late.

        None where it did not come, or another stamp was asked for in the meantime.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._on_its_way(), timeout_s)
            return self._kept[1] if self._kept[0] == stamp_ns else None

    def clear(self) -> None:
        """Forget all."""
        with self._changed:
            self._items.clear()
            self._kept = (-1, None)

    def _on_its_way(self) -> bool:
        stamp_ns, item = self._kept
        newest_ns = max(self._items, default=-_ALIVE_NS)
        return item is None and stamp_ns - _ALIVE_NS <= newest_ns < stamp_ns
