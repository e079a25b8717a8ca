# SPDX-License-Identifier: Apache-2.0
"""The folder that a demo writes its pictures to."""

from __future__ import annotations

from pathlib import Path

__all__ = ["empty_folder"]


def empty_folder(folder: Path) -> None:
    """Make the folder; pictures of a run before (``01.png`` and so on) are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9].png"):
        old.unlink()
