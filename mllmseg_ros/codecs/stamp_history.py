# SPDX-License-Identifier: Apache-2.0
"""Find the message that belongs to an image: by its stamp, from a short history.

Knows nothing of what it stores.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["StampHistory", "StampMatch"]

T = TypeVar("T")

_ALIVE_NS = 1_000_000_000  # a topic that was silent for longer is not waited for


class StampHistory(Generic[T]):
    """The newest few items by stamp, and those that somebody slow has asked to keep."""

    def __init__(self, capacity: int = 8) -> None:
        self._changed = threading.Condition()
        self._capacity = capacity
        self._items: OrderedDict[int, T] = OrderedDict()
        self._kept: weakref.WeakSet[StampMatch[T]] = weakref.WeakSet()

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def put(self, stamp_ns: int, item: T) -> None:
        """Add an item; the oldest goes when there are too many."""
        with self._changed:
            self._items[stamp_ns] = item
            if len(self._items) > self._capacity:
                self._items.popitem(last=False)
            for kept in self._kept:
                kept.consider(stamp_ns, item)
            self._changed.notify_all()

    def at(self, stamp_ns: int) -> T | None:
        """The item of this stamp, if it is still in the history."""
        with self._changed:
            return self._items.get(stamp_ns)

    def keep(self, stamp_ns: int, tolerance_ns: int = 0) -> StampMatch[T]:
        """Hold on to the item nearest to this stamp, there or yet to come.

        Args:
            stamp_ns: of the image.
            tolerance_ns: how far from it an item's stamp may be.

        Returns:
            What to ask for it; whoever holds that holds the item.
        """
        kept: StampMatch[T] = StampMatch(stamp_ns, tolerance_ns)
        with self._changed:
            for each_ns, item in self._items.items():
                kept.consider(each_ns, item)
            self._kept.add(kept)
        return kept

    def wait_for(self, kept: StampMatch[T], timeout_s: float) -> T | None:
        """The item kept; waits for it where such items are arriving but this one is late."""
        with self._changed:
            self._changed.wait_for(lambda: not self._on_its_way(kept.stamp_ns), timeout_s)
            return kept.item

    def clear(self) -> None:
        """Forget all but what is kept."""
        with self._changed:
            self._items.clear()

    def _on_its_way(self, stamp_ns: int) -> bool:
        """Whether a nearer item than the one there may still come."""
        newest_ns = max(self._items, default=-_ALIVE_NS)
        return stamp_ns - _ALIVE_NS <= newest_ns < stamp_ns


class StampMatch(Generic[T]):
    """The item nearest to a stamp, held on to until this is forgotten."""

    def __init__(self, stamp_ns: int, tolerance_ns: int) -> None:
        self.stamp_ns, self._tolerance_ns = stamp_ns, tolerance_ns
        self._off_ns = 0
        self.item: T | None = None

    def consider(self, stamp_ns: int, item: T) -> None:
        """Take this item if it is nearer than the one there."""
        off_ns = abs(stamp_ns - self.stamp_ns)
        if off_ns <= self._tolerance_ns and (self.item is None or off_ns <= self._off_ns):
            self._off_ns, self.item = off_ns, item
