# SPDX-License-Identifier: Apache-2.0
"""RefCLEF, RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: references over COCO annotations.

A folder holds ``instances.json`` and ``refs(<split by>).p`` or, of gRefCOCO, ``grefs(<split
by>).json``. A reference of gRefCOCO may have several targets, or none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mllmseg_ros.data.foreign_format import name_foreign_file
from mllmseg_ros.data.image_file import path_in_folder
from mllmseg_ros.data.plain_pickle import load_plain_pickle
from mllmseg_ros.data.region import Coco, polygons_from
from mllmseg_ros.data.sample import (
    KINDS,
    MALFORMED,
    MAX_ANNOTATION_BYTES,
    Problem,
    Sample,
    Skipped,
    Target,
    describe_error,
)
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import read_json, show
from mllmseg_ros.model.prompt import normalize_expression

__all__ = ["read_references"]

INSTANCES = "instances.json"
_USUAL = ("unc", "umd")  # RefCOCO, RefCOCO+, RefCLEF, gRefCOCO | RefCOCOg
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")  # "007" is another identifier than 7
_NO_ANNOTATION = (-1, None)  # gRefCOCO's values for "no target"


def find_references(folder: Path) -> list[Path]:
    """List the files with references in a folder, gRefCOCO's first."""
    return sorted(folder.glob("grefs(*).json")) + sorted(folder.glob("refs(*).p"))


def _usual_file(folder: Path) -> Path:
    """Choose the references that the literature uses, if there is more than one file."""
    paths = find_references(folder)
    if len(paths) == 1:
        return paths[0]
    for split_by in _USUAL:
        usual = [path for path in paths if f"({split_by})" in path.name]
        if len(usual) == 1:
            return usual[0]
    if not paths and (foreign := name_foreign_file([folder / INSTANCES])):
        raise ValueError(foreign)
    names = ", ".join(path.name for path in paths) or "none"
    raise ValueError(
        f"{folder}: expected one file refs(<split by>).p or grefs(<split by>).json, found "
        f"{names}; name the file itself"
    )


@dataclass(frozen=True, kw_only=True)
class _Instances:
    images: dict[int, dict[str, Any]]
    annotations: dict[int, dict[str, Any]]


def read_references(
    folder: Path, split: str, images: Sequence[Path]
) -> Iterator[Sample | Problem | Skipped]:
    """Read one split: a sample per image, a target per reference.

    Args:
        folder: of the annotation files, or the file with the references.
        split: as the references name it: train, val, test, testA, testB, …
        images: folders that may hold the images.

    Yields:
        Samples in the order of their first reference, entries that cannot be used, and how many
        references have no sentence: published ones of gRefCOCO do.

    Raises:
        ValueError: if a file as a whole cannot be used, or no reference is of that split.
    """
    path = folder if folder.is_file() else _usual_file(folder)
    folder = path.parent
    references = _read_list(path)
    splits = sorted({str(each.get("split")) for each in references if isinstance(each, dict)})
    if split not in splits:
        raise ValueError(f"{path}: unknown split {split!r}; it has {', '.join(splits)}")
    instances, duplicates = _read_instances(folder / INSTANCES)
    yield from duplicates
    by_image: dict[int, list[Target]] = defaultdict(list)
    seen: set[Any] = set()
    n_silent = 0
    for index, reference in enumerate(references):
        if not isinstance(reference, dict):
            reason = f"expected an object, found {type(reference).__name__}"
            yield Problem(file=path, entry=f"reference number {index}", reason=reason)
            continue
        if reference.get("split") != split:
            continue
        entry = f"reference {_shown(reference.get('ref_id', f'number {index}'))}"
        try:
            if reference.get("ref_id") in seen:
                raise ValueError("this ref_id occurs earlier")
            seen.add(reference.get("ref_id"))
            expressions = _expressions(reference)
            if not expressions:
                n_silent += 1
                continue
            image_id, target = _target(reference, expressions, instances)
            by_image[image_id].append(target)
        except MALFORMED as error:
            yield Problem(file=path, entry=entry, reason=describe_error(error))
    if n_silent:
        yield Skipped(n=n_silent, what="references without a sentence")
    lying_in: Path | None = None
    named: dict[str, Any] = {}  # identifier of the first image with each file name
    for image_id, targets in by_image.items():
        image = instances.images[image_id]
        try:
            name = _file_name(image)
            if (first := named.setdefault(name, image_id)) != image_id:
                yield Problem(
                    file=folder / INSTANCES,
                    entry=f"image {_shown(image_id)}",
                    reason=f"its file {show(Path(name))} is also that of image {_shown(first)}",
                    is_used=True,
                )
            if lying_in is None:  # the first folder that has the first image, else the first
                lying_in = next((each for each in images if _find(each, name).is_file()), images[0])
            yield _sample(image, targets, _find(lying_in, name))
        except MALFORMED as error:
            reason = describe_error(error)
            yield Problem(file=folder / INSTANCES, entry=f"image {_shown(image_id)}", reason=reason)


def _sample(image: dict[str, Any], targets: list[Target], path: Path) -> Sample:
    if not path.is_file():
        raise ValueError(f"image {show(path)} is missing")
    size_hw = _side(image, "height"), _side(image, "width")
    entry = f"image {_shown(image['id'])}"
    return Sample(image=path, size_hw=size_hw, targets=tuple(targets), entry=entry)


