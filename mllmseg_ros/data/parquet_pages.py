# SPDX-License-Identifier: Apache-2.0
"""Check a parquet file's footer and the headers of its pages, before a library reads it.

A library reserves what the header of a page says, whatever the footer says: another program could
have written it. pyarrow's own view of a footer cannot be used for that: at some broken footers it
ends the process (26.0 does, at size statistics of the wrong length).

Source: the format's definition, parquet.thrift, and Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

__all__ = ["MAX_PAGE_BYTES", "Chunk", "Footer", "check_pages", "read_footer"]

MAX_PAGE_BYTES = 256 << 20  # decompressed; a page holds at least one whole image
MAX_PAGE_VALUES = 1 << 22
MAX_FOOTER_BYTES = 16 << 20
MAX_ROWS = 1_000_000
_MAX_CHUNKS = 100_000  # columns of all row groups
_USUAL_HEADER_BYTES, _MAX_HEADER_BYTES = 4096, 1 << 20  # of a page: statistics hold two values
_MAX_DEPTH = 16  # of structures and lists; the format has eight
_MAGIC = b"PAR1"


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """The pages of a column in a row group."""

    column: str  # "image.bytes" of a structure
    start: int  # byte in the file
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class Footer:
    """What a footer says."""

    n_rows: int
    row_groups: tuple[tuple[Chunk, ...], ...]


def read_footer(file: BinaryIO, *, max_rows: int = MAX_ROWS) -> Footer:
    """Read the footer.

    Args:
        file: seekable; its position changes.
        max_rows: rows that are accepted.

    Raises:
        ValueError: if it is not a parquet file, has an encrypted, broken or too large footer, or
            too many rows or columns.
    """
    length = file.seek(0, 2)
    file.seek(max(0, length - 8))
    tail = file.read(8)
    if length < 12 or tail[4:] != _MAGIC:
        raise ValueError("not a parquet file, or an incomplete one")
    n_bytes = int.from_bytes(tail[:4], "little")
    if n_bytes > min(MAX_FOOTER_BYTES, length - 12):
        raise ValueError(f"a footer of {n_bytes} bytes, accepted are up to {MAX_FOOTER_BYTES}")
    file.seek(length - 8 - n_bytes)
    fields = _CompactReader(file.read(n_bytes)).read_struct()
    n_rows, groups = fields.get(3), fields.get(4, [])
    if not isinstance(n_rows, int) or not isinstance(groups, list):
        raise ValueError("a footer without rows")
    if not 0 <= n_rows <= max_rows:
        raise ValueError(f"{n_rows} rows, accepted are up to {max_rows}")
    try:
        row_groups = tuple(tuple(map(_chunk, group[1])) for group in groups)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError("a footer without the places of its columns") from error
    if sum(map(len, row_groups)) > _MAX_CHUNKS:
        raise ValueError(f"more than {_MAX_CHUNKS} columns in all row groups")
    return Footer(n_rows=n_rows, row_groups=row_groups)


def _chunk(fields: Mapping[int, Any]) -> Chunk:
    described = fields[3]
    start, dictionary = described[9], described.get(11, 0)
    return Chunk(
        column=b".".join(described[3]).decode("utf-8", "replace"),
        start=dictionary if 0 < dictionary < start else start,
        n_bytes=described[7],
    )


def check_pages(file: BinaryIO, chunks: Sequence[Chunk], columns: Collection[str]) -> None:
    """Check the header of every page of some columns.

    Args:
        file: seekable; its position changes.
        chunks: of a row group.
        columns: names; one of a structure stands for all its fields.

    Raises:
        ValueError: if a page is too large, has too many values, or is not where it should be.
    """
    for chunk in chunks:
        if any(chunk.column == name or chunk.column.startswith(f"{name}.") for name in columns):
            try:
                _check_chunk(file, chunk)
            except ValueError as error:
                raise ValueError(f"column {chunk.column}: {error}") from error


def _check_chunk(file: BinaryIO, chunk: Chunk) -> None:
    position, end = chunk.start, chunk.start + chunk.n_bytes
    if position < 0 or end < position:
        raise ValueError("its place in the file is broken")
    while position < end:
        header, n_header_bytes = _read_header(file, position, end)
        sizes = [header.get(2), header.get(3)]  # decompressed, compressed
        # Of a data page, a dictionary page, a data page of version 2.
        counts = [header[kind].get(1) for kind in (5, 7, 8) if isinstance(header.get(kind), dict)]
        for size in sizes:
            if not isinstance(size, int) or not 0 <= size <= MAX_PAGE_BYTES:
                raise ValueError(f"a page of {size} bytes, accepted are up to {MAX_PAGE_BYTES}")
        for count in counts:
            if not isinstance(count, int) or not 0 <= count <= MAX_PAGE_VALUES:
                raise ValueError(f"a page of {count} values, accepted are up to {MAX_PAGE_VALUES}")
        position += n_header_bytes + int(header[3])
    if position != end:
        raise ValueError("its pages are longer than the footer says")


def _read_header(file: BinaryIO, position: int, end: int) -> tuple[dict[int, Any], int]:
    """Read the header of a page; returns its fields and its length."""
    for n_bytes in (_USUAL_HEADER_BYTES, _MAX_HEADER_BYTES):
        file.seek(position)
        reader = _CompactReader(file.read(min(n_bytes, end - position)))
        try:
            return reader.read_struct(), reader.position
        except _CutOff:
            continue
    raise ValueError("the header of a page is cut off, or too long")


_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(
    13
)


class _CutOff(ValueError):
    """The data end within a value."""


class _CompactReader:
    """Reads Thrift's compact protocol: numbers, bytes, lists, and structures as dicts."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def read_struct(self, depth: int = 0) -> dict[int, Any]:
        """Read a structure: values by the number of their field.

        Raises:
            ValueError: if the data are broken; _CutOff if they end too early.
        """
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != _STOP:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            # Of a field, the kind is the value.
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._read(kind, depth)
        return fields

    def _read(self, kind: int, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("a structure that is nested too deep")
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            head = self._byte()
            n = self._varint() if head >> 4 == 15 else head >> 4
            if n > len(self._data) - self.position:  # each takes a byte or more
                raise _CutOff("a structure that is cut off")
            return [self._read(head & 15, depth + 1) for _ in range(n)]
        if kind == _STRUCT:
            return self.read_struct(depth + 1)
        raise ValueError("a broken structure")  # the format has no maps

    def _byte(self) -> int:
        if self.position >= len(self._data):
            raise _CutOff("a structure that is cut off")
        self.position += 1
        return self._data[self.position - 1]

    def _bytes(self, n: int) -> bytes:
        if n > len(self._data) - self.position:
            raise _CutOff("a structure that is cut off")
        self.position += n
        return self._data[self.position - n : self.position]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a broken structure")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
