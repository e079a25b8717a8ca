# SPDX-License-Identifier: Apache-2.0
"""Write files and folders as a whole, also in a folder that somebody else prepared.

The new content is written under a random name beside the target and then renamed. A kill leaves the
old file or the new one, and a symbolic link that lies in the folder is replaced, never followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["remove_stale_partials", "replaced_file", "replaced_folder", "write_file"]

_SUFFIX = ".partial"
_PARTIAL_NAME = re.compile(rf"\..*\.[0-9a-f]{{16}}{re.escape(_SUFFIX)}", re.DOTALL)
_MAX_NAME = 200  # of 255 bytes, the rest is for the random part


def write_file(path: Path, content: str | bytes) -> None:
    """Replace a file by text (as UTF-8) or bytes.

    Raises:
        OSError: if it cannot be written.
        ValueError: from :func:`replaced_file`.
    """
    with replaced_file(path) as partial, partial.open("r+b") as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield the path of a new, empty file, which replaces ``path`` at the end of the block.

    If the block raises, the new file is removed and ``path`` stays as it was. The file keeps the
    permissions of the one that it replaces.

    Raises:
        OSError: if it cannot be written.
        ValueError: if ``path`` exists and is neither a file nor a symbolic link.
    """
    mode = _existing_mode(path)
    partial = _partial(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(partial, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # in use: not removed as a stale one
        yield partial
        if mode is not None:
            os.fchmod(descriptor, mode)
        _sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    _sync(path.parent)


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield the path of a new, empty folder, which becomes ``path`` at the end of the block.

    Raises:
        OSError: if it cannot be written, or ``path`` exists and is not an empty folder.
    """
    partial = _partial(path)
    partial.mkdir()
    descriptor = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield partial
        for each in sorted(partial.rglob("*")):
            if not each.is_symlink():
                _sync(each)
        _sync(partial)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)
    _sync(path.parent)


def remove_stale_partials(folder: Path) -> None:
    """Remove the new files and folders that killed processes left in a folder."""
    for partial in folder.glob(f".*{_SUFFIX}"):
        if not _PARTIAL_NAME.fullmatch(partial.name):
            continue
        with contextlib.suppress(OSError):  # in use, a symbolic link, or removed meanwhile
            descriptor = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    shutil.rmtree(partial)
                else:
                    partial.unlink()
            finally:
                os.close(descriptor)


def _partial(path: Path) -> Path:
    name = os.fsencode(path.name)[:_MAX_NAME].decode(errors="ignore")
    return path.with_name(f".{name}.{secrets.token_hex(8)}{_SUFFIX}")


def _existing_mode(path: Path) -> int | None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(mode):
        return None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} exists and is not a regular file")
    return stat.S_IMODE(mode)


def _sync(path: Path) -> None:
    """Write a file or the entries of a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
