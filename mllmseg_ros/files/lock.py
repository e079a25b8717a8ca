# SPDX-License-Identifier: Apache-2.0
"""Lock a folder, so that two processes do not change it at once."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from pathlib import Path
from types import TracebackType

from mllmseg_ros.files.reading import show
from mllmseg_ros.files.writing import remove_stale_partials

__all__ = ["FolderLock"]

LOCK_FILE = ".mllmseg.lock"
_MAX_HOLDER = 200


class FolderLock:
    """Holds a folder until it is closed, or until the process ends in any way.

    The lock is advisory (flock): it keeps out the other programs of this package. The file stays in
    the folder, with the name of its last holder in it.
    """

    def __init__(self, folder: Path) -> None:
        """Lock an existing folder, and remove what killed processes left unfinished in it.

        Raises:
            ValueError: if another process holds it, with its name and process id.
            OSError: if the folder cannot be written.
        """
        path = folder / LOCK_FILE
        if path.is_symlink():
            raise ValueError(f"{show(path)} is a symbolic link, accepted is a regular file")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise ValueError(f"{show(path)} is not a regular file")
            self._lock(folder)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, _this_process().encode(errors="replace"), 0)
        except BaseException:
            os.close(self._descriptor)
            raise
        remove_stale_partials(folder)

    def _lock(self, folder: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, _MAX_HOLDER, 0).decode(errors="replace")
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
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

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
