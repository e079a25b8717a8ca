# SPDX-License-Identifier: Apache-2.0
"""Write files and folders atomically, also in untrusted folders.

The new content is written under a random name beside the target and then renamed. A kill leaves the
old file or the new one, and a symbolic link that lies in the folder is replaced, never followed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from mllmseg_ros.files.reading import show

__all__ = [
    "check_no_link",
    "make_folder",
    "move",
    "open_own_file",
    "remove_stale_partials",
    "replaced_file",
    "replaced_folder",
    "temporary_folder",
    "write_file",
]

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
        ValueError: if ``path`` exists and is neither a file nor a symbolic link to one.
    """
    mode = _existing_mode(path)
    partial = _partial(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _named(path):
        descriptor = os.open(partial, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # in use: not removed as a stale one
        if mode is None:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        yield partial
        partial.chmod(mode)  # libraries may have put another file in its place, for the owner alone
        move(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield the path of a new, empty folder, which becomes ``path`` at the end of the block.

    Raises:
        OSError: if it cannot be written, or ``path`` then exists and is not an empty folder.
        ValueError: if ``path`` is a symbolic link.
    """
    check_no_link(path, "a folder")
    with temporary_folder(path) as partial:
        yield partial
        move(partial, path)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield the path of a new, empty folder beside ``path``, which is removed after the block.

    What is to stay is moved out of it by :func:`move`.

    Raises:
        OSError: if it cannot be written.
    """
    partial = _partial(path)
    with _named(path):
        partial.mkdir()
    descriptor = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # not there if it was moved
        os.close(descriptor)


def move(path: Path, target: Path) -> None:
    """Give a complete file or folder its final name in the same file system, and write it to disk.

    A file and a symbolic link are replaced, a folder only if it is empty.
    """
    for each in (path, *sorted(path.rglob("*"))):  # of a file, it finds nothing
        if not each.is_symlink():
            _sync(each)
    path.rename(target)
    _sync(target.parent)


def open_own_file(path: Path, flags: int) -> int:
    """Open a file that only this package writes, or create it; returns its descriptor.

    Raises:
        ValueError: if the path is a symbolic link or no regular file: another program put it there.
        OSError: if it cannot be written.
    """
    check_no_link(path)
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a FIFO that nobody reads, a socket
            raise
        raise ValueError(f"{show(path)} is not a regular file") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{show(path)} is not a regular file")
    return descriptor


def make_folder(path: Path) -> None:
    """Make a folder, with its parents, if it is missing; ``path`` itself may not be a link.

    Raises:
        ValueError: if the path is a symbolic link: what is written into it would lie elsewhere.
        OSError: if it cannot be made.
    """
    check_no_link(path, "a folder")
    path.mkdir(parents=True, exist_ok=True)


def remove_stale_partials(folder: Path) -> None:
    """Remove temporary files and folders that killed processes left in a folder."""
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
    """Permissions of the file to replace; None without one."""
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing there, or a link to nothing
        return None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{show(path)} exists and is not a regular file")
    return None if path.is_symlink() else stat.S_IMODE(mode)


def check_no_link(path: Path, accepted: str = "a regular file") -> None:
    """Check what a library is about to open for writing by its name.

    Raises:
        ValueError: if the path is a symbolic link: another program put it there.
    """
    if path.is_symlink():
        raise ValueError(f"{show(path)} is a symbolic link, accepted is {accepted}")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name in an error the file that was asked for, not the one with the random name."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sync(path: Path) -> None:
    """Write a file or the entries of a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
