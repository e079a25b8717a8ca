# SPDX-License-Identifier: Apache-2.0
"""Journals: files to which a run appends one line per result, and which survive a kill."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from mllmseg_ros.files.writing import open_own_file

__all__ = ["open_journal"]

_BLOCK = 1 << 16


def open_journal(path: Path) -> BinaryIO:
    """Open a journal for appending; an incomplete last line, left by a kill, is removed.

    Returns:
        The file; its writer flushes it after each line.

    Raises:
        ValueError: if the path is a symbolic link or no regular file: another program put it there.
        OSError: if it cannot be written.
    """
    descriptor = open_own_file(path, os.O_RDWR | os.O_APPEND)
    try:
        os.ftruncate(descriptor, _end_of_last_line(descriptor))
        return os.fdopen(descriptor, "ab")
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
