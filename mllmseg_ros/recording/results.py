# SPDX-License-Identifier: Apache-2.0
"""Results on recorded images, and the journal that stores them.

A run has two steps: each result is appended to ``answers.jsonl`` as soon as it is there, then bag,
video and table are written from this journal. An interrupted run repeats at most one image, and its
output does not differ from that of an uninterrupted run. Masks are COCO run lengths.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.region import Coco, decode, encode
from mllmseg_ros.data.sample import MALFORMED
from mllmseg_ros.files import open_file, open_journal, parse_json, show
from mllmseg_ros.geometry.instances import Instance, InstanceSet, union_mask
from mllmseg_ros.geometry.localization import Position
from mllmseg_ros.segmentation import Status, build_segmentation

__all__ = ["Journal", "RecordedResult"]

_POSITION_SHAPES: dict[str, tuple[int, ...]] = {
    "mean": (3,), "covariance": (3, 3), "surface_point": (3,), "box_center": (3,),
    "box_axes": (3, 3), "box_size": (3,),
}  # fmt: skip
_MAX_LINE = 64 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class RecordedResult:
    """Results of each model on one image."""

    camera: str
    stamp_ns: int  # of the image
    frame_id: str
    recorded_ns: int  # when it was recorded
    size_hw: tuple[int, int]  # px; (0, 0) if it could not be decoded
    # One per model, without depth and points; empty after an error.
    instance_sets: tuple[InstanceSet, ...]
    error: str = ""  # why the image could not be decoded

    def to_json(self) -> str:
        """Format as one line."""
        fields = dict(self.__dict__)
        fields["located"] = [_instance_set_to_json(each) for each in fields.pop("instance_sets")]
        return json.dumps(fields)


def recorded_result_from_json(line: str) -> RecordedResult:
    """Parse a line of :meth:`RecordedResult.to_json`.

    Raises:
        ValueError: The line is not from there.
    """
    try:
        fields = parse_json(line)
        size_hw = (int(fields["size_hw"][0]), int(fields["size_hw"][1]))
        sets = tuple(_instance_set_from_json(each, size_hw) for each in fields.pop("located"))
        result = RecordedResult(**{**fields, "size_hw": size_hw, "instance_sets": sets})
        texts, numbers = (
            (result.camera, result.frame_id, result.error),
            (result.stamp_ns, result.recorded_ns),
        )
        if not all(type(n) is int for n in numbers) or not all(type(t) is str for t in texts):
            raise ValueError("a value of another type")
    except MALFORMED as error:
        raise ValueError(f"not a result ({type(error).__name__}: {error})") from error
    return result


class Journal:
    """Stores results by number of the input and of the image in it, on disk immediately."""

    def __init__(self, path: Path, n_models: int, n_expressions: int) -> None:
        """Open the file and index its results.

        An incomplete last line is removed. Lines that are not results of such a run are counted on
        stderr and ignored, so that their images are done again.

        Args:
            path: file of the journal.
            n_models: number of models of the run.
            n_expressions: number of expressions of the run.

        Raises:
            ValueError: The path is a symbolic link or no regular file.
        """
        self._shape = n_models, n_expressions
        self._offsets: dict[tuple[int, int], int] = {}  # byte offset of each line
        self._file = open_journal(path)
        self._reader = open_file(path)
        n_ignored, offset = 0, 0
        while line := self._reader.readline(_MAX_LINE):
            try:
                key, result = _parse_line(line)
                self._check(result)
                self._offsets[key] = offset
            except ValueError:
                n_ignored += 1
            offset += len(line)
        if n_ignored:
            reason = f"{n_ignored} lines are not results of this run; their images are repeated"
            print(f"{show(path)}: {reason}", file=sys.stderr)

    def _check(self, result: RecordedResult) -> None:
        n_models, n_expressions = self._shape
        indices = [
            {instance.expression_index for instance in each.instances}
            for each in result.instance_sets
        ]
        if not result.error and indices != [set(range(n_expressions))] * n_models:
            raise ValueError("a result of other expressions or models")

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def numbers(self) -> list[tuple[int, int]]:
        """List the numbers of input and image of all results, in order."""
        return sorted(self._offsets)

    def write(self, key: tuple[int, int], line: str) -> None:
        """Add a result as JSON, under the numbers of input and image."""
        self._offsets[key] = self._file.seek(0, 2)
        self._file.write(f"{key[0]} {key[1]} {line}\n".encode())
        self._file.flush()

    def forget(self, key: tuple[int, int]) -> None:
        """Do not use a result, so that its image is done again."""
        del self._offsets[key]

    def keep(self, keys: Set[tuple[int, int]]) -> None:
        """Forget the results of all images but these."""
        self._offsets = {key: at for key, at in self._offsets.items() if key in keys}

    def result(self, key: tuple[int, int]) -> RecordedResult:
        """Read a result."""
        self._reader.seek(self._offsets[key])
        return _parse_line(self._reader.readline())[1]

    def results(self, input_index: int) -> Iterator[tuple[int, RecordedResult]]:
        """Yield number and result of each image of an input, in order."""
        for key in self.numbers():
            if key[0] == input_index:
                yield key[1], self.result(key)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._reader.close()


def union_of_expression(
    instance_set: InstanceSet, expression: int, size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """Get the mask (H, W) of all instances of an expression, found or with low confidence."""
    instances = [each for each in instance_set.instances if each.expression_index == expression]
    return union_mask(instances, size_hw, (Status.FOUND, Status.LOW_CONFIDENCE))


def _parse_line(line: bytes) -> tuple[tuple[int, int], RecordedResult]:
    first, second, text = line.split(b" ", 2)
    return (int(first), int(second)), recorded_result_from_json(text.decode())


def _instance_set_to_json(instance_set: InstanceSet) -> dict[str, Any]:
    return {
        "note": instance_set.note,
        "instances": [_instance_to_json(each) for each in instance_set.instances],
    }


def _instance_to_json(instance: Instance) -> dict[str, Any]:
    segmentation, position = instance.segmentation, instance.position
    position_fields: dict[str, Any] | None = None
    if position is not None:
        position_fields = {name: getattr(position, name).tolist() for name in _POSITION_SHAPES}
        position_fields["valid_depth_ratio"] = position.valid_depth_ratio
    return {
        "expression": segmentation.expression,
        "expression_index": instance.expression_index,
        "instance_index": instance.instance_index,
        "status": segmentation.status.value,
        "score": None if np.isnan(segmentation.score) else segmentation.score,
        "mask_score": segmentation.mask_score,
        "doubt": segmentation.doubt,
        "mask": encode(segmentation.mask),
        "position": position_fields,
    }


def _instance_set_from_json(fields: dict[str, Any], size_hw: tuple[int, int]) -> InstanceSet:
    instances = [_instance_from_json(each, size_hw) for each in fields["instances"]]
    return InstanceSet(instances=instances, note=str(fields["note"]))


def _instance_from_json(fields: dict[str, Any], size_hw: tuple[int, int]) -> Instance:
    mask = decode(Coco(runs=(fields["mask"],)), size_hw)
    position_fields, position = fields["position"], None
    if position_fields is not None:
        position = Position(
            **{
                name: np.array(position_fields[name], np.float64).reshape(shape)
                for name, shape in _POSITION_SHAPES.items()
            },
            valid_depth_ratio=float(position_fields["valid_depth_ratio"]),
            surface=None,
        )
    score = float("nan") if fields["score"] is None else float(fields["score"])
    return Instance(
        expression_index=int(fields["expression_index"]),
        instance_index=int(fields["instance_index"]),
        segmentation=build_segmentation(
            str(fields["expression"]),
            Status(fields["status"]),
            score,
            float(fields["mask_score"]),
            mask.astype(np.float32),
            mask,
            str(fields.get("doubt", "")),  # journals of before have none
        ),
        position=position,
    )
