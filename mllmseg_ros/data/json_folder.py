# SPDX-License-Identifier: Apache-2.0
"""Data sets of your own: a folder with images and one annotation file.

``annotations.jsonl`` (an object a line) or ``annotations.json`` (a list of them), each::

    {"image": "0001.jpg", "expression": "the red mug", "mask": "0001_mug.png"}

``image`` and ``mask`` are relative to the folder. ``expressions`` is a list of several expressions
for the same target. ``mask`` is a PNG of the image's size, a list of polygons [[x0, y0, x1, y1, …],
…] or [[[x0, y0], [x1, y1], …], …] in pixels, COCO run lengths, or null if the target is not in the
image. ``split`` is optional, by default "train". ``kind`` groups expressions in evaluations.
``review`` is a field of entries that a model labelled (:mod:`mllmseg_ros.data.review`): only
accepted ones are read. Other fields are ignored.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mllmseg_ros.data.foreign_format import foreign_format
from mllmseg_ros.data.image_file import path_in_folder, size_hw
from mllmseg_ros.data.region import Coco, MaskFile, Region, polygons_from
from mllmseg_ros.data.review import expressions_of, is_used
from mllmseg_ros.data.sample import (
    MALFORMED,
    MAX_ANNOTATION_BYTES,
    Problem,
    Sample,
    Target,
    describe_error,
)
from mllmseg_ros.files import is_missing, read_json, read_json_lines, show
from mllmseg_ros.model.prompt import normalize_expression

__all__ = ["read_json_folder"]

ANNOTATIONS = ("annotations.jsonl", "annotations.json")
DEFAULT_SPLIT = "train"


def find_annotation_file(folder: Path) -> Path | None:
    """Find the annotation file of a folder; None if there is none."""
    return next((folder / name for name in ANNOTATIONS if (folder / name).is_file()), None)


def read_json_folder(folder: Path, split: str) -> Iterator[Sample | Problem]:
    """Read one split: a sample per image, a target per entry.

    Raises:
        ValueError: if there is no annotation file, or it has no such split.
    """
    path = find_annotation_file(folder)
    if path is None:
        raise ValueError(f"{folder}: expected {' or '.join(ANNOTATIONS)} in it")
    targets: dict[str, list[Target]] = defaultdict(list)
    images: dict[str, tuple[Path, tuple[int, int]]] = {}  # file and size by name
    splits: set[str] = set()
    seen: set[str] = set()  # entries as text
    n_unreviewed, n_problems = 0, 0
    for entry, fields in _entries(path):
        try:
            if isinstance(fields, ValueError):
                raise fields
            if not isinstance(fields, dict):
                raise ValueError(f"expected an object, found {type(fields).__name__}")
            splits.add(str(fields.get("split", DEFAULT_SPLIT)))
            if fields.get("split", DEFAULT_SPLIT) != split:
                continue
            if not is_used(fields):
                n_unreviewed += 1
                continue
            key = json.dumps(fields, sort_keys=True)
            if key in seen:
                raise ValueError("the same entry occurs earlier")
            seen.add(key)
            name = _image_name(fields)
            if name not in images:
                file = path_in_folder(folder, name)
                size = size_hw(file)
                images[name] = (file if is_missing(folder / name) else folder / name), size
            targets[name].append(_target(fields, folder, f"{path.name} {entry}"))
        except MALFORMED as error:
            n_problems += 1
            yield Problem(file=path, entry=entry, reason=describe_error(error))
    if not splits and not n_problems:
        raise ValueError(f"{path}: no entry in it")
    if split not in splits and not n_problems:  # those that cannot be read may be of that split
        raise ValueError(f"{path}: unknown split {split!r}; it has {', '.join(sorted(splits))}")
    if n_unreviewed and not targets and not n_problems:
        raise ValueError(
            f"{path}: none of its {n_unreviewed} entries is accepted yet; "
            f"`mllmseg review {folder}` shows them, with --accept-sure it accepts what the model "
            "is sure of"
        )
    for name, found in targets.items():
        yield Sample(
            image=images[name][0],
            size_hw=images[name][1],
            targets=tuple(found),
            entry=f"image {show(Path(name))}",
        )


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield name and content of each entry, or a ValueError: why it cannot be read."""
    if path.suffix == ".jsonl":
        lines = read_json_lines(path, max_bytes=MAX_ANNOTATION_BYTES)
        if lines[1:] and lines[0].data.lstrip().startswith(b"[") and _is_list(path):
            raise ValueError(
                f"{path}: it is one list, expected is an object per line; name it {ANNOTATIONS[1]}"
            )
        for line in lines:
            try:
                yield f"line {line.number}", line.parse()
            except ValueError as error:
                yield f"line {line.number}", error
        return
    content = _read_list(path)
    if not isinstance(content, list):
        if foreign := foreign_format(content):
            raise ValueError(f"{show(path)} is {foreign}")
        raise ValueError(f"{path}: expected a list of entries")
    for index, each in enumerate(content):
        yield f"entry {index}", each


def _is_list(path: Path) -> bool:
    with suppress(ValueError):
        return isinstance(read_json(path, max_bytes=MAX_ANNOTATION_BYTES), list)
    return False


def _read_list(path: Path) -> Any:
    try:
        return read_json(path, max_bytes=MAX_ANNOTATION_BYTES)
    except ValueError as error:
        if "Extra data: line 2 " in str(error):  # a whole value in the first line
            raise ValueError(
                f"{error}; name it {ANNOTATIONS[0]} if it has an object per line"
            ) from error
        raise


def _image_name(fields: dict[str, Any]) -> str:
    name = fields.get("image")
    if not isinstance(name, str) or not name:
        raise ValueError("it has no 'image'")
    return name


def _target(fields: dict[str, Any], folder: Path, entry: str) -> Target:
    expressions = expressions_of(fields)
    for expression in expressions:
        normalize_expression(expression)
    if "mask" not in fields:
        raise ValueError("it has no 'mask'; null means that the target is not in the image")
    return Target(
        expressions=expressions,
        region=_region(fields["mask"], folder),
        entry=entry,
        kind=str(fields.get("kind", "")),
    )


def _region(mask: Any, folder: Path) -> Region | None:
    if mask is None:
        return None
    if mask == "":
        raise ValueError("'mask' is empty; null means that the target is not in the image")
    if isinstance(mask, str):
        return MaskFile(path=path_in_folder(folder, mask))
    if isinstance(mask, dict):
        return Coco(runs=(mask,))
    if isinstance(mask, list) and mask:
        return Coco(polygons=tuple(map(_floats, polygons_from(mask))))
    raise ValueError("'mask' is neither a PNG file, a list of polygons, COCO run lengths nor null")


def _floats(polygon: tuple[Any, ...]) -> tuple[Any, ...]:
    """The polygon's numbers; as it is if it holds anything else: decoding says so."""
    try:
        return tuple(float(n) for n in polygon)
    except (TypeError, ValueError, OverflowError):
        return polygon