def _side(image: dict[str, Any], name: str) -> int:
    value = image[name]
    if not isinstance(value, (int, float)) or int(value) != value:
        raise ValueError(f"its {name} is {_shown(value)}, expected a number of px")
    return int(value)


def _find(folder: Path, name: str) -> Path:
    """The path of an image, whose name may have been written on another system."""
    path = folder / name
    if path.is_file():
        return path
    found = path_in_folder(folder, name)
    return found if found.is_file() else path


def _file_name(image: dict[str, Any]) -> str:
    """The name of an image file, which must lie in the folder of images."""
    name = str(image["file_name"])
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"{show(Path(name))} lies outside the folder of images")
    return name


def _number(identifier: Any) -> Any:
    """An identifier as the tables have it: some programs write whole numbers as text."""
    is_text = isinstance(identifier, str) and _WHOLE.fullmatch(identifier)
    return int(identifier) if is_text else identifier


def _shown(identifier: object) -> str:
    """An identifier from a file, for messages."""
    return one_line(ValueError(identifier), with_type=False, max_chars=60)


def _expressions(reference: dict[str, Any]) -> tuple[str, ...]:
    """The sentences of a reference that are not blank."""
    for field in ("image_id", "ann_id", "sentences"):
        if field not in reference:
            raise ValueError(f"it has no {field!r}")
    sentences = reference["sentences"]
    if not isinstance(sentences, list):
        raise ValueError(f"'sentences' is {type(sentences).__name__}, expected a list")
    texts = [each["sent"] if isinstance(each, dict) else each for each in sentences]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a sentence is not text")
    expressions = tuple(text for text in texts if text.strip())
    for expression in expressions:
        normalize_expression(expression)
    return expressions


def _target(
    reference: dict[str, Any], expressions: tuple[str, ...], instances: _Instances
) -> tuple[int, Target]:
    image_id = _number(reference["image_id"])
    if image_id not in instances.images:
        raise ValueError(f"image {_shown(image_id)} is not in {INSTANCES}")
    ids = reference["ann_id"]
    ids = [_number(i) for i in (ids if isinstance(ids, list) else [ids]) if i not in _NO_ANNOTATION]
    if reference.get("no_target", not ids) != (not ids):
        raise ValueError(f"no_target is {reference['no_target']}, but ann_id names {ids}")
    annotations = []
    for ann_id in ids:
        annotation = instances.annotations.get(ann_id)
        if annotation is None:
            raise ValueError(f"annotation {ann_id} is not in {INSTANCES}")
        if _number(annotation.get("image_id")) != image_id:
            raise ValueError(
                f"annotation {ann_id} is of image {annotation.get('image_id')}, "
                f"the reference of image {image_id}"
            )
        annotations.append(annotation)
    box = annotations[0].get("bbox") if len(annotations) == 1 else None
    return image_id, Target(
        expressions=expressions,
        region=_region(annotations) if annotations else None,
        box_xywh=(float(box[0]), float(box[1]), float(box[2]), float(box[3])) if box else None,
        # gRefCOCO alone has lists.
        entry=f"reference {_shown(reference.get('ref_id', ''))}".strip(),
        kind=KINDS[min(len(ids), 2)] if isinstance(reference["ann_id"], list) else "",
    )


def _region(annotations: list[dict[str, Any]]) -> Coco:
    """The union of annotations, polygons and run lengths as they come."""
    polygons: list[tuple[float, ...]] = []
    runs: list[dict[str, Any]] = []
    for annotation in annotations:
        parts = annotation.get("segmentation") or []
        parts = parts if isinstance(parts, list) else [parts]
        runs += [part for part in parts if isinstance(part, dict)]
        polygons += polygons_from([part for part in parts if not isinstance(part, dict)])
    return Coco(polygons=tuple(polygons), runs=tuple(runs))


def _read_list(path: Path) -> list[Any]:
    if path.suffix == ".p":
        content = load_plain_pickle(path)
    else:
        content = read_json(path, max_bytes=MAX_ANNOTATION_BYTES)
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of references")
    return content


def _read_instances(path: Path) -> tuple[_Instances, list[Problem]]:
    if not path.is_file():
        raise ValueError(f"{path}: not found; it holds the images' sizes and the annotations")
    content = read_json(path, max_bytes=MAX_ANNOTATION_BYTES)
    problems: list[Problem] = []
    tables: dict[str, dict[int, dict[str, Any]]] = {}
    for name, fields in (
        ("images", ("id", "file_name", "height", "width")),
        ("annotations", ("id", "image_id", "segmentation")),
    ):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise ValueError(f"{path}: expected an object with a list {name!r}")
        tables[name] = {}
        for index, each in enumerate(content[name]):
            try:
                if not isinstance(each, dict):
                    raise ValueError(f"expected an object, found {type(each).__name__}")
                missing = [field for field in fields if field not in each]
                if missing:
                    raise ValueError(f"it has no {missing[0]!r}")
                identifier = _number(each["id"])
                if identifier in tables[name]:
                    raise ValueError(f"id {_shown(identifier)} occurs earlier")
                tables[name][identifier] = each
            except MALFORMED as error:
                entry, reason = f"{name}[{index}]", describe_error(error)
                problems.append(Problem(file=path, entry=entry, reason=reason))
    return _Instances(images=tables["images"], annotations=tables["annotations"]), problems
