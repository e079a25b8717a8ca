# SPDX-License-Identifier: Apache-2.0
"""RoboRefIt: ``<split>/roborefit_<split>.json`` with images, depth and a mask file per sentence.

Source: the data set's own reader (luyh20/VL-Grasp, ``RoboRefIt/datasets``): boxes are x0, y0, x1,
y1; paths begin with ``final_dataset`` and may have backslashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mllmseg_ros.data.image_file import path_in_folder, size_hw
from mllmseg_ros.data.region import MaskFile
from mllmseg_ros.data.sample import (
    MALFORMED,
    MAX_ANNOTATION_BYTES,
    Problem,
    Sample,
    Target,
    describe_error,
)
from mllmseg_ros.files import read_json, show
from mllmseg_ros.model.prompt import normalize_expression

__all__ = ["find_roborefit", "read_roborefit"]

_PLACES = ("", "final_dataset", "data/final_dataset")


def find_roborefit(folder: Path) -> Path | None:
    """Find the folder of the splits: this one, or its usual place below it."""
    return next((folder / place for place in _PLACES if _splits(folder / place)), None)


def _splits(folder: Path) -> dict[str, Path]:
    """The annotation file of each split."""
    folders = sorted(each.parent for each in folder.glob("[!.]*/roborefit_*.json"))
    files = {each.name: each / f"roborefit_{each.name}.json" for each in folders}
    return {split: file for split, file in files.items() if file.is_file()}


def read_roborefit(folder: Path, split: str) -> Iterator[Sample | Problem]:
    """Read one split: a sample per image, a target per sentence.

    Args:
        folder: of :func:`find_roborefit`.
        split: train, testA or testB.

    Raises:
        ValueError: if there is no such split, or the file as a whole cannot be used.
    """
    splits = _splits(folder)
    if split not in splits:
        raise ValueError(f"{folder}: unknown split {split!r}; it has {', '.join(splits)}")
    path = splits[split]
    content = read_json(path, max_bytes=MAX_ANNOTATION_BYTES)
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of entries")
    targets: dict[str, list[Target]] = {}
    depths: dict[str, Path] = {}
    for number, fields in enumerate(content):
        entry = f"entry {number}"
        try:
            if not isinstance(fields, dict):
                raise ValueError(f"expected an object, found {type(fields).__name__}")
            name = str(fields["rgb_path"])
            target = _target(fields, folder, entry)
            depths.setdefault(name, _find(folder, fields.get("depth_path", "")))
            targets.setdefault(name, []).append(target)
        except MALFORMED as error:
            yield Problem(file=path, entry=entry, reason=describe_error(error))
    for name, found in targets.items():
        entry = f"image {show(Path(name))}"
        try:
            image = _find(folder, name)
            yield Sample(
                image=image,
                size_hw=size_hw(image),
                targets=tuple(found),
                entry=entry,
                depth=depths[name] if depths[name].is_file() else None,
            )
        except MALFORMED as error:
            yield Problem(file=path, entry=entry, reason=describe_error(error))


def _find(folder: Path, name: Any) -> Path:
    """The path of a file, whose name begins with the name that the folder once had."""
    _, _, rest = str(name).replace("\\", "/").partition("/")
    return path_in_folder(folder, rest)


def _target(fields: dict[str, Any], folder: Path, entry: str) -> Target:
    text = fields["text"]
    if not isinstance(text, str):
        raise ValueError(f"its 'text' is {type(text).__name__}, expected text")
    normalize_expression(text)
    x0, y0, x1, y1 = map(float, fields["bbox"])
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"its box {x0:g}, {y0:g}, {x1:g}, {y1:g} is not x0, y0, x1, y1")
    return Target(
        expressions=(text,),
        region=MaskFile(path=_find(folder, fields["mask_path"])),
        box_xywh=(x0, y0, x1 - x0, y1 - y0),
        entry=entry,
        attributes=(("scene", str(fields["scene"])[:40]),) if "scene" in fields else (),
    )
