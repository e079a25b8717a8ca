# SPDX-License-Identifier: Apache-2.0
"""Journals: files to which a run appends one line per result, and which survive a kill."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from mllmseg_ros.files.reading import show

__all__ = ["open_journal"]

_BLOCK = 1 << 16


def open_journal(path: Path) -> BinaryIO:
    """Open a journal for appending; an incomplete last line, left by a kill, is removed.

    Returns:
        The file, unbuffered: each write is one line and reaches the file as a whole.

    Raises:
        ValueError: if the path is a symbolic link or no regular file: another program put it there.
        OSError: if it cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if path.is_symlink():
        raise ValueError(f"{show(path)} is a symbolic link, accepted is a regular file")
    descriptor = os.open(path, flags, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{show(path)} is not a regular file")
        os.ftruncate(descriptor, _end_of_last_line(descriptor))
        return os.fdopen(descriptor, "ab", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def _end_of_last_line(descriptor: int) -> int:
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _BLOCK)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
