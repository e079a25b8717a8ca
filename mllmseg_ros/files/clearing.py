# SPDX-License-Identifier: Apache-2.0
"""Delete the output of an earlier run, and nothing else, for ``--overwrite``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from mllmseg_ros.files.lock import LOCK_FILE, FolderLock
from mllmseg_ros.files.reading import show
from mllmseg_ros.files.writing import check_no_link

__all__ = ["clear_folder"]


def clear_folder(
    folder: Path,
    marker: str,
    names: Sequence[str],
    *,
    kept: Sequence[str] = (),
    inputs: Sequence[Path] = (),
) -> None:
    """Delete what an earlier run has written into a folder.

    Args:
        folder: may be missing or empty.
        marker: name of a file that every such run writes.
        names: of the other files and folders that such a run writes; may have wildcards.
        kept: of those that stay, because a new run would write the same.
        inputs: what the new run reads.

    Raises:
        ValueError: the folder is a symbolic link or in use, holds something that no such run
            writes, or an input lies in it; nothing is deleted then.
        OSError: it cannot be written.
    """
    check_no_link(folder, "a folder")
    if not folder.exists():
        return
    for path in inputs:
        if path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{show(folder)} is not overwritten: {show(path)} is read from it")
    with FolderLock(folder):
        found = [path for path in folder.iterdir() if path.name != LOCK_FILE]
        if found and not (folder / marker).is_file():
            raise ValueError(
                f"{show(folder)} is not overwritten: mllmseg has not written it, there is no "
                f"{marker} in it"
            )
        for path in found:
            if not any(fnmatchcase(path.name, each) for each in (marker, *names, *kept)):
                raise ValueError(
                    f"{show(folder)} is not overwritten: {show(path)} is of no such run; "
                    "move it, or name another folder"
                )
        for path in found:
            if any(fnmatchcase(path.name, each) for each in kept):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
