# SPDX-License-Identifier: Apache-2.0
"""Load another model in the background while the current one stays in use.

One at a time; a newer request replaces the one before it, whose loading is given up. Independent
of what a model is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.support.worker_thread import WorkerThread

__all__ = ["BackgroundLoader"]

S = TypeVar("S")  # what names a model
M = TypeVar("M")  # a model


class BackgroundLoader(Generic[S, M]):
    """A thread that exists while something is being loaded."""

    def __init__(
        self,
        load: Callable[[S, threading.Event], M],
        finish: Callable[[S, M | Exception], None],
        report: Callable[[str, BaseException], None],
    ) -> None:
        """Set up.

        Args:
            load: loads a model, or raises; raises soon after the event is set.
            finish: called from the loading thread with what was requested, and with the model or
                the error; not called for what was superseded or cancelled.
            report: called from the loading thread with what interrupted it otherwise.
        """
        self._load, self._finish, self._report = load, finish, report
        self._lock = threading.Lock()
        self._wanted: S | None = None
        self._superseded = threading.Event()  # what is being loaded is not wanted any more
        self._thread: WorkerThread | None = None

    @property
    def wanted(self) -> S | None:
        """What is being loaded."""
        return self._wanted

    def begin(self, wanted: S) -> None:
        """Load this, instead of what was requested before."""
        with self._lock:
            self._wanted = wanted
            self._superseded.set()
            if self._thread is None:
                self._thread = WorkerThread("loading", self._run, self._report)
                self._thread.start()

    def cancel(self) -> None:
        """Cancel the current request and stop loading."""
        with self._lock:
            self._wanted = None
            self._superseded.set()

    def stop(self) -> None:
        """Cancel, and wait for the thread: it must not be running when the process exits."""
        self.cancel()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                wanted = self._wanted
                self._superseded = superseded = threading.Event()
                if wanted is None:
                    self._thread = None
                    return
            loaded: M | Exception | None
            try:
                loaded = self._load(wanted, superseded)
            except BaseException as error:  # a broken checkpoint may raise anything
                loaded = error if isinstance(error, Exception) else RuntimeError(one_line(error))
                loaded = loaded.with_traceback(None)
                # The frames of its causes hold what was loaded.
                loaded.__cause__ = loaded.__context__ = None
            with self._lock:
                if wanted is not self._wanted:
                    continue
                self._wanted = None
            self._finish(wanted, loaded)
            loaded = None
