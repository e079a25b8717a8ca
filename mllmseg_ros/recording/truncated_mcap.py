# SPDX-License-Identifier: Apache-2.0
"""The readable part of an MCAP file that ends in the middle, as if it had been finished there.

A recorder that was killed leaves no footer, and readers refuse the file. Nothing is copied: the
file is read up to its last whole record, and an empty footer after it. Source: the MCAP
specification, mcap.dev/spec.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

__all__ = ["TruncatedMcap"]

MAGIC = b"\x89MCAP0\r\n"
_DATA_END, _FOOTER = 0x0F, 0x02
_END = (
    struct.pack("<BQI", _DATA_END, 4, 0)
    + struct.pack("<BQQQI", _FOOTER, 20, 0, 0, 0)  # no summary: readers scan
    + MAGIC
)


class TruncatedMcap:
    """Stands for the path of a truncated file where rosbags wants a path."""

    suffix = ".mcap"

    def __init__(self, path: Path) -> None:
        """Find where the whole records end.

        Raises:
            ValueError: if the file does not begin as an MCAP file does, or has no whole record.
        """
        self.path = path
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError(f"{path}: not an MCAP file, its first bytes are others")
            size = path.stat().st_size
            self._n_bytes = len(MAGIC)
            while len(head := file.read(9)) == 9:
                kind, length = struct.unpack("<BQ", head)
                if kind in (_DATA_END, _FOOTER) or self._n_bytes + 9 + length > size:
                    break
                self._n_bytes += 9 + length
                file.seek(self._n_bytes)
        if self._n_bytes == len(MAGIC):
            raise ValueError(f"{path}: truncated before its first record")

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.name

    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.exists()

    def is_dir(self) -> bool:
        """No."""
        return False

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open for reading."""
        return io.BufferedReader(_TruncatedFile(self.path, self._n_bytes))


class _TruncatedFile(io.RawIOBase):
    """The first bytes of a file, then an end."""

    def __init__(self, path: Path, n_bytes: int) -> None:
        self._file, self._n_bytes, self._at = path.open("rb"), n_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {0: 0, 1: self._at, 2: self._n_bytes + len(_END)}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer)
        if self._at < self._n_bytes:
            self._file.seek(self._at)
            data = self._file.read(min(wanted, self._n_bytes - self._at))
        else:
            start = self._at - self._n_bytes
            data = _END[start : start + wanted]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
