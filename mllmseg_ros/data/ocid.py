# SPDX-License-Identifier: Apache-2.0
"""OCID-VLG and OCID-Ref: sentences about the RGB-D images of OCID, in ``<split>_expressions.json``.

OCID-VLG has a list of entries with boxes x, y, width, height and grasp rectangles; its images lie
two folders above ``refer/<version>/``, as ``<sequence>/rgb/``, ``depth/`` and
``seg_mask_instances_combi/``. OCID-Ref has an object of entries and uses OCID's own ``rgb/``,
``depth/`` and ``label/``; its boxes are x0, y0, x1, y1 as text, although its description says x, y,
width, height.

Source: the data set's own reader (gtziafas/OCID-VLG, ``dataset.py``); OCID-Ref's
``instruction.txt``, and for its boxes siddk/voltron-evaluation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mllmseg_ros.data.image_file import path_in_folder, size_hw
from mllmseg_ros.data.region import LabelFile
from mllmseg_ros.data.sample import (
    MALFORMED,
    MAX_ANNOTATION_BYTES,
    Box,
    Corners,
    Problem,
    Sample,
    Target,
    describe_error,
)
from mllmseg_ros.files import parse_json, read_json, show
from mllmseg_ros.model.prompt import normalize_expression

__all__ = ["find_expressions", "read_ocid"]

_ENDING = "_expressions.json"
_USUAL = Path("refer", "multiple")  # of OCID-VLG's versions
_OCID = ("", "OCID-dataset", "OCID-dataset/OCID-dataset")  # where OCID lies, from OCID-Ref
# OCID: numbers of the last images of a sequence whose objects are free, touching and stacked.
_CLUTTER = ((9, "free"), (16, "touching"), (20, "stacked"))
# Of OCID-VLG's programs: the rest of a relation's also compares attributes or places.
_RELATION = {"scene", "ground", "filter_category", "unique", "relate", "return"}
_MAX_GRASPS = 1000  # of an entry


def find_expressions(folder: Path) -> Path | None:
    """Find the folder with the expressions: this one, or that of OCID-VLG's usual version."""
    return next(
        (each for each in (folder, folder / _USUAL) if any(each.glob(f"[!.]*{_ENDING}"))), None
    )


def read_ocid(folder: Path, split: str, images: Sequence[Path] = ()) -> Iterator[Sample | Problem]:
    """Read one split: a sample per image, a target per sentence.

    Args:
        folder: of :func:`find_expressions`.
        split: train, val or test.
        images: folders that may hold the sequences; none for the usual places.

    Raises:
        ValueError: if there is no such split, or the file as a whole cannot be used.
    """
    path = folder / f"{split}{_ENDING}"
    if not path.is_file():
        splits = [each.name.removesuffix(_ENDING) for each in folder.glob(f"[!.]*{_ENDING}")]
        raise ValueError(f"{folder}: unknown split {split!r}; it has {', '.join(sorted(splits))}")
    content = read_json(path, max_bytes=MAX_ANNOTATION_BYTES)
    is_vlg = isinstance(content, dict) and isinstance(content.get("data"), list)
    if is_vlg:
        entries = [(f"entry {number}", each) for number, each in enumerate(content["data"])]
        roots = images or (folder.parent.parent,)
    elif isinstance(content, dict) and content:
        entries = [(f"sentence {name[:60]}", each) for name, each in content.items()]
        roots = images or [folder / each for each in _OCID]
    else:
        raise ValueError(
            f"{path}: expected an object with a list 'data', as of OCID-VLG, or of entries by "
            "their identifiers, as of OCID-Ref"
        )
    targets: dict[str, list[Target]] = {}
    for entry, fields in entries:
        try:
            if not isinstance(fields, dict):
                raise ValueError(f"expected an object, found {type(fields).__name__}")
            name = _vlg_image(fields) if is_vlg else str(fields["scene_path"])
            read = _vlg_target if is_vlg else _ref_target
            target = read(fields, _root_of(name, roots), name, entry)
            targets.setdefault(name, []).append(target)
        except MALFORMED as error:
            yield Problem(file=path, entry=entry, reason=describe_error(error))
    for name, found in targets.items():
        try:
            root = _root_of(name, roots)
            image = path_in_folder(root, name)
            depth = _beside(root, name, "depth")
            yield Sample(
                image=image,
                size_hw=size_hw(image),
                targets=tuple(found),
                entry=f"image {show(Path(name))}",
                depth=depth if depth.is_file() else None,
            )
        except MALFORMED as error:
            yield Problem(
                file=path, entry=f"image {show(Path(name))}", reason=describe_error(error)
            )


