# SPDX-License-Identifier: Apache-2.0
"""Results on recorded images, and the journal that stores them.

A run has two steps: each result is appended to ``answers.jsonl`` as soon as it is there, then bag,
video and table are written from this journal. An interrupted run repeats at most one image, and its
output does not differ from that of an uninterrupted run. Masks are COCO run lengths.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.region import Coco, decode, encode
from mllmseg_ros.geometry.instances import Instance, InstanceSet, union_mask
from mllmseg_ros.geometry.localization import Position
from mllmseg_ros.segmentation import Status, build_segmentation

__all__ = ["Journal", "RecordedResult"]

_POSITION_ARRAYS = ("mean", "covariance", "surface_point", "box_center", "box_axes", "box_size")


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
        ValueError: The line is invalid.
    """
    fields = json.loads(line)
    size_hw = (int(fields["size_hw"][0]), int(fields["size_hw"][1]))
    instance_sets = tuple(_instance_set_from_json(each, size_hw) for each in fields.pop("located"))
    return RecordedResult(**{**fields, "size_hw": size_hw, "instance_sets": instance_sets})


class Journal:
    """Stores results by number of the input and of the image in it, on disk immediately."""

    def __init__(self, path: Path) -> None:
        """Open the file and index its results; an incomplete last line is removed."""
        self._offsets: dict[tuple[int, int], int] = {}  # byte offset of each line
        self._file = path.open("a+b")
        self._file.seek(0)
        end = 0
        while (line := self._file.readline()).endswith(b"\n"):
            self._offsets[_parse_key(line)] = end
            end += len(line)
        self._file.truncate(end)

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def write(self, key: tuple[int, int], line: str) -> None:
        """Add a result as JSON, under the numbers of input and image."""
        self._offsets[key] = self._file.seek(0, 2)
        self._file.write(f"{key[0]} {key[1]} {line}\n".encode())
        self._file.flush()

    def results(self, input_index: int) -> Iterator[tuple[int, RecordedResult]]:
        """Yield number and result of each image of an input, in order."""
        for key in sorted(key for key in self._offsets if key[0] == input_index):
            self._file.seek(self._offsets[key])
            line = self._file.readline().decode().split(" ", 2)[2]
            yield key[1], recorded_result_from_json(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def union_of_expression(
    instance_set: InstanceSet, expression: int, size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """Get the mask (H, W) of all instances of an expression, found or with low confidence."""
    instances = [each for each in instance_set.instances if each.expression_index == expression]
    return union_mask(instances, size_hw, (Status.FOUND, Status.LOW_CONFIDENCE))


def _parse_key(line: bytes) -> tuple[int, int]:
    first, second, _ = line.split(b" ", 2)
    return int(first), int(second)


def _instance_set_to_json(instance_set: InstanceSet) -> dict[str, Any]:
    return {
        "note": instance_set.note,
        "instances": [_instance_to_json(each) for each in instance_set.instances],
    }


def _instance_to_json(instance: Instance) -> dict[str, Any]:
    segmentation, position = instance.segmentation, instance.position
    position_fields: dict[str, Any] | None = None
    if position is not None:
        position_fields = {name: getattr(position, name).tolist() for name in _POSITION_ARRAYS}
        position_fields["valid_depth_ratio"] = position.valid_depth_ratio
    return {
        "expression": segmentation.expression,
        "expression_index": instance.expression_index,
        "instance_index": instance.instance_index,
        "status": segmentation.status.value,
        "score": None if np.isnan(segmentation.score) else segmentation.score,
        "mask_score": segmentation.mask_score,
        "mask": encode(segmentation.mask),
        "position": position_fields,
    }


def _instance_set_from_json(fields: dict[str, Any], size_hw: tuple[int, int]) -> InstanceSet:
    instances = [_instance_from_json(each, size_hw) for each in fields["instances"]]
    return InstanceSet(instances=instances, note=fields["note"])


def _instance_from_json(fields: dict[str, Any], size_hw: tuple[int, int]) -> Instance:
    mask = decode(Coco(runs=(fields["mask"],)), size_hw)
    position_fields, position = fields["position"], None
    if position_fields is not None:
        position = Position(
            **{name: np.array(position_fields[name]) for name in _POSITION_ARRAYS},
            valid_depth_ratio=position_fields["valid_depth_ratio"],
            points=np.zeros((0, 3), np.float32),
            points_uv=np.zeros((0, 2), np.int64),
        )
    score = float("nan") if fields["score"] is None else fields["score"]
    return Instance(
        expression_index=fields["expression_index"],
        instance_index=fields["instance_index"],
        segmentation=build_segmentation(
            fields["expression"],
            Status(fields["status"]),
            score,
            fields["mask_score"],
            mask.astype(np.float32),
            mask,
        ),
        position=position,
    )
