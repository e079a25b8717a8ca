# SPDX-License-Identifier: Apache-2.0
"""What was answered on a recorded image, and the file that remembers it.

A run is two steps: the model looks, and each answer is a line of ``answers.jsonl`` at once; then
bag, video and table are written from these lines. So a kill costs the image that was being looked
at, and what comes out does not tell whether there was one. Masks are COCO run lengths.
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

_ARRAYS = ("mean", "covariance", "surface_point", "box_center", "box_axes", "box_size")


@dataclass(frozen=True, kw_only=True)
class RecordedResult:
    """One image with the answers of each model."""

    camera: str
    stamp_ns: int  # ns, of the image
    frame_id: str
    recorded_ns: int  # ns, when it was recorded
    size_hw: tuple[int, int]  # px; (0, 0) where it could not be decoded
    # One per model, without depth and points; none after an error.
    instance_sets: tuple[InstanceSet, ...]
    error: str = ""  # why the image could not be used

    def to_json(self) -> str:
        """One line."""
        fields = dict(self.__dict__)
        fields["located"] = [_instance_set_fields(each) for each in fields.pop("instance_sets")]
        return json.dumps(fields)


def recorded_result_from_json(line: str) -> RecordedResult:
    """Read a line back.

    Raises:
        ValueError: if it is none.
    """
    fields = json.loads(line)
    size_hw = (int(fields["size_hw"][0]), int(fields["size_hw"][1]))
    instance_sets = tuple(_instance_set(each, size_hw) for each in fields.pop("located"))
    return RecordedResult(**{**fields, "size_hw": size_hw, "instance_sets": instance_sets})


class Journal:
    """Answers by input and number of the image in it, on disk as soon as they are there."""

    def __init__(self, path: Path) -> None:
        """Open it, and read which answers it has; a line that a kill cut off is taken away."""
        self._lines: dict[tuple[int, int], int] = {}  # where each begins
        self._file = path.open("a+b")
        self._file.seek(0)
        end = 0
        while (line := self._file.readline()).endswith(b"\n"):
            self._lines[_key_of(line)] = end
            end += len(line)
        self._file.truncate(end)

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._lines

    def __len__(self) -> int:
        return len(self._lines)

    def write(self, key: tuple[int, int], line: str) -> None:
        """Add an answer: number of its input, number of its image; and the answer as JSON."""
        self._lines[key] = self._file.seek(0, 2)
        self._file.write(f"{key[0]} {key[1]} {line}\n".encode())
        self._file.flush()

    def answers(self, of_input: int) -> Iterator[tuple[int, RecordedResult]]:
        """Number and answer of each image of an input, in order."""
        for key in sorted(key for key in self._lines if key[0] == of_input):
            self._file.seek(self._lines[key])
            yield key[1], recorded_result_from_json(self._file.readline().decode().split(" ", 2)[2])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def union_of(
    instance_set: InstanceSet, expression: int, size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """Mask (H, W) of all instances of an expression, sure or not."""
    own = [each for each in instance_set.instances if each.expression_index == expression]
    return union_mask(own, size_hw, (Status.FOUND, Status.LOW_CONFIDENCE))


def _key_of(line: bytes) -> tuple[int, int]:
    first, second, _ = line.split(b" ", 2)
    return int(first), int(second)


def _instance_set_fields(instance_set: InstanceSet) -> dict[str, Any]:
    return {
        "note": instance_set.note,
        "instances": [_instance_fields(each) for each in instance_set.instances],
    }


def _instance_fields(instance: Instance) -> dict[str, Any]:
    one, position = instance.segmentation, instance.position
    place: dict[str, Any] | None = None
    if position is not None:
        place = {name: getattr(position, name).tolist() for name in _ARRAYS}
        place["valid_depth_ratio"] = position.valid_depth_ratio
    return {
        "expression": one.expression,
        "expression_index": instance.expression_index,
        "instance_index": instance.instance_index,
        "status": one.status.value,
        "score": None if np.isnan(one.score) else one.score,
        "mask_score": one.mask_score,
        "mask": encode(one.mask),
        "position": place,
    }


def _instance_set(fields: dict[str, Any], size_hw: tuple[int, int]) -> InstanceSet:
    instances = [_instance(each, size_hw) for each in fields["instances"]]
    return InstanceSet(instances=instances, note=fields["note"])


def _instance(fields: dict[str, Any], size_hw: tuple[int, int]) -> Instance:
    mask = decode(Coco(runs=(fields["mask"],)), size_hw)
    place, position = fields["position"], None
    if place is not None:
        position = Position(
            **{name: np.array(place[name]) for name in _ARRAYS},
            valid_depth_ratio=place["valid_depth_ratio"],
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
