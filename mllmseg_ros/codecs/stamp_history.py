# SPDX-License-Identifier: Apache-2.0
"""Match messages by stamp in a short history.

Knows nothing of the items that it stores.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict, deque
from typing import Generic, TypeVar

__all__ = ["StampHistory", "StampMatch"]

T = TypeVar("T")

_COUNTED = 10  # newest stamps that items were looked for
_KEPT_STAMPS = 64  # of items: those of slower topics, too, are as old as the stamps above
_TIMEOUT_NS = 1_000_000_000  # a topic that was silent for longer is not waited for


class StampHistory(Generic[T]):
    """The newest items by stamp, and those matched to a stamp that is still in use."""

    def __init__(self, capacity: int = 8) -> None:
        self._changed = threading.Condition()
        self._capacity = capacity
        self._items: OrderedDict[int, T] = OrderedDict()
        self._matches: weakref.WeakSet[StampMatch[T]] = weakref.WeakSet()
        self._stamps: deque[int] = deque(maxlen=_KEPT_STAMPS)
        self._wanted: deque[tuple[int, int]] = deque(maxlen=_COUNTED)  # stamp and tolerance

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def put(self, stamp_ns: int, item: T) -> None:
        """Add an item; drops the oldest if there are too many."""
        with self._changed:
            self._items[stamp_ns] = item
            self._stamps.append(stamp_ns)
            if len(self._items) > self._capacity:
                self._items.popitem(last=False)
            for match in self._matches:
                match.consider(stamp_ns, item)
            self._changed.notify_all()

    def get(self, stamp_ns: int) -> T | None:
        """Return the item with this stamp, if it is still in the history."""
        with self._changed:
            return self._items.get(stamp_ns)

    def nearest_distance(self, stamp_ns: int) -> int | None:
        """Difference (ns) from this stamp to the nearest in the history; None if it is empty."""
        with self._changed:
            return min((abs(each - stamp_ns) for each in self._items), default=None)

    def count_matched(self, newest_ns: int) -> tuple[int, int]:
        """Count for how many of the last stamps an item has come.

        Args:
            newest_ns: the newest stamp to count; items of later ones may still be on their way.

        Returns:
            How many have an item, and how many they are, up to 10.
        """
        with self._changed:
            wanted = [each for each in self._wanted if each[0] <= newest_ns]
            n_matched = sum(
                any(abs(each - stamp_ns) <= tolerance_ns for each in self._stamps)
                for stamp_ns, tolerance_ns in wanted
            )
        return n_matched, len(wanted)

    def match(self, stamp_ns: int, tolerance_ns: int = 0) -> StampMatch[T]:
        """Match the item nearest to this stamp, among those added before or after.

        Args:
            stamp_ns: of the image.
            tolerance_ns: maximum difference of an item's stamp.

        Returns:
            The match, which keeps its item as long as it is referenced.
        """
        match: StampMatch[T] = StampMatch(stamp_ns, tolerance_ns)
        with self._changed:
            for item_ns, item in self._items.items():
                match.consider(item_ns, item)
            self._matches.add(match)
            self._wanted.append((stamp_ns, tolerance_ns))
        return match

    def wait_for(self, match: StampMatch[T], timeout_s: float) -> T | None:
        """Return the matched item; waits if items are arriving and a nearer one may follow."""
        with self._changed:
            self._changed.wait_for(lambda: not self._may_arrive(match.stamp_ns), timeout_s)
            return match.item

    def clear(self) -> None:
        """Drop all items but matched ones."""
        with self._changed:
            self._items.clear()
            self._stamps.clear()
            self._wanted.clear()

    def _may_arrive(self, stamp_ns: int) -> bool:
        """Return whether a nearer item may still arrive."""
        newest_ns = max(self._items, default=-_TIMEOUT_NS)
        return stamp_ns - _TIMEOUT_NS <= newest_ns < stamp_ns


class StampMatch(Generic[T]):
    """The item nearest to a stamp."""

    def __init__(self, stamp_ns: int, tolerance_ns: int) -> None:
        self.stamp_ns, self.tolerance_ns = stamp_ns, tolerance_ns
        self._distance_ns = 0
        self.item: T | None = None

    def consider(self, stamp_ns: int, item: T) -> None:
        """Take this item if it is nearer than the current one."""
        distance_ns = abs(stamp_ns - self.stamp_ns)
        if distance_ns <= self.tolerance_ns and (
            self.item is None or distance_ns <= self._distance_ns
        ):
            self._distance_ns, self.item = distance_ns, item
