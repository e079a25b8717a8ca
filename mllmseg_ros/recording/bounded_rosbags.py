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
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast
from zlib import crc32

import apsw
import lz4.frame
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2 import ReaderError, metadata, reader, storage_mcap
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import check_regular_file, open_file
from mllmseg_ros.recording.mcap_file import McapFile

__all__ = ["Reader", "ReaderError", "decompress_file", "merge_log"]

zstd: Any = reader.zstd  # backports.zstd, from Python 3.14 on compression.zstd

# A message that is larger than a chunk has a chunk of its own; an image of 64 million pixels in
# rgb8 has 192 MB.
MAX_CHUNK_BYTES = 256 << 20  # of an mcap's chunk, decompressed, and of a message
MAX_CHUNK_RECORDS = 1 << 20
MAX_OVERLAP_BYTES = 1 << 30  # of chunks whose times overlap: they are held at once
# A compressed storage file is decompressed to the disk; images do not compress better.
MAX_FILE_RATIO = 100
MIN_FREE_BYTES = 1 << 30  # of the disk, that are left
_BLOCK = 1 << 20
_HEAD = struct.Struct("<BQ")  # of an mcap record: opcode, length
_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}
_CDR = "cdr"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ORDINARY = 0  # of PRAGMA table_xinfo: the column is stored, not computed


class _BoundedMcap(McapReader):
    def __init__(self, path: McapFile) -> None:
        super().__init__(cast("Any", path))  # it needs a path's open(), and its text for errors

    def read_index(self) -> None:
        """Read the index at the end; in place of rosbags', for chunks without an index of theirs.

        rosbags takes them for empty (mcap.dev/spec, "Chunk Index": there may be none).
        """
        super().read_index()
        _check_chunks(self.chunks)
        unindexed = [chunk for chunk in self.chunks if not chunk.message_index_offsets]
        for chunk in unindexed:
            chunk.channel_count.update(dict.fromkeys(self.channels, 1))  # any may be in it
        if unindexed and not (self.statistics and self.statistics.channel_message_counts):
            self.meta_scan()

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Read messages ordered by time, or as they were written if the file has no index.

        rosbags gives up at the first that is older than the one before, which recorders do write.
        """
        read = super().messages if self.chunks else self.messages_scan
        yield from read(connections, start, stop)


class _BoundedDatabase(Sqlite3Reader):
    def __init__(self, path: Path) -> None:
        # rosbags makes a URI of the path, in which "#", "?" and "%" have a meaning.
        super().__init__(Path(path.resolve().as_uri().removeprefix("file://")))
        self._file = path

    def open(self) -> None:
        _check_database(self._file)
        super().open()

    def _open(self) -> None:
        """Read topics and counts; in place of rosbags', for definitions of any encoding."""
        assert self.dbconn is not None
        execute = self.dbconn.execute
        definitions = {}
        if execute("PRAGMA table_info(message_definitions)").fetchall():
            query = "SELECT topic_type, encoding, encoded_message_definition FROM "
            for name, encoding, text in execute(query + "message_definitions"):
                if encoding in _FORMATS:  # not "unknown", which recorders write
                    definitions[name] = MessageDefinition(_FORMATS[encoding], text)
        columns = {column[1] for column in execute("PRAGMA table_info(topics)")}
        optional = (
            name if name in columns else "''"
            for name in ("offered_qos_profiles", "type_description_hash")
        )
        nothing = MessageDefinition(MessageDefinitionFormat.NONE, "")
        query = (
            f"SELECT topics.id, name, type, serialization_format, {', '.join(optional)}, "  # noqa: S608
            "count(messages.id) FROM topics LEFT JOIN messages ON topics.id = messages.topic_id "
            "GROUP BY topics.id ORDER BY topics.id"
        )
        for number, topic, kind, serialization, qos, digest, count in execute(query):
            definition = definitions.get(kind, nothing)
            ext = ConnectionExtRosbag2(serialization, _parse_qos(qos))
            self.connections.append(
                Connection(number, topic, kind, definition, digest, count, ext, self)
            )
        ((start_ns, n_messages),) = execute("SELECT min(timestamp), count(*) FROM messages")
        self.metadata = self.metadata._replace(
            start_time=self.metadata.start_time if start_ns is None else start_ns,
            message_count=n_messages,
        )


