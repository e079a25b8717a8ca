# SPDX-License-Identifier: Apache-2.0
"""Write a bag with the messages of an existing one and our results.

Below the name of each image topic: ``…/mllmseg/segmentations``, ``…/mllmseg/mask/compressed`` (PNG)
and ``…/mllmseg/overlay/compressed`` (JPEG), with the time at which the image was recorded. Entry
point: :class:`BagWriter`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as _Writer
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from mllmseg_ros.recording.bag import BagSource
from mllmseg_ros.recording.bag_types import serialize, typestore
from mllmseg_ros.recording.cameras import is_result_topic

_UNKNOWN_HASH = "RIHS01_" + "0" * 64


class _DatabaseWriter(Sqlite3Writer):
    def __init__(self, path: Path, compression: CompressionMode) -> None:
        # rosbags makes a URI of the path, in which "#", "?" and "%" have a meaning.
        super().__init__(Path(path.resolve().as_uri().removeprefix("file://")), compression)
        self.path = path / f"{path.name}.db3"


class Writer(_Writer):
    """rosbags' writer, for folders of any name."""

    STORAGE_PLUGINS = {  # noqa: RUF012
        **_Writer.STORAGE_PLUGINS, StoragePlugin.SQLITE3: _DatabaseWriter
    }  # fmt: skip


class BagWriter:
    """Writes a new bag, merged by time with the messages of an existing one."""

    def __init__(self, folder: Path, original: BagSource | None) -> None:
        """Open the bag.

        Args:
            folder: folder to write; must not exist.
            original: bag whose messages are copied, except for our earlier results; the new bag
                has the same storage. None for mcap without copied messages.
        """
        storage = (
            StoragePlugin.SQLITE3
            if original and original.storage == "sqlite3"
            else StoragePlugin.MCAP
        )
        # A version of the metadata that Humble can read, too.
        self._writer = Writer(folder, version=8, storage_plugin=storage)
        self._writer.open()
        self._result_connections: dict[str, Connection] = {}
        self._copies: dict[tuple[str, str], Connection] = {}  # by topic and type
        # Add all topics at the start, including those whose messages come late.
        for connection in original.connections if original else ():
            if _is_original(connection) and _key(connection) not in self._copies:
                self._copies[_key(connection)] = self._add_copy(connection)
        self._original: Iterator[tuple[Any, int, bytes]] = (
            original.messages(_is_original) if original else iter(())
        )
        self._next = next(self._original, None)

    def write(self, topic: str, message: Any, recorded_ns: int) -> None:
        """Add one of our messages, after copying all original ones up to its time."""
        self._copy_until(recorded_ns)
        connection = self._result_connections.get(topic)
        if connection is None:
            kind = message.__msgtype__
            connection = self._writer.add_connection(topic, kind, typestore=typestore())
            self._result_connections[topic] = connection
        self._writer.write(connection, recorded_ns, serialize(message))

    def _copy_until(self, recorded_ns: int | None) -> None:
        while self._next is not None:
            connection, original_ns, data = self._next
            if recorded_ns is not None and original_ns > recorded_ns:
                return
            self._writer.write(self._copies[_key(connection)], original_ns, data)
            self._next = next(self._original, None)

    def _add_copy(self, connection: Connection) -> Connection:
        definition, digest = _find_definition(connection)
        return self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=definition,
            rihs01=digest,
            serialization_format=getattr(connection.ext, "serialization_format", "cdr"),
            offered_qos_profiles=getattr(connection.ext, "offered_qos_profiles", ()),
        )

    def __enter__(self) -> BagWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Copy the remaining original messages and close the bag; abort it after an error."""
        if error is not None:
            self._writer.abort()
            return
        self._copy_until(None)
        self._writer.close()


def _key(connection: Connection) -> tuple[str, str]:
    return connection.topic, connection.msgtype


def _is_original(connection: Connection) -> bool:
    return not is_result_topic(connection.topic)


def _find_definition(connection: Connection) -> tuple[str, str]:
    """Find text and hash of a message type, as far as they are known.

    Bags of Humble contain neither. Messages of unknown types are copied anyway, and can be read
    where the type is installed.
    """
    text, name = connection.msgdef.data, connection.msgtype
    store = typestore()
    if not text and name in store.types:
        text = store.generate_msgdef(name, ros_version=2)[0]
    if connection.digest:
        return text, connection.digest
    if name in store.types:
        return text, store.hash_rihs01(name)
    with suppress(Exception):  # a definition that cannot be parsed is copied as it is
        parsed = get_typestore(Stores.EMPTY)
        is_idl = connection.msgdef.format == MessageDefinitionFormat.IDL
        parsed.register(get_types_from_idl(text) if is_idl else get_types_from_msg(text, name))
        return text, parsed.hash_rihs01(name)
    return text, _UNKNOWN_HASH
