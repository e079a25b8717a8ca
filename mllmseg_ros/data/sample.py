# SPDX-License-Identifier: Apache-2.0
"""Samples of data sets: an image, its expressions and their targets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.parquet_file import StoredImage
from mllmseg_ros.data.region import Region, decode
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import show

__all__ = ["Problem", "Sample", "Skipped", "Target", "fingerprint"]

Box = tuple[float, float, float, float]
Corners = tuple[tuple[float, float], ...]

# Errors when an entry of an annotation file has wrong values or types.
MALFORMED = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError, MemoryError,
)  # fmt: skip
_MAX_REASON = 300  # characters
KINDS = ("none", "one", "several")  # of expressions in data sets where all three occur
# COCO's instances of train2014, which RefCOCO refers to, have 0.45 GB.
MAX_ANNOTATION_BYTES = 1 << 30


def describe_error(error: Exception) -> str:
    """Describe in one line why an entry cannot be used."""
    if isinstance(error, ValueError):
        return one_line(error, with_type=False, max_chars=_MAX_REASON)
    return f"it does not have the expected form ({one_line(error, max_chars=_MAX_REASON)})"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What expressions refer to: one object, several, or none."""

    expressions: tuple[str, ...]
    region: Region | None  # None: not in the image
    box_xywh: Box | None = None  # px, as annotated
    entry: str = ""  # its place in the file, for messages
    kind: str = ""  # of expression, for evaluations; "" if the data set has none
    attributes: tuple[tuple[str, str], ...] = ()  # further kinds: name and value
    grasps: tuple[Corners, ...] = ()  # px, annotated rectangles, four corners each


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image with its targets."""

    image: StoredImage
    size_hw: tuple[int, int]  # px, as annotated
    targets: tuple[Target, ...]
    entry: str  # its place in the file, for messages
    depth: Path | None = None  # a PNG of millimetres, aligned with the image

    @property
    def file(self) -> Path:
        """The file of the image, or that in which it lies."""
        return self.image if isinstance(self.image, Path) else self.image.file

    def mask(self, target: Target) -> NDArray[np.bool_]:
        """Decode the mask of one of its targets, (H, W); empty if it is not in the image.

        Raises:
            ValueError: if the region cannot be read; names image and entry.
        """
        if target.region is None:
            return np.zeros(self.size_hw, dtype=np.bool_)
        try:
            return decode(target.region, self.size_hw)
        except ValueError as error:
            where = target.entry or self.entry
            raise ValueError(f"{show(self.file)}, {where}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An entry that cannot be used, or not as a whole, or whose meaning is doubtful."""

    file: Path
    entry: str  # empty for the whole file
    reason: str
    is_used: bool = False  # whether the entry is used all the same

    def __str__(self) -> str:
        where = f"{show(self.file)}, {self.entry}" if self.entry else show(self.file)
        return f"{where}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Entries without an expression; published data sets have some, which is not an error."""

    n: int
    what: str  # for messages, in the plural

    def __str__(self) -> str:
        return f"{self.n} {self.what} skipped"


def fingerprint(*data_sets: Sequence[Sample]) -> str:
    """Hash what samples say: names of images, expressions and regions, in their order.

    Recipes of runs hold it: it must not change with the code (it is made of the regions' repr).
    """
    digest = hashlib.sha256()
    for samples in data_sets:
        digest.update(b"data set")
        for sample in samples:
            targets = [(target.expressions, target.region) for target in sample.targets]
            digest.update(repr((sample.image.name, sample.size_hw, targets)).encode())
    return digest.hexdigest()[:16]
