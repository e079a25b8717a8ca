# SPDX-License-Identifier: Apache-2.0
"""A thread that survives every exception of its work.

A thread that has died leaves a node that says "active" and does nothing. Libraries raise more than
:class:`Exception`: a panic of Rust code, in the tokenizers library for one, is a
:class:`BaseException`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

__all__ = ["WorkerThread"]

_PAUSE_S = 0.1  # before a loop that has raised begins again, which it may do at once


class WorkerThread:
    """Runs a loop until it returns, and restarts it if it raises."""

    def __init__(
        self, name: str, loop: Callable[[], None], report: Callable[[str, BaseException], None]
    ) -> None:
        """Set up.

        Args:
            name: of the thread.
            loop: returns when the thread is to end. Begins again at any point of its work, so what
                it has begun and not finished must be found again, or be given up.
            report: called from the thread with what has failed, and how.
        """
        self._name, self._loop, self._report = name, loop, report
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the loop has returned, if the thread was started."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                return self._loop()
            except BaseException as error:  # nothing may end the thread
                with suppress(BaseException):
                    self._report(f"thread {self._name}", error)
            time.sleep(_PAUSE_S)
