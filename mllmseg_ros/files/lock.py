# SPDX-License-Identifier: Apache-2.0
"""Lock a folder, so that two processes do not change it at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
from pathlib import Path
from types import TracebackType

from mllmseg_ros.files.reading import show
from mllmseg_ros.files.writing import open_own_file, remove_stale_partials

__all__ = ["FolderLock"]

LOCK_FILE = ".mllmseg.lock"
_MAX_HOLDER = 200


class FolderLock:
    """Holds a folder until it is closed or the process exits.

    The lock is advisory (flock): it keeps out the other programs of this package. While it is held,
    a hidden file with the name of the holder is in the folder. The folder may be renamed.
    """

    def __init__(self, folder: Path) -> None:
        """Lock an existing folder, and remove what killed processes left unfinished in it.

        Raises:
            ValueError: if another process holds it, with its name and process id.
            OSError: if the folder cannot be written.
        """
        path = folder / LOCK_FILE
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._file = -1
        try:
            while not self._is_named():
                if self._file >= 0:  # its holder has removed it since it was opened
                    os.close(self._file)
                self._file = open_own_file(path, os.O_RDWR)
                self._lock(folder)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, _this_process().encode(errors="replace"), 0)
        except BaseException:
            self._close()
            raise
        remove_stale_partials(folder)

    def _is_named(self) -> bool:
        """Whether the open file is the one in the folder."""
        if self._file < 0:
            return False
        try:
            named = os.stat(LOCK_FILE, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(self._file))

    def _lock(self, folder: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, _MAX_HOLDER, 0).decode(errors="replace")
            shown = "".join(letter if letter.isprintable() else "?" for letter in holder)
            raise ValueError(
                f"{show(folder)} is in use by {shown or 'another process'}; "
                "end it first, or use another folder"
            ) from None
        except OSError as error:
            # Some network file systems have no locks; there the user has to take care.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise

    def close(self) -> None:
        """Unlock the folder; idempotent."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.unlink(LOCK_FILE, dir_fd=self._folder)
        self._close()

    def _close(self) -> None:
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._folder = -1

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _this_process() -> str:
    name = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])[: _MAX_HOLDER // 2]
    return f"'{name}' (process {os.getpid()})"
