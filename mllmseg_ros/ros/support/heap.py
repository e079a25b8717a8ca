# SPDX-License-Identifier: Apache-2.0
"""Limit heap fragmentation in a process that runs for weeks.

glibc creates up to eight heaps (arenas) per core and keeps freed memory in them, so that images
leave holes that add up (measured by benchmarks/soak.py). Two heaps are enough, because the threads
mostly wait for each other or for the model, whose kernels allocate nothing; free pages are returned
to the system periodically.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["limit_arenas", "trim"]

TRIM_PERIOD_S = 60.0  # takes some milliseconds
_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 2


def limit_arenas() -> None:
    """Use two heaps; does nothing with another C library or if MALLOC_ARENA_MAX is set."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, _ARENAS)


def trim() -> None:
    """Return free pages of the heaps to the system; does nothing with another C library."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
