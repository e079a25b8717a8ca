# SPDX-License-Identifier: Apache-2.0
"""Read the intact part of a truncated MCAP file.

A killed recorder leaves a file without a footer, which readers reject. :class:`TruncatedMcap`
presents the file up to its last complete record, followed by an empty footer; nothing is copied.
Source: the MCAP specification, mcap.dev/spec.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

from mllmseg_ros.files import open_file

__all__ = ["TruncatedMcap"]

MAGIC = b"\x89MCAP0\r\n"
_DATA_END, _FOOTER = 0x0F, 0x02
_FOOTER_BYTES = (
    struct.pack("<BQI", _DATA_END, 4, 0)
    + struct.pack("<BQQQI", _FOOTER, 20, 0, 0, 0)  # no summary: readers scan
    + MAGIC
)


class TruncatedMcap:
    """Stands in for the path of a truncated file in rosbags' readers."""

    suffix = ".mcap"

    def __init__(self, path: Path) -> None:
        """Find the end of the last complete record.

        Raises:
            ValueError: The file cannot be read, is no MCAP file, or has no complete record.
        """
        self.path = path
        with open_file(path) as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError(f"{path}: not an MCAP file (wrong magic bytes)")
            size = os.fstat(file.fileno()).st_size
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
        """File name."""
        return self.path.name

    def exists(self) -> bool:
        """Whether the file exists."""
        return self.path.exists()

    def is_dir(self) -> bool:
        """Return False: this is a file."""
        return False

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open for reading."""
        return io.BufferedReader(_TruncatedFile(self.path, self._n_bytes))


class _TruncatedFile(io.RawIOBase):
    """The first bytes of a file, followed by an empty footer."""

    def __init__(self, path: Path, n_bytes: int) -> None:
        self._file, self._n_bytes, self._position = open_file(path), n_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {0: 0, 1: self._position, 2: self._n_bytes + len(_FOOTER_BYTES)}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        n_bytes = len(buffer)
        if self._position < self._n_bytes:
            self._file.seek(self._position)
            data = self._file.read(min(n_bytes, self._n_bytes - self._position))
        else:
            start = self._position - self._n_bytes
            data = _FOOTER_BYTES[start : start + n_bytes]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