def _root_of(name: str, roots: Sequence[Path]) -> Path:
    """The first folder that has an image, else the first: then the error names it."""
    return next((each for each in roots if path_in_folder(each, name).is_file()), roots[0])


def _beside(root: Path, name: str, kind: str) -> Path:
    """The file of another kind of an image; its folder "rgb" has another name."""
    parts = name.replace("\\", "/").split("/")
    if len(parts) < 2 or parts[-2] != "rgb":
        raise ValueError(f"its image {show(Path(name))} does not lie in a folder 'rgb'")
    return path_in_folder(root, "/".join([*parts[:-2], kind, parts[-1]]))


def _vlg_image(fields: dict[str, Any]) -> str:
    sequence, separator, name = str(fields["image_filename"]).partition(",")
    if not separator:
        raise ValueError("its 'image_filename' is not a sequence and a name, separated by ','")
    return f"{sequence}/rgb/{name}"


def _vlg_target(fields: dict[str, Any], root: Path, name: str, entry: str) -> Target:
    sentence = _text(fields, "question")
    x, y, width, height = _box(fields["box"], "x, y, width, height")
    query = _query(fields)
    return Target(
        expressions=(sentence,),
        region=LabelFile(
            path=_beside(root, name, "seg_mask_instances_combi"), number=_number(fields, "answer")
        ),
        box_xywh=(x, y, width, height),
        entry=entry,
        attributes=(("query", query),) if query else (),
        grasps=_grasps(fields.get("grasps", [])),
    )


def _ref_target(fields: dict[str, Any], root: Path, name: str, entry: str) -> Target:
    box = fields["bbox"]
    x0, y0, x1, y1 = _box(parse_json(box) if isinstance(box, str) else box, "x0, y0, x1, y1")
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"its box {x0:g}, {y0:g}, {x1:g}, {y1:g} is not x0, y0, x1, y1")
    instance = "scene_instance_id" if "scene_instance_id" in fields else "scene_instance"
    attributes = [
        (label, str(fields[field]))
        for label, field in (("subset", "sub_dataset"), ("sentence", "sentence_type"))
        if field in fields
    ]
    if (clutter := _clutter(fields.get("take_id"))) is not None:
        attributes.append(("clutter", clutter))
    return Target(
        expressions=(_text(fields, "sentence"),),
        region=LabelFile(path=_beside(root, name, "label"), number=_number(fields, instance)),
        box_xywh=(x0, y0, x1 - x0, y1 - y0),
        entry=entry,
        attributes=tuple(attributes),
    )


def _text(fields: dict[str, Any], name: str) -> str:
    text = fields[name]
    if not isinstance(text, str):
        raise ValueError(f"its {name!r} is {type(text).__name__}, expected text")
    normalize_expression(text)
    return text


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields[name]
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if type(number) is not int or number < 1:
        raise ValueError(f"its {name!r} is {str(value)[:60]!r}, expected the number of an object")
    return number


def _box(value: Any, expected: str) -> Box:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"its box is not a list {expected}")
    x, y, right, bottom = map(float, value)
    return x, y, right, bottom


def _query(fields: dict[str, Any]) -> str:
    """The type of a sentence: name, attribute, relation, location or mixed; "" if unknown."""
    template = str(fields.get("template_filename", "")).removesuffix(".json")
    program = fields.get("program")
    if template != "relation" or not isinstance(program, list):
        return template[:40]
    return template if {str(each["type"]) for each in program} <= _RELATION else "mixed"


def _clutter(take: Any) -> str | None:
    """What an image of a sequence shows, by its number."""
    if type(take) is not int or not 0 <= take <= _CLUTTER[-1][0]:
        return None
    return _CLUTTER[bisect_left([last for last, _ in _CLUTTER], take)][1]


def _grasps(value: Any) -> tuple[Corners, ...]:
    if not isinstance(value, list) or len(value) > _MAX_GRASPS:
        raise ValueError(f"its 'grasps' are not a list of up to {_MAX_GRASPS} rectangles")
    grasps = tuple(tuple((float(x), float(y)) for x, y in corners) for corners in value)
    if any(len(corners) != 4 for corners in grasps):
        raise ValueError("a grasp of it does not have four corners")
    return grasps
