# SPDX-License-Identifier: Apache-2.0
"""Find ports of shared memory to which this process writes although nobody reads them.

A subscriber that was killed at an unlucky instant leaves a port that Fast DDS (2.14 and 3.2) takes
for healthy for ever. The next process on this computer gets the number and replaces the port, but
every process that had it open writes to the old one, so that the new process receives nothing from
them. The mapping of a replaced file is marked in ``/proc/self/maps`` (proc(5)).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

__all__ = ["LostPorts"]

_CHECK_S = 10.0  # healthy ports are replaced, too, but released at the next message
_REPLACED = re.compile(r"/fast(?:rtps|dds)_port(\d+) \(deleted\)$", re.MULTILINE)


class LostPorts:
    """The lost ports of this process. For one thread."""

    def __init__(self) -> None:
        self._replaced: frozenset[int] = frozenset()
        self._lost: list[int] = []
        self._checked_s = -_CHECK_S

    def find(self, now_s: float | None = None) -> list[int]:
        """Return the numbers of the ports that were replaced at least ten seconds ago.

        Args:
            now_s: s, of a clock that never goes back; ``time.monotonic()`` by default.
        """
        now_s = time.monotonic() if now_s is None else now_s
        if now_s - self._checked_s >= _CHECK_S:
            replaced = _find_replaced()
            self._lost = sorted(self._replaced & replaced)
            self._replaced, self._checked_s = replaced, now_s
        return self._lost


def _find_replaced() -> frozenset[int]:
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return frozenset()
    return frozenset(map(int, _REPLACED.findall(maps)))
