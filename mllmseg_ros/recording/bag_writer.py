# SPDX-License-Identifier: Apache-2.0
"""Write a bag: what an old one held, and our answers beside it.

Under the name of each image topic: ``…/mllmseg/segmentations``, ``…/mllmseg/mask/compressed`` (PNG)
and ``…/mllmseg/overlay/compressed`` (JPEG), at the time at which the image was recorded. Entry
point: :class:`BagWriter`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from mllmseg_ros.recording.bag import BagSource
from mllmseg_ros.recording.bag_types import serialized, typestore
from mllmseg_ros.recording.cameras import is_own

_UNKNOWN_HASH = "RIHS01_" + "0" * 64


class BagWriter:
    """A new bag in a folder of its own, merged by time with the messages of an old one."""

    def __init__(self, folder: Path, old: BagSource | None) -> None:
        """Open it.

        Args:
            folder: to write; must not exist.
            old: whose messages are taken over, all but earlier answers of ours; its storage is
                kept. None for mcap without any.
        """
        storage = StoragePlugin.SQLITE3 if old and old.storage == "sqlite3" else StoragePlugin.MCAP
        # Metadata of a version that Humble's reader takes, too.
        self._writer = Writer(folder, version=8, storage_plugin=storage)
        self._writer.open()
        self._ours: dict[str, Connection] = {}
        self._copies: dict[tuple[str, str], Connection] = {}  # by topic and type
        # All topics from the start, also those whose messages come late.
        for connection in old.connections if old else ():
            if _is_old(connection) and _key(connection) not in self._copies:
                self._copies[_key(connection)] = self._copied(connection)
        self._old: Iterator[tuple[Any, int, bytes]] = old.messages(_is_old) if old else iter(())
        self._next = next(self._old, None)

    def write(self, topic: str, message: Any, recorded_ns: int) -> None:
        """Add a message of ours, after all old ones up to its time."""
        self._copy_until(recorded_ns)
        connection = self._ours.get(topic)
        if connection is None:
            kind = message.__msgtype__
            connection = self._writer.add_connection(topic, kind, typestore=typestore())
            self._ours[topic] = connection
        self._writer.write(connection, recorded_ns, serialized(message))

    def _copy_until(self, recorded_ns: int | None) -> None:
        while self._next is not None:
            connection, old_ns, data = self._next
            if recorded_ns is not None and old_ns > recorded_ns:
                return
            self._writer.write(self._copies[_key(connection)], old_ns, data)
            self._next = next(self._old, None)

    def _copied(self, connection: Connection) -> Connection:
        definition, digest = _definition(connection)
        return self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=definition,
            rihs01=digest,
            serialization_format=getattr(connection.ext, "serialization_format", "cdr"),
            offered_qos_profiles=getattr(connection.ext, "offered_qos_profiles", ()),
        )

    def __enter__(self) -> BagWriter:
        """Write inside."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take over what is left of the old bag, and finish."""
        if error is not None:
            self._writer.abort()
            return
        self._copy_until(None)
        self._writer.close()


def _key(connection: Connection) -> tuple[str, str]:
    return connection.topic, connection.msgtype


def _is_old(connection: Connection) -> bool:
    return not is_own(connection.topic)


def _definition(connection: Connection) -> tuple[str, str]:
    """Text and hash of a message type, as well as they are known.

    A bag of Humble holds neither; of types that nobody else knows the messages are taken over all
    the same, to be read where the type is installed.
    """
    text, name = connection.msgdef.data, connection.msgtype
    store = typestore()
    if not text and name in store.types:
        text = store.generate_msgdef(name, ros_version=2)[0]
    if connection.digest:
        return text, connection.digest
    if name in store.types:
        return text, store.hash_rihs01(name)
    with suppress(Exception):  # a definition that cannot be parsed is kept as it is
        own = get_typestore(Stores.EMPTY)
        is_idl = connection.msgdef.format == MessageDefinitionFormat.IDL
        own.register(get_types_from_idl(text) if is_idl else get_types_from_msg(text, name))
        return text, own.hash_rihs01(name)
    return text, _UNKNOWN_HASH
