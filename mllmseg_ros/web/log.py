# SPDX-License-Identifier: Apache-2.0
"""The log of a web server: short lines at a limited rate."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mllmseg_ros.error_text import escape_invisible, one_line

__all__ = ["LOG", "limited_log", "print_line"]

LOG = logging.getLogger("mllmseg_ros.web")
LINES_PER_PERIOD = 10  # of each kind; how many more there were is said with the next one
PERIOD_S = 10.0
MAX_LINE_CHARS = 300
_LOGGERS = (LOG.name, "mllmseg_ros.agent", "aiohttp", "asyncio", "mcp")


def print_line(line: str) -> None:
    """Write a line to the standard error stream."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def limited_log(write: Callable[[str], object]) -> Iterator[None]:
    """Send the log of this package's servers and their libraries to a function, at a limited rate.

    Args:
        write: called with one line, in any thread.
    """
    handler = _LimitedHandler(write)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [each.propagate for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.propagate = False
    try:
        yield
    finally:
        for each, propagate in zip(loggers, before, strict=True):
            each.removeHandler(handler)
            each.propagate = propagate


@dataclass
class _Period:
    """How much was logged of one kind."""

    start_s: float  # monotonic
    n_lines: int = 0
    n_left_out: int = 0


class _LimitedHandler(logging.Handler):
    """Writes records as lines without tracebacks. A kind is the line of code that logs."""

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._write = write
        self._period_lock = threading.Lock()
        self._periods: dict[tuple[str, int], _Period] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless there were too many of its kind."""
        with self._period_lock:
            n_left_out = self._admit((record.pathname, record.lineno))
        if n_left_out is None:
            return
        line = " ".join(escape_invisible(record.getMessage()).split())[:MAX_LINE_CHARS]
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line = f"{line}: {one_line(error, max_chars=MAX_LINE_CHARS)}"
        if n_left_out:
            line = f"{line} (and {n_left_out} like it before)"
        self._write(line)

    def _admit(self, kind: tuple[str, int]) -> int | None:
        """Count a record; returns how many were left out before it, None if it is left out too."""
        now_s = time.monotonic()
        period = self._periods.setdefault(kind, _Period(now_s))
        if now_s >= period.start_s + PERIOD_S:
            period.start_s, period.n_lines = now_s, 0
        if period.n_lines >= LINES_PER_PERIOD:
            period.n_left_out += 1
            return None
        period.n_lines += 1
        n_left_out, period.n_left_out = period.n_left_out, 0
        return n_left_out
