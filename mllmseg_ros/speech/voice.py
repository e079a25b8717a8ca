# SPDX-License-Identifier: Apache-2.0
"""Says text aloud by espeak-ng."""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable

__all__ = ["Voice"]

_MAX_CHARS = 500  # nobody listens longer
_LONGEST_S = 60.0
_POLL_S = 0.1
_ECHO_S = 0.3  # of the room, and of what the microphone hands over late


class Voice:
    """Says one text after the other in a thread of its own."""

    def __init__(self, on_silence: Callable[[str], None]) -> None:
        """Start the thread.

        Args:
            on_silence: called in it when all is said, with what went wrong, "" for nothing.

        Raises:
            RuntimeError: espeak-ng is not installed.
        """
        program = shutil.which("espeak-ng")
        if program is None:
            raise RuntimeError("espeak-ng is missing: apt install espeak-ng, or set speak to false")
        self._program, self._on_silence = program, on_silence
        self._texts: queue.Queue[str | None] = queue.Queue(maxsize=8)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="voice", daemon=True)
        self._thread.start()

    @property
    def is_speaking(self) -> bool:
        """Whether something is being said, or waits for it."""
        return self._texts.unfinished_tasks > 0

    def say(self, text: str) -> None:
        """Say a text after those that wait; where too many do, it is not said."""
        with contextlib.suppress(queue.Full):
            self._texts.put_nowait(text)

    def close(self) -> None:
        """End, in the middle of a word."""
        self._closed.set()
        with contextlib.suppress(queue.Full):  # then there is something to wake up for
            self._texts.put_nowait(None)
        self._thread.join()

    def _run(self) -> None:
        while (text := self._texts.get()) is not None and not self._closed.is_set():
            wrong = self._said(text[:_MAX_CHARS])
            self._closed.wait(_ECHO_S)
            if self._texts.unfinished_tasks == 1:
                self._on_silence(wrong)
            self._texts.task_done()

    def _said(self, text: str) -> str:
        """Say a text; returns what went wrong, "" for nothing."""
        # By standard input: a text that begins with "-" is no option.
        speaking = subprocess.Popen(
            [self._program, "--stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        given: bytes | None = text.encode()
        end_s = time.monotonic() + _LONGEST_S
        while True:
            try:
                _, complaint = speaking.communicate(given, timeout=_POLL_S)
            except subprocess.TimeoutExpired:
                given = None
                if self._closed.is_set() or time.monotonic() > end_s:
                    speaking.kill()
            else:
                break
        lines = complaint.decode(errors="replace").split("\n")
        # Without a sound device its exit status is 0 all the same.
        errors = [line for line in lines if line.lower().startswith("error")]
        return errors[0][:200] if errors else ""
