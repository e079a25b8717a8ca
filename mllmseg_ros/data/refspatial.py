# SPDX-License-Identifier: Apache-2.0
"""RefSpatial-Bench as raw files: a folder per split with ``question.json``, images and masks.

Its parquet files are read by :mod:`mllmseg_ros.data.parquet`.

Source: the benchmark's own evaluation (Zhoues/RoboRefer, ``Evaluation``).
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
from mllmseg_ros.files import read_json
from mllmseg_ros.model.prompt import normalize_expression

__all__ = ["list_splits", "read_refspatial"]

_QUESTIONS = "question.json"


def list_splits(folder: Path) -> list[str]:
    """List the splits in a folder: Location, Placement, Unseen."""
    return sorted(path.parent.name for path in folder.glob(f"[!.]*/{_QUESTIONS}"))


def read_refspatial(folder: Path, split: str) -> Iterator[Sample | Problem]:
    """Read one split: a sample per question.

    Raises:
        ValueError: if there is no such split, or its file as a whole cannot be used.
    """
    splits = list_splits(folder)
    if split not in splits:
        raise ValueError(f"{folder}: unknown split {split!r}; it has {', '.join(splits)}")
    path = folder / split / _QUESTIONS
    content = read_json(path, max_bytes=MAX_ANNOTATION_BYTES)
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of questions")
    for number, fields in enumerate(content):
        entry = f"question {number}"
        try:
            if not isinstance(fields, dict):
                raise ValueError(f"expected an object, found {type(fields).__name__}")
            yield _sample(fields, path.parent, entry)
        except MALFORMED as error:
            yield Problem(file=path, entry=entry, reason=describe_error(error))


def _sample(fields: dict[str, Any], folder: Path, entry: str) -> Sample:
    thing = fields["object"]  # the description alone; "prompt" asks for points
    if not isinstance(thing, str):
        raise ValueError(f"its 'object' is {type(thing).__name__}, expected text")
    normalize_expression(thing)
    image = path_in_folder(folder, str(fields["rgb_path"]))
    target = Target(
        expressions=(thing,),
        region=MaskFile(path=path_in_folder(folder, str(fields["mask_path"]))),
        entry=entry,
        attributes=(("step", str(fields["step"])[:40]),) if "step" in fields else (),
    )
    return Sample(image=image, size_hw=size_hw(image), targets=(target,), entry=entry)
