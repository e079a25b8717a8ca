# SPDX-License-Identifier: Apache-2.0
"""Parquet files of images, masks and texts: RefSpatial-Bench, PBench, Where2Place and others.

A folder holds ``<split>.parquet`` or ``<split>-00000-of-00002.parquet``, in it or in its ``data/``,
as the Hugging Face hub distributes them; one row is one question about one image. Columns are found
by their names:

* the text: the first of TEXTS that is there, text or a list of texts;
* the image: ``image`` (or ``rgb``), encoded bytes or a structure with ``bytes`` and ``path``;
* the target: ``mask``, an image like that, COCO run lengths, or null if the target is not in the
  image; or ``masks``, a list of run lengths, one per instance, empty if there is none;
* groups for the report: any of ATTRIBUTES.

Source: the cards of BAAI/RefSpatial-Bench, tiiuae/PBench and FlagEval/Where2Place, and
Falcon-Perception's ``eval/pbench.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllmseg_ros.data.image_file import path_in_folder
from mllmseg_ros.data.parquet_file import (
    ParquetCell,
    Row,
    StoredImage,
    column_names,
    open_stored,
    rows,
)
from mllmseg_ros.data.region import Coco, Instances, MaskCell, MaskFile, Region
from mllmseg_ros.data.sample import (
    KINDS,
    MALFORMED,
    MAX_ANNOTATION_BYTES,
    Problem,
    Sample,
    Target,
    describe_error,
)
from mllmseg_ros.files import parse_json, show
from mllmseg_ros.model.prompt import normalize_expression

__all__ = ["EVERY_SPLIT", "find_parquet_files", "read_parquet"]

TEXTS = (
    "expression", "expressions", "referring_expression", "sentence", "sentences",
    "object",  # of RefSpatial-Bench: the description alone; its "prompt" asks for points
    "text", "caption", "question", "prompt",
)  # fmt: skip
IMAGES = ("image", "rgb")
MASKS = ("masks", "mask", "segmentation")
ATTRIBUTES = ("step", "scene", "level", "category", "question_type", "type", "kind")
EVERY_SPLIT = "all"
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
MAX_INSTANCES = 4096  # of one expression
_MAX_ATTRIBUTE_CHARS = 40


def find_parquet_files(path: Path) -> dict[str, list[Path]]:
    """Find the files of each split.

    Args:
        path: folder, or one file.
    """
    if path.is_file():
        paths = [path] if path.suffix == ".parquet" else []
    else:
        paths = sorted(path.glob("[!.]*.parquet")) or sorted(path.glob("data/[!.]*.parquet"))
    splits: dict[str, list[Path]] = {}
    for each in paths:
        splits.setdefault(_SHARD.sub("", each.stem), []).append(each)
    return splits


def read_parquet(path: Path, split: str | None) -> Iterator[Sample | Problem]:
    """Read one split, or all: a sample per row.

    Args:
        path: folder, or one file.
        split: EVERY_SPLIT for all; None for the only one, or "train".

    Raises:
        ValueError: if there is no such split, or a file of it as a whole cannot be used.
    """
    splits = find_parquet_files(path)
    if split is None:
        split = next(iter(splits)) if len(splits) == 1 else "train"
    chosen = sorted(splits) if split == EVERY_SPLIT and split not in splits else [split]
    if not set(chosen) <= set(splits):
        raise ValueError(
            f"{path}: unknown split {split!r}; it has {', '.join(sorted(splits))}, and "
            f"{EVERY_SPLIT!r} reads every one"
        )
    for name in chosen:
        for file in splits[name]:
            yield from _read_file(file, name if len(chosen) > 1 else "")


@dataclass(frozen=True, kw_only=True)
class _Columns:
    text: str
    image: str
    mask: str
    attributes: tuple[str, ...]

    def all(self) -> tuple[str, ...]:
        return self.text, self.image, self.mask, *self.attributes


def _find_columns(file: Path) -> _Columns:
    names = column_names(file)

    def find(what: str, accepted: Sequence[str]) -> str:
        found = next((name for name in accepted if name in names), None)
        if found is None:
            raise ValueError(
                f"{show(file)}: no column with the {what}; accepted names: {', '.join(accepted)}; "
                f"it has {', '.join(names)[:300]}"
            )
        return found

    return _Columns(
        text=find("text", TEXTS),
        image=find("image", IMAGES),
        mask=find("mask", MASKS),
        attributes=tuple(name for name in ATTRIBUTES if name in names),
    )


def _read_file(file: Path, split: str) -> Iterator[Sample | Problem]:
    """Read a file; the split is given where it is one of several."""
    columns = _find_columns(file)
    number, n_bytes = -1, 0
    try:
        for row in rows(file, columns.all()):
            number = row.number
            try:
                sample = _sample(file, columns, row, split)
            except MALFORMED as error:
                yield Problem(file=file, entry=f"row {number}", reason=describe_error(error))
                continue
            if isinstance(sample.targets[0].region, (Coco, Instances)):  # what stays in memory
                n_bytes += row.size(columns.mask)
            if n_bytes > MAX_ANNOTATION_BYTES:
                raise ValueError(f"its annotations have more than {MAX_ANNOTATION_BYTES} bytes")
            yield sample
    except ValueError as error:
        reason = describe_error(error)
        yield Problem(file=file, entry=f"row {number + 1} and all after it", reason=reason)


def _sample(file: Path, columns: _Columns, row: Row, split: str) -> Sample:
    values = row.values()
    text = values[columns.text]
    expressions = tuple(text) if isinstance(text, list) else (text,)
    if not expressions or not all(isinstance(each, str) for each in expressions):
        raise ValueError(f"its {columns.text!r} is not a text")
    for expression in expressions:
        normalize_expression(expression)
    image = _stored(file, columns.image, row, values[columns.image])
    if image is None:
        raise ValueError(f"its {columns.image!r} is null")
    region = _region(file, columns.mask, row, values[columns.mask])
    kind = ""
    if columns.mask == "masks":
        kind = KINDS[min(len(region.runs) if isinstance(region, Instances) else 0, 2)]
    attributes = [("split", split)] if split else []
    for name in columns.attributes:
        value = values[name]
        if isinstance(value, (str, int)) and len(str(value)) <= _MAX_ATTRIBUTE_CHARS:
            attributes.append((name, str(value)))
    target = Target(
        expressions=expressions,
        region=region,
        entry=f"row {row.number}",
        kind=kind,
        attributes=tuple(attributes),
    )
    return Sample(
        image=image,
        size_hw=_size_hw(image, region),
        targets=(target,),
        entry=f"row {row.number}",
    )


def _stored(file: Path, column: str, row: Row, value: Any) -> StoredImage | None:
    """The image in a cell, or the file that it names; None for a null."""
    if isinstance(value, dict):
        if value.get("bytes") is None and isinstance(value.get("path"), str):
            return path_in_folder(file.parent, value["path"])
        value, column = value.get("bytes"), f"{column}.bytes"
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise ValueError(f"its {column!r} is {type(value).__name__}, expected an encoded image")
    return ParquetCell(file=file, column=column, row_group=row.row_group, row=row.row)


def _region(file: Path, column: str, row: Row, value: Any) -> Region | None:
    if isinstance(value, str):
        value = parse_json(value)
    if isinstance(value, list):
        if len(value) > MAX_INSTANCES:
            raise ValueError(f"{len(value)} instances, accepted are up to {MAX_INSTANCES}")
        runs = [parse_json(each) if isinstance(each, str) else each for each in value]
        return Instances(runs=tuple(runs)) if runs else None
    if isinstance(value, dict) and "counts" in value:
        return Coco(runs=(value,))
    stored = _stored(file, column, row, value)
    if stored is None:
        return None
    return MaskCell(cell=stored) if isinstance(stored, ParquetCell) else MaskFile(path=stored)


def _size_hw(image: StoredImage, region: Region | None) -> tuple[int, int]:
    """The size of an image as its annotations see it: as it is displayed, unless they differ."""
    with open_stored(image) as opened:
        size_hw, stored_hw = opened.size_hw, opened.stored_hw
    if size_hw == stored_hw or region is None:
        return size_hw
    if isinstance(region, (Coco, Instances)):
        annotated = tuple(region.runs[0]["size"])
    else:
        assert isinstance(region, (MaskCell, MaskFile))
        with open_stored(region.cell if isinstance(region, MaskCell) else region.path) as mask:
            annotated = mask.stored_hw
    return stored_hw if annotated == stored_hw else size_hw
