# SPDX-License-Identifier: Apache-2.0
"""Present MCAP files of any profile, and truncated ones, to rosbags' reader.

The reader insists on the profile "ros2", though each channel says itself what it holds, and on a
footer, which a killed recorder does not write. Nothing is copied.
Source: the MCAP specification, mcap.dev/spec.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from mllmseg_ros.files import open_file

__all__ = ["McapFile"]

MAGIC = b"\x89MCAP0\r\n"
_ZERO, _DATA_END, _FOOTER = 0x00, 0x0F, 0x02
_FOOTER_BYTES = (
    struct.pack("<BQI", _DATA_END, 4, 0)
    + struct.pack("<BQQQI", _FOOTER, 20, 0, 0, 0)  # no summary: readers scan
    + MAGIC
)


_HEADER = 0x01
_HEAD = struct.Struct("<BQ")  # of a record: opcode, length
_PROFILE_AT = len(MAGIC) + _HEAD.size  # the header's record is the first, its profile comes first
_PROFILE = struct.pack("<I", 4) + b"ros2"  # no longer than two empty strings: any header has room
_BLOCK = 1 << 20


class McapFile:
    """Stands in for the path of a file in rosbags' readers."""

    suffix = ".mcap"

    def __init__(self, path: Path) -> None:
        """Check the first record.

        Raises:
            ValueError: The file cannot be read, or is not an MCAP file.
        """
        self.path = path
        self.damage = ""  # what is wrong with the rest of a truncated file
        self._footer = b""
        with open_file(path) as file:
            self._n_bytes = os.fstat(file.fileno()).st_size
            start = file.read(_PROFILE_AT)
            if not start.startswith(MAGIC):
                raise ValueError("not an MCAP file (wrong magic bytes)")
            if len(start) < _PROFILE_AT:
                raise ValueError("truncated before its first record")
            kind, length = _HEAD.unpack_from(start, len(MAGIC))
            if kind != _HEADER or length < len(_PROFILE):
                raise ValueError("not an MCAP file (it does not begin with a header)")
            data = file.read(min(length, _BLOCK))
            (n_letters,) = struct.unpack_from("<I", data) if len(data) >= 4 else (0,)
            self.profile = data[4 : 4 + n_letters].decode(errors="replace")[:64]

    @classmethod
    def truncated(cls, path: Path) -> McapFile:
        """Present a file up to its last complete record, followed by an empty footer.

        Raises:
            ValueError: The file cannot be read, is not an MCAP file, or has no complete record.
        """
        mcap = cls(path)
        end = len(MAGIC)
        with open_file(path) as file:
            file.seek(end)
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                kind, length = _HEAD.unpack(head)
                if kind in (_ZERO, _DATA_END, _FOOTER) or end + _HEAD.size + length > mcap._n_bytes:
                    break
                end += _HEAD.size + length
                file.seek(end)
            if end == len(MAGIC):
                raise ValueError("truncated before its first record")
            if _has_only_zeros(file, end):
                mcap.damage = f"ends in {mcap._n_bytes - end} bytes of zeros"
        mcap._n_bytes, mcap._footer = end, _FOOTER_BYTES
        return mcap

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open for reading."""
        return io.BufferedReader(_PresentedFile(self.path, self._n_bytes, self._footer))


def _has_only_zeros(file: BinaryIO, begin: int) -> bool:
    """Whether a file has nothing but zeros from a position on, as after a loss of power."""
    file.seek(begin)
    is_empty = True
    while data := file.read(_BLOCK):
        if data.count(0) < len(data):
            return False
        is_empty = False
    return not is_empty


class _PresentedFile(io.RawIOBase):
    """The first bytes of a file with the profile "ros2", followed by a footer."""

    def __init__(self, path: Path, n_bytes: int, footer: bytes) -> None:
        self._file, self._n_bytes, self._footer = open_file(path), n_bytes, footer
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {0: 0, 1: self._position, 2: self._n_bytes + len(self._footer)}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        begin = self._position
        if begin < self._n_bytes:
            self._file.seek(begin)
            n_bytes = self._file.readinto(memoryview(buffer)[: self._n_bytes - begin])  # type: ignore[attr-defined]
        else:
            data = self._footer[begin - self._n_bytes :][: len(buffer)]
            n_bytes = len(data)
            buffer[:n_bytes] = data
        for at, value in enumerate(_PROFILE, _PROFILE_AT - begin):
            if 0 <= at < n_bytes:
                buffer[at] = value
        self._position += n_bytes
        return n_bytes

    def close(self) -> None:
        self._file.close()
        super().close()
