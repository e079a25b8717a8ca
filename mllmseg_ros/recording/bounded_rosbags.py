# SPDX-License-Identifier: Apache-2.0
"""rosbags' reader with limits: on its own, it takes whatever a bag says it needs.

128 KiB of zstd can become 4 GB, and a database can compute a message, or never end. rosbags looks
up its decompressors and its reading of records as globals of its modules; here they are replaced by
ones with limits, and files are checked before it opens them.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Collection, Generator, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO
from zlib import crc32

import apsw
import lz4.frame
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader as _Reader
from rosbags.rosbag2 import ReaderError, reader, storage_mcap
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from mllmseg_ros.files import check_regular_file

__all__ = ["Reader", "ReaderError"]

zstd: Any = reader.zstd  # backports.zstd, from Python 3.14 on compression.zstd

# A message that is larger than a chunk has a chunk of its own; an image of 64 million pixels in
# rgb8 has 192 MB.
MAX_CHUNK_BYTES = 256 << 20  # of an mcap's chunk, decompressed, and of a message
MAX_CHUNK_RECORDS = 1 << 20
MAX_OVERLAP_BYTES = 1 << 30  # of chunks whose times overlap: they are held at once
MAX_METADATA_BYTES = 4 << 20
# A compressed storage file is decompressed to the disk; images do not compress better.
MAX_FILE_RATIO = 100
MIN_FREE_BYTES = 1 << 30  # of the disk, that are left
_BLOCK = 1 << 20
_HEAD = struct.Struct("<BQ")  # of an mcap record: opcode, length
_ORDINARY = 0  # of PRAGMA table_xinfo: the column is stored, not computed


class _BoundedMcap(McapReader):
    def open(self) -> None:
        super().open()
        _check_chunks(self.chunks)


class _BoundedDatabase(Sqlite3Reader):
    def open(self) -> None:
        path = Path(str(self.path))
        if any(letter in str(path) for letter in "%?#"):
            # rosbags writes the path into a URI as it is, and so would open another file.
            raise ReaderError("the path of its database has %, ? or #; rename it")
        _check_database(path)
        super().open()


class _BoundedFolder(DirectoryReader):
    STORAGE_PLUGINS = {"mcap": _BoundedMcap, "sqlite3": _BoundedDatabase}  # noqa: RUF012


class Reader(_Reader):
    """rosbags' reader of a bag, with limits."""

    STORAGE_PLUGINS = {  # noqa: RUF012
        "dir": _BoundedFolder, ".mcap": _BoundedMcap, ".db3": _BoundedDatabase
    }  # fmt: skip

    def __init__(self, path: Any) -> None:
        """Check the kinds of the bag's files.

        Raises:
            ValueError: if it has anything but regular files, or too long metadata.
            Exception: of any kind, if it is no bag; also when it is opened and read.
        """
        if isinstance(path, Path):  # not a TruncatedMcap, whose file was opened before
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                if file.is_dir() or not file.exists():
                    continue
                is_metadata = file.suffix == ".yaml"
                check_regular_file(file, max_bytes=MAX_METADATA_BYTES if is_metadata else None)
        super().__init__(path)

    def open(self) -> None:
        """Open the bag, and check that topics and types are text: YAML may hold anything."""
        super().open()
        for each in self.connections:
            if not isinstance(each.topic, str) or not isinstance(each.msgtype, str):
                shown = f"{each.topic!r} of type {each.msgtype!r}"
                self.close()
                raise ReaderError(f"topic {shown[:200]}, expected text")

    def messages(
        self, connections: Collection[Connection] = (), *arguments: Any, **options: Any
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Yield connection, time recorded (ns) and bytes of messages."""
        for connection, recorded_ns, data in super().messages(connections, *arguments, **options):
            if not isinstance(recorded_ns, int) or not isinstance(data, bytes):
                raise ReaderError(f"a message of {connection.topic[:64]!r} without time or bytes")
            yield connection, recorded_ns, data


def _check_database(path: Path) -> None:
    """Check that a database has plain tables, so that reading takes what is stored.

    A view or a computed column could take any time and memory.

    Raises:
        ReaderError: if not, or if it is malformed.
    """
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    try:
        connection = apsw.Connection(f"{path.resolve().as_uri()}?immutable=1", flags=flags)
        try:
            query = "SELECT type, name, rootpage FROM sqlite_master"
            for kind, name, rootpage in connection.execute(query).fetchall():
                shown = str(name)[:64]
                if kind == "index":
                    continue
                if kind != "table" or not rootpage:
                    raise ReaderError(f"its database has a {kind} {shown!r}, expected plain tables")
                quoted = str(name).replace('"', '""')
                columns = connection.execute(f'PRAGMA table_xinfo("{quoted}")').fetchall()
                if any(column[6] != _ORDINARY for column in columns):
                    raise ReaderError(f"table {shown!r} of its database has a computed column")
            for name, kind in connection.execute("SELECT name, type FROM topics").fetchall():
                if not isinstance(name, str) or not isinstance(kind, str):
                    shown = f"{name!r} of type {kind!r}"
                    raise ReaderError(f"topic {shown[:200]}, expected text")
            for extreme in ("min", "max"):
                query = f"SELECT {extreme}(timestamp) FROM messages"  # noqa: S608 - no input
                ((time,),) = connection.execute(query).fetchall()
                if not isinstance(time, int | None):
                    raise ReaderError(f"a time is {str(time)[:64]!r}, expected a number")
        finally:
            connection.close()
    except apsw.Error as error:
        raise ReaderError(f"not a readable database ({error})") from error


def _check_chunks(chunks: Iterable[Any]) -> None:
    """Check the sizes in the index of an mcap, and how many chunks must be held at once.

    Raises:
        ReaderError: if they exceed the limits.
    """
    steps = []
    for chunk in chunks:
        n_bytes = max(chunk.compressed_size, chunk.uncompressed_size)
        if n_bytes > MAX_CHUNK_BYTES:
            raise ReaderError(_too_large("a chunk", n_bytes))
        steps.append((chunk.message_start_time, n_bytes))
        steps.append((chunk.message_end_time + 1, -n_bytes))
    held = 0
    for _, n_bytes in sorted(steps):
        held += n_bytes
        if held > MAX_OVERLAP_BYTES:
            raise ReaderError(
                f"chunks of {held} bytes overlap in time, accepted are up to {MAX_OVERLAP_BYTES}"
            )


def _too_large(what: str, n_bytes: int) -> str:
    return f"{what} of {n_bytes} bytes, accepted are up to {MAX_CHUNK_BYTES}"


def _read_exact(file: BinaryIO, size: int) -> bytes:
    """Read so many bytes; in place of rosbags' function of that name."""
    if size > MAX_CHUNK_BYTES + _BLOCK:
        raise ReaderError(_too_large("a record", size))
    data = file.read(size)
    if len(data) != size:
        raise ReaderError(f"a record of {size} bytes is cut off after {len(data)}")
    return data


def _decompress_chunk(data: bytes, compression: str, size: int, crc: int) -> bytes:
    """Decompress a chunk of an mcap; in place of rosbags' ``decompress``."""
    if size > MAX_CHUNK_BYTES:
        raise ReaderError(_too_large("a chunk", size))
    if compression == "":
        raw = data
    elif compression == "zstd":
        raw = _decompress_zstd(data, size)
    elif compression == "lz4":
        raw = _decompress_lz4(data, size)
    else:
        raise ReaderError(f"chunk compression {compression[:64]!r}; accepted: zstd, lz4")
    if len(raw) != size:
        raise ReaderError(f"a chunk has {len(raw)} bytes, {size} are stated")
    if crc and crc32(raw) != crc:
        raise ReaderError("the checksum of a chunk is wrong")
    _check_records(raw)
    return raw


def _check_records(chunk: bytes) -> None:
    """Check that records fill a chunk, and that they are not so many that they fill the memory."""
    begin = n_records = 0
    while begin < len(chunk):
        if begin + _HEAD.size > len(chunk):
            raise ReaderError("the last record of a chunk is cut off")
        _, length = _HEAD.unpack_from(chunk, begin)
        begin += _HEAD.size + length
        n_records += 1
        if n_records > MAX_CHUNK_RECORDS:
            raise ReaderError(f"a chunk has more than {MAX_CHUNK_RECORDS} records")
    if begin != len(chunk):
        raise ReaderError("a record reaches beyond its chunk")


def _decompress_zstd(data: bytes, max_bytes: int = MAX_CHUNK_BYTES) -> bytes:
    """Decompress zstd, up to a number of bytes."""
    decompressor = zstd.ZstdDecompressor()
    raw: bytes = decompressor.decompress(data, max_length=max_bytes + 1)
    _check_end(decompressor, raw, max_bytes)
    return raw


def _decompress_lz4(data: bytes, max_bytes: int) -> bytes:
    """Decompress an lz4 frame, up to a number of bytes."""
    decompressor = lz4.frame.LZ4FrameDecompressor()
    raw: bytes = decompressor.decompress(data, max_length=max_bytes + 1)
    _check_end(decompressor, raw, max_bytes)
    return raw


def _check_end(decompressor: Any, raw: bytes, max_bytes: int) -> None:
    if len(raw) > max_bytes:
        raise ReaderError(f"compressed data of more than {max_bytes} bytes")
    if not decompressor.eof:
        raise ReaderError("compressed data that are cut off")
    if decompressor.unused_data:
        raise ReaderError("compressed data that go on after their end")


class _BoundedZstdFile:
    """A compressed storage file that is decompressed to the disk, up to a number of bytes."""

    def __init__(self, file: BinaryIO, mode: str) -> None:
        n_bytes = file.seek(0, 2)
        file.seek(0)
        free = shutil.disk_usage(tempfile.gettempdir()).free - MIN_FREE_BYTES
        self._left = min(max(MAX_CHUNK_BYTES, n_bytes * MAX_FILE_RATIO), free)
        self._file = zstd.open(file, mode)

    def __enter__(self) -> _BoundedZstdFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, n_bytes: int) -> bytes:
        data: bytes = self._file.read(min(n_bytes, _BLOCK))
        self._left -= len(data)
        if self._left < 0:
            raise ReaderError(
                f"a storage file grows by more than {MAX_FILE_RATIO} times when it is "
                "decompressed, or fills the disk; decompress it with zstd first"
            )
        return data


def _limit_rosbags() -> None:
    bounded_zstd = SimpleNamespace(decompress=_decompress_zstd, open=_BoundedZstdFile)
    for module, name, replacement in (
        (storage_mcap, "read_exact", _read_exact),
        (storage_mcap, "decompress", _decompress_chunk),
        (reader, "zstd", bounded_zstd),
    ):
        if not hasattr(module, name):
            raise ImportError(f"this version of rosbags has no {module.__name__}.{name}")
        setattr(module, name, replacement)


_limit_rosbags()
