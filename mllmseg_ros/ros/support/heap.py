# SPDX-License-Identifier: Apache-2.0
"""Keep the process's memory together over weeks.

glibc gives threads heaps of their own, up to eight for each core, and keeps what is freed in them:
images that come and go leave holes that add up (measured by benchmarks/soak.py). Two heaps hold
them as well, since threads here mostly wait for each other or for the model, whose kernels allocate
nothing; and now and then the holes are given back.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["limit_arenas", "trim"]

TRIM_PERIOD_S = 60.0  # takes some milliseconds
_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 2


def limit_arenas() -> None:
    """Share two heaps from now on; does nothing with another C library, or where the user chose."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, _ARENAS)


def trim() -> None:
    """Give free pages of the heaps back to the system; does nothing with another C library."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
