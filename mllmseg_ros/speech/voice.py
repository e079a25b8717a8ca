# SPDX-License-Identifier: Apache-2.0
"""Says text aloud by espeak-ng. Entry point: :class:`Voice`."""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable

_MAX_CHARS = 500  # nobody listens longer
_LONGEST_S = 60.0
_ECHO_S = 0.3  # of the room, and of what the microphone hands over late


class Voice:
    """Says one text after the other in a thread of its own."""

    def __init__(self, on_silence: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            on_silence: called in it when all is said.

        Raises:
            RuntimeError: espeak-ng is not installed.
        """
        program = shutil.which("espeak-ng")
        if program is None:
            raise RuntimeError("espeak-ng is missing: apt install espeak-ng, or set speak to false")
        self._program, self._on_silence = program, on_silence
        self._texts: queue.Queue[str | None] = queue.Queue(maxsize=8)
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
        """End after what is being said."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._texts.get_nowait()
        self._texts.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (text := self._texts.get()) is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                # By standard input: a text that begins with "-" is no option.
                subprocess.run(
                    [self._program, "--stdin"],
                    input=text[:_MAX_CHARS].encode(),
                    capture_output=True,
                    timeout=_LONGEST_S,
                    check=False,
                )
            time.sleep(_ECHO_S)
            if self._texts.unfinished_tasks == 1:
                self._on_silence()
            self._texts.task_done()
