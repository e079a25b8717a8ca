# SPDX-License-Identifier: Apache-2.0
"""ReasonSeg: a folder per split with images and, beside each, a JSON file of polygons."""

from __future__ import annotations

import glob
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mllmseg_ros.data.image_file import size_hw
from mllmseg_ros.data.region import Shapes
from mllmseg_ros.data.sample import MALFORMED, Problem, Sample, Target, describe_error
from mllmseg_ros.files import parse_json, read_bytes, show
from mllmseg_ros.model.prompt import normalize_expression

__all__ = ["read_reason_seg"]

_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
_MAX_BYTES = 8 << 20  # of a file, for one image
_CIRCLE_CORNERS = 72
_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_FLAG = "flag"  # a shape that marks the image, not pixels


def list_splits(folder: Path) -> list[str]:
    """List the splits in a ReasonSeg folder."""
    return sorted({path.parent.name for path in list_files(folder)})


def list_files(folder: Path, split: str = "[!.]*") -> list[Path]:
    """List the JSON files of a split, by default of all; hidden ones belong to other programs."""
    return sorted(folder.glob(f"{split}/[!.]*.json"))


def read_reason_seg(folder: Path, split: str) -> Iterator[Sample | Problem]:
    """Read one split: a sample per image, one target, one or more texts.

    Raises:
        ValueError: if there is no such split.
    """
    splits = list_splits(folder)
    if split not in splits:
        raise ValueError(f"{folder}: unknown split {split!r}; it has {', '.join(splits)}")
    for path in list_files(folder, glob.escape(split)):
        try:
            sample, faults = _read(path)
        except MALFORMED as error:
            yield Problem(file=path, entry="", reason=describe_error(error))
            continue
        for fault in faults:
            yield Problem(file=path, entry="", reason=fault, is_used=True)
        yield sample


def _read(path: Path) -> tuple[Sample, list[str]]:
    """Read a file; returns its sample, and why shapes of it cannot be used."""
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
        raise ValueError(f"image {show(path.with_suffix(_IMAGE_ENDINGS[0]))} is missing")
    points, ignored, faults = [], [], []
    n_skipped = 0
    for index, shape in enumerate(shapes):
        try:
            label = str(shape.get("label", "")).lower()
            if _FLAG in label:
                continue
            outline = _outline(shape)
        except MALFORMED as error:
            faults.append(f"shape {index}: {describe_error(error)}")
            continue
        if outline is None:
            n_skipped += 1
            continue
        points.append(outline)
        ignored.append("ignore" in label)
    has_target = not all(ignored)
    if not has_target and faults:
        raise ValueError(faults[0])
    if not has_target and n_skipped:
        raise ValueError("its shapes are points and lines; expected are polygons")
    target = Target(
        expressions=tuple(map(str, texts)),
        region=Shapes(points=tuple(points), ignored=tuple(ignored)) if has_target else None,
        kind="sentence" if fields.get("is_sentence") else "phrase",
    )
    sample = Sample(image=image, size_hw=size_hw(image), targets=(target,), entry=path.stem)
    return sample, faults


def _outline(shape: dict[str, Any]) -> tuple[tuple[float, float], ...] | None:
    """The corners of a shape, px; None for one without an area."""
    corners, kind = shape.get("points"), shape.get("shape_type") or "polygon"
    if kind in _WITHOUT_AREA:
        return None
    if kind not in ("polygon", "rectangle", "circle"):
        raise ValueError(f"it is a {kind!r}; accepted: polygon, rectangle, circle")
    if not isinstance(corners, list):
        raise ValueError("it has no list 'points'")
    outline = tuple((float(x), float(y)) for x, y in corners)
    if kind != "polygon" and len(outline) == 2:
        (x0, y0), (x1, y1) = outline
        if kind == "rectangle":  # two opposite corners
            return (x0, y0), (x1, y0), (x1, y1), (x0, y1)
        radius = math.hypot(x1 - x0, y1 - y0)  # centre and a point of the rim
        turns = (2 * math.pi * i / _CIRCLE_CORNERS for i in range(_CIRCLE_CORNERS))
        return tuple((x0 + radius * math.cos(t), y0 + radius * math.sin(t)) for t in turns)
    if len(outline) < 3:
        raise ValueError("it has fewer than three points")
    return outline


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
