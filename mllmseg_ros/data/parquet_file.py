# SPDX-License-Identifier: Apache-2.0
"""Read parquet files row by row, in bounded memory, and images that lie in their cells.

Needs pyarrow, which is imported when a file is opened.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from mllmseg_ros.codecs.image_file import (
    FORMATS,
    MAX_IMAGE_BYTES,
    ImageFile,
    open_encoded_image,
    open_image,
)
from mllmseg_ros.data.parquet_pages import Footer, check_pages, read_footer
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import open_file, show

__all__ = ["ParquetCell", "Row", "StoredImage", "column_names", "open_stored", "rows"]

MAX_VALUE_BYTES = MAX_IMAGE_BYTES  # of a row in a column
MAX_DICTIONARY_BYTES = 1 << 30
_BUFFER_BYTES = 1 << 20
_TEXT_TYPES = ("string", "large_string", "binary", "large_binary")


@dataclass(frozen=True, kw_only=True)
class ParquetCell:
    """A cell of a parquet file that holds an encoded image."""

    file: Path
    column: str  # in a structure with its field: "image.bytes"
    row_group: int
    row: int  # in its row group

    @property
    def name(self) -> str:
        """The cell's name, like that of an image file."""
        return f"{self.file.name}/{self.row_group}/{self.row}"

    def read(self) -> bytes:
        """Read the cell.

        Raises:
            ValueError: if it does not hold an image, or the file is broken.
        """
        changed_ns = self.file.stat().st_mtime_ns
        value = _column(self.file, self.column, self.row_group, changed_ns).read(self.row)
        if not isinstance(value, bytes):
            raise ValueError(f"{show(self.file)}, {self.column}: a cell without an image")
        return value


StoredImage = Path | ParquetCell


