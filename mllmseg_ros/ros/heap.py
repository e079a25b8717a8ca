# SPDX-License-Identifier: Apache-2.0
"""Keep the process's memory together over weeks. Entry point: :func:`limit_arenas`.

glibc gives threads heaps of their own, up to eight for each core; images that come and go in all of
them leave holes that add up (measured by benchmarks/soak.py). Two heaps hold them as well: threads
here mostly wait for each other, or for the model, whose kernels allocate nothing.
"""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 2


def limit_arenas() -> None:
    """Share two heaps from now on; does nothing with another C library, or where the user chose."""
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