class Reader:
    """Reads the storage files of a bag one after the other, ordered by their first message.

    Topics are absolute, and types have their full names ("sensor_msgs/msg/Image").

    Attributes:
        connections: topics with messages of ROS 2.
        other_encodings: what the other topics hold: topic -> encoding of its messages.
        message_count: number of messages, of all topics.
    """

    def __init__(self, files: Sequence[Path | McapFile]) -> None:
        """Name the files, which were checked to be regular ones."""
        self._files = files
        self._storages: list[tuple[McapReader | Sqlite3Reader, dict[int, Connection]]] = []
        self.connections: list[Connection] = []
        self.other_encodings: dict[str, str] = {}
        self.message_count = 0

    def __enter__(self) -> Reader:
        """Open the files.

        Raises:
            Exception: of any kind, if one is damaged; also while messages are read.
        """
        with ExitStack() as stack:
            for file in self._files:
                storage = _BoundedDatabase(file) if isinstance(file, Path) else _BoundedMcap(file)
                storage.open()
                stack.callback(storage.close)
                self._add(storage)
            _check_chunks(
                chunk for storage, _ in self._storages for chunk in getattr(storage, "chunks", ())
            )
            self._storages.sort(key=lambda each: each[0].metadata.start_time)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._stack.close()

    def _add(self, storage: McapReader | Sqlite3Reader) -> None:
        by_id = {}
        for each in storage.connections:
            if not isinstance(each.topic, str) or not isinstance(each.msgtype, str):
                shown = f"{each.topic!r} of type {each.msgtype!r}"
                raise ReaderError(f"topic {shown[:200]}, expected text")
            topic = f"/{each.topic.lstrip('/')}"
            encoding = getattr(each.ext, "serialization_format", _CDR)
            if encoding != _CDR:
                self.other_encodings[topic] = str(encoding)[:64]
                continue
            package, slash, name = each.msgtype.partition("/")
            full = f"{package}/msg/{name}" if slash and "/" not in name else each.msgtype
            by_id[each.id] = each._replace(topic=topic, msgtype=full)
        self.connections.extend(by_id.values())
        self.message_count += storage.metadata.message_count
        self._storages.append((storage, by_id))

    def messages(
        self, connections: Collection[Connection]
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Yield connection, time recorded (ns) and bytes of the messages of some connections.

        They are ordered by time, but for those of an mcap without an index, as a killed recorder
        leaves it: they come as they were written.
        """
        wanted = {(each.topic, each.msgtype) for each in connections}
        for storage, by_id in self._storages:
            ids = {i for i, each in by_id.items() if (each.topic, each.msgtype) in wanted}
            chosen = [each for each in storage.connections if each.id in ids]
            for original, recorded_ns, data in storage.messages(chosen) if chosen else ():
                connection = by_id[original.id]
                if not isinstance(recorded_ns, int) or not isinstance(data, bytes):
                    raise ReaderError(
                        f"a message of {connection.topic[:64]!r} without time or bytes"
                    )
                if data.startswith(_ZSTD):  # compressed by message; CDR begins with 0
                    data = _decompress_zstd(data)
                yield connection, recorded_ns, data


def decompress_file(source: Path, target: Path) -> bool:
    """Decompress a zstd file to the disk, up to MAX_FILE_RATIO times its size.

    Returns:
        Whether the file was complete; otherwise its readable part is decompressed.

    Raises:
        ValueError: if it grows too large, or is damaged.
    """
    try:
        with (
            open_file(source) as file,
            _BoundedZstdFile(file, "rb") as raw,
            target.open("xb") as out,
        ):
            while data := raw.read(_BLOCK):
                out.write(data)
    except EOFError:
        return False
    except (ReaderError, zstd.ZstdError) as error:
        reason = one_line(error, with_type=False)
        raise ValueError(f"{source}: cannot be decompressed: {reason}") from error
    return True


def merge_log(source: Path, target: Path) -> None:
    """Copy a database, with what is only in its write-ahead log.

    Raises:
        ValueError: if the disk has no room, or if the database is malformed.
    """
    log = source.with_name(f"{source.name}-wal")
    n_bytes = check_regular_file(source) + check_regular_file(log)
    if n_bytes + MIN_FREE_BYTES > shutil.disk_usage(target.parent).free:
        raise ValueError(f"{log} cannot be merged: no room for {n_bytes} bytes in {target.parent}")
    shutil.copyfile(source, target)
    shutil.copyfile(log, target.with_name(f"{target.name}-wal"))
    try:
        connection = apsw.Connection(str(target), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        finally:
            connection.close()
    except apsw.Error as error:
        raise ValueError(f"{source}: not a readable database ({error})") from error


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
            raise ReaderError("the last record of a chunk is truncated")
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
        raise ReaderError("truncated compressed data")
    if decompressor.unused_data:
        raise ReaderError("trailing data after the end of the compressed data")


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
        data: bytes = self._file.read1(min(n_bytes, _BLOCK))  # what there is, before an error
        self._left -= len(data)
        if self._left < 0:
            raise ReaderError(
                f"a storage file grows by more than {MAX_FILE_RATIO} times when it is "
                "decompressed, or fills the disk; decompress it with zstd first"
            )
        return data


def _read_string(file: BinaryIO) -> str:
    """Read text; in place of rosbags' function of that name: a schema may be of bytes."""
    data: bytes = storage_mcap.read_bytes(file)
    return data.decode(errors="replace")


def _get_definition(schema: Any) -> MessageDefinition:
    """Get the definition of a type; in place of rosbags' ``get_msgdef``, for any kind of schema."""
    if schema is None or schema.encoding not in ("ros2msg", "ros2idl", "omgidl", ""):
        return MessageDefinition(MessageDefinitionFormat.NONE, "")
    return _rosbags_definition(schema)


def _parse_qos(profiles: Any) -> list[Any]:
    """Parse QoS profiles; in place of rosbags' function: those that are malformed do not matter."""
    with suppress(Exception):
        return metadata.parse_qos(profiles)
    return []


_rosbags_definition = storage_mcap.get_msgdef


def _limit_rosbags() -> None:
    for module, name, replacement in (
        (storage_mcap, "read_exact", _read_exact),
        (storage_mcap, "decompress", _decompress_chunk),
        (storage_mcap, "read_string", _read_string),
        (storage_mcap, "get_msgdef", _get_definition),
        (storage_mcap, "parse_qos", _parse_qos),
    ):
        if not hasattr(module, name):
            raise ImportError(f"this version of rosbags has no {module.__name__}.{name}")
        setattr(module, name, replacement)


_limit_rosbags()
