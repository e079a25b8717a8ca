# SPDX-License-Identifier: Apache-2.0
"""ReasonSeg: a folder per split with images and, beside each, a JSON file of polygons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mllmseg_ros.data.image_file import size_hw
from mllmseg_ros.data.region import Shapes
from mllmseg_ros.data.sample import MALFORMED, Problem, Sample, Target, describe_error
from mllmseg_ros.files import parse_json, read_bytes
from mllmseg_ros.model.prompt import normalize_expression

__all__ = ["read_reason_seg"]

_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
_MAX_BYTES = 8 << 20  # of a file, for one image
_FLAG = "flag"  # a shape that marks the image, not pixels


def list_splits(folder: Path) -> list[str]:
    """List the splits in a ReasonSeg folder."""
    return sorted({path.parent.name for path in folder.glob("*/*.json")})


def read_reason_seg(folder: Path, split: str) -> Iterator[Sample | Problem]:
    """Read one split: a sample per image, one target, one or more texts.

    Raises:
        ValueError: if there is no such split.
    """
    if split not in list_splits(folder):
        raise ValueError(
            f"{folder}: unknown split {split!r}; it has {', '.join(list_splits(folder))}"
        )
    for path in sorted((folder / split).glob("*.json")):
        try:
            yield _read(path)
        except MALFORMED as error:
            yield Problem(file=path, entry="", reason=describe_error(error))


def _read(path: Path) -> Sample:
    fields = _read_json(path)
    texts = fields.get("text")
    shapes = fields.get("shapes")
    if not isinstance(texts, list) or not texts or not isinstance(shapes, list):
        raise ValueError("expected an object with lists 'text' and 'shapes'")
    for text in texts:
        normalize_expression(str(text))
    image = next(
        (path.with_suffix(end) for end in _IMAGE_ENDINGS if path.with_suffix(end).is_file()), None
    )
    if image is None:
        raise ValueError(f"image {path.with_suffix(_IMAGE_ENDINGS[0])} is missing")
    points, ignored = [], []
    for index, shape in enumerate(shapes):
        label = str(shape.get("label", "")).lower()
        if _FLAG in label:
            continue
        corners = shape.get("points")
        if not isinstance(corners, list) or len(corners) < 3:
            raise ValueError(f"shape {index} has fewer than three points")
        points.append(tuple((float(x), float(y)) for x, y in corners))
        ignored.append("ignore" in label)
    region = (
        Shapes(points=tuple(points), ignored=tuple(ignored))
        if points and not all(ignored)
        else None
    )
    target = Target(
        expressions=tuple(map(str, texts)),
        region=region,
        kind="sentence" if fields.get("is_sentence") else "phrase",
    )
    return Sample(image=image, size_hw=size_hw(image), targets=(target,), entry=path.stem)


def _read_json(path: Path) -> dict[str, Any]:
    raw = read_bytes(path, max_bytes=_MAX_BYTES)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")  # some of its files are
    fields = parse_json(text)
    if not isinstance(fields, dict):
        raise ValueError("expected an object")
    return fields
