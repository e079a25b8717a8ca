# SPDX-License-Identifier: Apache-2.0
"""Speak text with espeak-ng."""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable

from mllmseg_ros.error_text import escape_invisible, one_line

__all__ = ["Voice"]

_MAX_CHARS = 500  # longer texts are cut
_TIMEOUT_S = 60.0
_POLL_S = 0.1
_ECHO_S = 0.3  # echo of the room and latency of the microphone


class Voice:
    """Speaks texts one after the other in a background thread."""

    def __init__(self, on_silence: Callable[[str], None]) -> None:
        """Start the thread.

        Args:
            on_silence: called in the thread after the last text, with one line about a failure, or
                "".

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
    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    @property
    def is_speaking(self) -> bool:
        """Whether a text is being spoken or queued."""
        return self._texts.unfinished_tasks > 0

    def say(self, text: str) -> None:
        """Queue a text; it is dropped if the queue is full."""
        with contextlib.suppress(queue.Full):
            self._texts.put_nowait(text)

    def close(self) -> None:
        """Stop immediately, even within a word."""
        self._closed.set()
        with contextlib.suppress(queue.Full):  # a full queue wakes the thread anyway
            self._texts.put_nowait(None)
        self._thread.join()

    def _run(self) -> None:
        while (text := self._texts.get()) is not None and not self._closed.is_set():
            try:
                problem = self._speak(escape_invisible(text[:_MAX_CHARS]))
            except Exception as error:
                problem = one_line(error)
            self._closed.wait(_ECHO_S)
            if self._texts.unfinished_tasks == 1:
                self._on_silence(problem)
            self._texts.task_done()

    def _speak(self, text: str) -> str:
        """Speak a text; returns an error message or ""."""
        # By standard input, so that text that begins with "-" is not an option.
        with subprocess.Popen(
            [self._program, "--stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            text_bytes: bytes | None = text.encode()
            end_s = time.monotonic() + _TIMEOUT_S
            while True:
                try:
                    _, stderr = process.communicate(text_bytes, timeout=_POLL_S)
                except subprocess.TimeoutExpired:
                    text_bytes = None
                    if self._closed.is_set() or time.monotonic() > end_s:
                        process.kill()
                else:
                    break
        lines = stderr.decode(errors="replace").split("\n")
        # Its exit status is 0 even without a sound device.
        errors = [line for line in lines if line.lower().startswith("error")]
        return errors[0][:200] if errors else ""
