# SPDX-License-Identifier: Apache-2.0
"""Find the message that belongs to an image: by its stamp, from a short history.

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
        self._wanted_ns, self._tolerance_ns = -1, 0
        self._kept: tuple[int, T] | None = None  # stamp and item nearest to the wanted stamp

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def put(self, stamp_ns: int, item: T) -> None:
        """Add an item; the oldest goes when there are too many."""
        with self._changed:
            self._items[stamp_ns] = item
            if len(self._items) > self._capacity:
                self._items.popitem(last=False)
            self._consider(stamp_ns, item)
            self._changed.notify_all()

    def at(self, stamp_ns: int) -> T | None:
        """The item of this stamp, if it is still in the history."""
        with self._changed:
            return self._items.get(stamp_ns)

    def keep(self, stamp_ns: int, tolerance_ns: int = 0) -> None:
        """Hold on to the item nearest to this stamp, there or yet to come, until the next call.

        Args:
            stamp_ns: of the image.
            tolerance_ns: how far from it an item's stamp may be.
        """
        with self._changed:
            self._wanted_ns, self._tolerance_ns, self._kept = stamp_ns, tolerance_ns, None
            for each_ns, item in self._items.items():
                self._consider(each_ns, item)

    def kept(self, stamp_ns: int, timeout_s: float) -> T | None:
        """The item asked for; waits for it where such items are arriving but this one is late.

        None where it did not come, or another stamp was asked for in the meantime.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._on_its_way(), timeout_s)
            return self._kept[1] if self._kept and self._wanted_ns == stamp_ns else None

    def clear(self) -> None:
        """Forget all."""
        with self._changed:
            self._items.clear()
            self._wanted_ns, self._kept = -1, None

    def _consider(self, stamp_ns: int, item: T) -> None:
        off_ns = abs(stamp_ns - self._wanted_ns)
        if self._wanted_ns < 0 or off_ns > self._tolerance_ns:
            return
        if self._kept is None or off_ns <= abs(self._kept[0] - self._wanted_ns):
            self._kept = (stamp_ns, item)

    def _on_its_way(self) -> bool:
        """Whether a nearer item than the one there may still come."""
        newest_ns = max(self._items, default=-_ALIVE_NS)
        return self._wanted_ns - _ALIVE_NS <= newest_ns < self._wanted_ns
