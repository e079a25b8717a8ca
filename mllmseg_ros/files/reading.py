# SPDX-License-Identifier: Apache-2.0
"""Open and read untrusted files.

Every fault of a file is a ValueError in one line, so that it counts as bad input everywhere.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "MAX_TEXT_BYTES",
    "check_regular_file",
    "is_missing",
    "open_file",
    "read_bytes",
    "read_text",
]

MAX_TEXT_BYTES = 64 << 20  # the tokenizer.json of the published checkpoints has 11 MB
_MAX_SHOWN_NAME = 120
_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_POINTER_BYTES = 1024  # the specification of Git LFS: less than this


def open_file(path: Path, *, max_bytes: int | None = None) -> BinaryIO:
    """Open a regular file for reading.

    A FIFO, a device or a folder is refused without waiting for it, a file that is too large without
    reading it.

    Args:
        path: of the file; a symbolic link is followed.
        max_bytes: largest size that is accepted; None for any.

    Raises:
        ValueError: if the file cannot be opened, is of another kind or too large, or if Git LFS
            has left a pointer in its place.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO waits until somebody writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise ValueError(_cannot("read", path, error)) from error
    try:
        status = os.fstat(descriptor)
        _check(path, status, max_bytes)
        if status.st_size <= _MAX_POINTER_BYTES:
            _check_no_pointer(path, os.pread(descriptor, _MAX_POINTER_BYTES, 0))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_missing(path: Path) -> bool:
    """Whether the file does not exist; False if that is unknown: then reading it reports why."""
    try:
        return not path.exists()
    except (OSError, ValueError):
        return False


def check_regular_file(path: Path, *, max_bytes: int | None = None) -> int:
    """Check a file that a library opens by its name; return its size in bytes.

    Raises:
        ValueError: from :func:`open_file`.
    """
    with open_file(path, max_bytes=max_bytes) as file:
        return os.fstat(file.fileno()).st_size


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Read a whole file.

    Raises:
        ValueError: from :func:`open_file`, or if the file cannot be read.
    """
    with open_file(path, max_bytes=max_bytes) as file:
        try:
            data = file.read(max_bytes + 1)  # it may have grown since it was opened
        except OSError as error:
            raise ValueError(_cannot("read", path, error)) from error
    if len(data) > max_bytes:
        raise ValueError(_too_large(path, len(data), max_bytes))
    return data


def read_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a whole UTF-8 file, with or without a byte order mark; line ends stay as they are.

    Raises:
        ValueError: from :func:`read_bytes`, or if the file is not UTF-8.
    """
    data = read_bytes(path, max_bytes=max_bytes)
    check_encoding(path, data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{show(path)} is not UTF-8 text (byte {error.start})") from error


def check_encoding(path: Path, data: bytes) -> None:
    """Refuse UTF-16 text by its byte order mark, as PowerShell writes it.

    Raises:
        ValueError: if the content of the file is UTF-16.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{show(path)} is UTF-16 text; accepted is UTF-8, convert it")


def show(path: Path) -> str:
    """Format a path for an error, cut in the middle where it is very long."""
    text = str(path)
    if len(text) > _MAX_SHOWN_NAME:
        half = _MAX_SHOWN_NAME // 2
        text = f"{text[:half]}…{text[-half:]}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _check(path: Path, status: os.stat_result, max_bytes: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{show(path)} is {_kind(status.st_mode)}, accepted is a regular file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise ValueError(_too_large(path, status.st_size, max_bytes))


def _check_no_pointer(path: Path, content: bytes) -> None:
    if not content.startswith(_POINTER):
        return
    size = re.search(rb"^size ([0-9]{1,20})$", content, re.MULTILINE)
    stands_for = f" that stands for {int(size[1])} bytes" if size else ""
    raise ValueError(
        f"{show(path)}: this is a Git LFS pointer of {len(content)} bytes{stands_for}; get the "
        "file with `git lfs pull`"
    )


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _too_large(path: Path, n_bytes: int, max_bytes: int) -> str:
    return f"{show(path)} has {n_bytes} bytes or more, accepted are up to {max_bytes}"


def _cannot(verb: str, path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"{show(path)} cannot be {verb}: {reason}"