def open_stored(
    image: StoredImage, *, formats: tuple[str, ...] = FORMATS
) -> AbstractContextManager[ImageFile]:
    """Open an image file, or an image in a cell, and check its header.

    Raises:
        ValueError: from :func:`~mllmseg_ros.codecs.image_file.open_image`.
    """
    if isinstance(image, ParquetCell):
        return open_encoded_image(image.read(), image.file, formats=formats)
    return open_image(image, formats=formats)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row, not converted yet."""

    row_group: int
    row: int  # in its row group
    number: int  # in the file
    batch: Any  # a pyarrow.RecordBatch of this row

    def size(self, column: str) -> int:
        """Bytes of its values in a column.

        Raises:
            ValueError: if the column holds too many different values.
        """
        return sum(map(_size, _leaves(self.batch.column(column))))

    def values(self) -> dict[str, Any]:
        """Convert it to plain values by column.

        Raises:
            ValueError: if a text is not UTF-8, or a value has more than MAX_VALUE_BYTES.
        """
        for column in self.batch.schema.names:
            if (n_bytes := self.size(column)) > MAX_VALUE_BYTES:
                raise ValueError(
                    f"{column!r} has {n_bytes} bytes, accepted are up to {MAX_VALUE_BYTES}"
                )
        try:
            (values,) = self.batch.to_pylist()
        except NotImplementedError as error:
            raise ValueError(
                f"a value of a type that is not accepted ({one_line(error)})"
            ) from error
        return dict(values)


def column_names(path: Path) -> list[str]:
    """List the columns of a file.

    Raises:
        ValueError: if it is not a parquet file, has too many rows or columns, or needs pyarrow.
    """
    with _open(path) as opened, _refusing_broken(path):
        return list(opened.parquet.schema_arrow.names)


def rows(path: Path, columns: Collection[str]) -> Iterator[Row]:
    """Read some columns, a row at a time: no more than one image is in memory.

    Raises:
        ValueError: from :func:`column_names`, or if a page is broken or too large.
    """
    number = itertools.count()
    with _open(path) as opened:
        for group in range(len(opened.footer.row_groups)):
            for row, batch in enumerate(opened.batches(group, columns)):
                yield Row(row_group=group, row=row, number=next(number), batch=batch)


def _leaves(array: Any) -> Iterator[Any]:
    """The arrays of plain values in an array of lists and structures."""
    import pyarrow

    if isinstance(array, pyarrow.StructArray):
        for field in array.flatten():
            yield from _leaves(field)
    elif isinstance(array, (pyarrow.ListArray, pyarrow.LargeListArray)):
        yield from _leaves(array.flatten())
    else:
        yield array


def _size(leaf: Any) -> int:
    """Bytes that the values have when each stands alone."""
    import pyarrow
    import pyarrow.compute

    # Of a dictionary, equal values are stored once, and each becomes an object of its own.
    if not isinstance(leaf, pyarrow.DictionaryArray):
        return int(leaf.nbytes)
    if leaf.dictionary.nbytes > MAX_DICTIONARY_BYTES:
        raise ValueError(f"more than {MAX_DICTIONARY_BYTES} bytes of different values in a column")
    if str(leaf.type.value_type) not in _TEXT_TYPES:
        return int(leaf.indices.nbytes)
    lengths = pyarrow.compute.binary_length(leaf.dictionary)
    return int(pyarrow.compute.sum(lengths.take(leaf.indices)).as_py() or 0)


class _Column:
    """A column of a row group, read in order: reading back starts again."""

    def __init__(self, path: Path, column: str, row_group: int) -> None:
        self._path, self._column, self._row_group = path, column, row_group
        self._next, self._last = 0, None
        self._values: Iterator[Any] = self._iterate()

    def _iterate(self) -> Iterator[Any]:
        with _open(self._path) as opened:
            for batch in opened.batches(self._row_group, (self._column,)):
                (leaf,) = _leaves(batch.column(0))
                if _size(leaf) > MAX_VALUE_BYTES:
                    raise ValueError(
                        f"{show(self._path)}: an image of {_size(leaf)} bytes, accepted are up to "
                        f"{MAX_VALUE_BYTES}"
                    )
                yield leaf[0].as_py() if len(leaf) == 1 else None

    def read(self, row: int) -> Any:
        if row < self._next - 1:
            self._next, self._values = 0, self._iterate()
        if row >= self._next:
            self._last = next(itertools.islice(self._values, row - self._next, None), None)
            self._next = row + 1
        return self._last


@lru_cache(maxsize=2)  # images and masks
def _column(path: Path, column: str, row_group: int, changed_ns: int) -> _Column:
    return _Column(path, column, row_group)


@dataclass(frozen=True)
class _OpenFile:
    parquet: Any  # a pyarrow.parquet.ParquetFile
    source: BinaryIO
    footer: Footer
    path: Path

    def batches(self, row_group: int, columns: Collection[str]) -> Iterator[Any]:
        """Check the pages of some columns of a row group, and read them a row at a time."""
        with _refusing_broken(self.path):
            check_pages(self.source, self.footer.row_groups[row_group], columns)
            batches = self.parquet.iter_batches(
                batch_size=1, row_groups=[row_group], columns=list(columns), use_threads=False
            )
        while True:
            with _refusing_broken(self.path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


@contextmanager
def _open(path: Path) -> Iterator[_OpenFile]:
    """Open a file, its footer checked."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            f"{show(path)} needs pyarrow: pip install '.[parquet]', or install the packages in "
            "requirements/parquet.txt"
        ) from error
    with open_file(path) as source:
        with _refusing_broken(path):
            footer = read_footer(source)
            schema = pyarrow.parquet.ParquetFile(source).schema
            leaves = [schema.column(index) for index in range(len(schema))]
            file = pyarrow.parquet.ParquetFile(
                source,
                # Buffered instead of read ahead: a column chunk of images can have gigabytes.
                buffer_size=_BUFFER_BYTES,
                pre_buffer=False,
                # In a list, one short dictionary could stand for gigabytes of text in one row.
                read_dictionary=[
                    leaf.path
                    for leaf in leaves
                    if leaf.max_repetition_level and leaf.physical_type == "BYTE_ARRAY"
                ],
                arrow_extensions_enabled=False,
            )
        yield _OpenFile(file, source, footer, path)


@contextmanager
def _refusing_broken(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises for a broken file into a ValueError with its name."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # ArrowInvalid, OSError, NotImplementedError, OverflowError, …
        reason = one_line(
            error, max_chars=200, with_type=not isinstance(error, (OSError, ValueError))
        )
        raise ValueError(f"{show(path)} cannot be read as parquet: {reason}") from error
