# SPDX-License-Identifier: Apache-2.0
"""Answers as a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mllmseg_ros.geometry.instances import Instance, distance_m
from mllmseg_ros.recording.results import RecordedResult, union_of
from mllmseg_ros.segmentation import Status

__all__ = ["CsvTable"]

_IMAGE = ("number", "stamp_s", "camera", "frame_id", "expression")
_INSTANCE = (
    "instance", "track_id", "status", "score", "mask_score", "area_px", "x0", "y0", "x1", "y1",
    "u", "v", "x_m", "y_m", "z_m", "distance_m", "valid_depth_ratio", "note",
)  # fmt: skip
_MODEL = ("status", "score", "mask_score", "area_px", "x_m", "y_m", "z_m", "distance_m")


class CsvTable:
    """A CSV file: a row per instance, or with two models a row per expression with their IoU."""

    def __init__(self, path: Path, expressions: Sequence[str], models: Sequence[str]) -> None:
        """Write the header.

        Args:
            path: of the file.
            expressions: as asked.
            models: names of one or two models.
        """
        self._file = path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._expressions, self._compares = expressions, len(models) > 1
        header = [*_IMAGE]
        if self._compares:
            header += [f"{name}_{side}" for side in ("a", "b") for name in _MODEL]
            self._rows.writerow([*header, "iou", "note"])
        else:
            self._rows.writerow([*header, *_INSTANCE])

    def write(
        self, number: int, answered: RecordedResult, instances: Sequence[Sequence[Instance]]
    ) -> None:
        """Add an image.

        Args:
            number: of the image.
            answered: what was answered.
            instances: of each model, with their identities.
        """
        image = (number, _seconds(answered.stamp_ns), answered.camera, answered.frame_id)
        if answered.error:
            width = 2 * len(_MODEL) + 2 if self._compares else len(_INSTANCE)
            self._rows.writerow([*image, "", *[""] * (width - 1), answered.error])
        elif self._compares:
            self._compare(image, answered, instances)
        else:
            note = answered.instance_sets[0].note
            for each in instances[0]:
                row = (*image, each.segmentation.expression, *_instance_fields(each), note)
                self._rows.writerow(row)

    def _compare(
        self,
        image: Sequence[Any],
        answered: RecordedResult,
        instances: Sequence[Sequence[Instance]],
    ) -> None:
        for index, expression in enumerate(self._expressions):
            row = [*image, expression]
            for own in instances:
                row += _expression_fields([i for i in own if i.expression_index == index])
            a, b = (union_of(each, index, answered.size_hw) for each in answered.instance_sets)
            either = np.count_nonzero(a | b)
            # Two that say "not there" agree.
            iou = np.count_nonzero(a & b) / either if either else 1.0
            note = "; ".join(
                dict.fromkeys(each.note for each in answered.instance_sets if each.note)
            )
            self._rows.writerow([*row, f"{iou:.4f}", note])

    def __enter__(self) -> CsvTable:
        """Write inside."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()


def _seconds(stamp_ns: int) -> str:
    """All nine digits, which a float has not."""
    return f"{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000:09d}"


def _instance_fields(each: Instance) -> tuple[Any, ...]:
    one = each.segmentation
    shows = one.status is not Status.NO_TARGET and one.box_xyxy is not None
    u, v = one.centroid_uv if shows and one.centroid_uv else ("", "")
    ratio = "" if each.position is None else f"{each.position.valid_depth_ratio:.4f}"
    return (
        each.instance_index,
        each.track_id,
        *_model_fields(each),
        *((one.box_xyxy or ()) if shows else ("",) * 4),
        *(f"{n:.2f}" if n != "" else "" for n in (u, v)),
        *_place_fields(each),
        ratio,
    )


def _expression_fields(own: Sequence[Instance]) -> list[Any]:
    """The expression's largest instance, with the area of all."""
    first = next((i for i in own if i.segmentation.status is Status.FOUND), own[0])
    fields = list(_model_fields(first))
    if first.segmentation.status is Status.FOUND:
        fields[-1] = sum(i.segmentation.area_px for i in own)
    return [*fields, *_place_fields(first)]


def _model_fields(each: Instance) -> tuple[Any, ...]:
    one = each.segmentation
    score = "" if np.isnan(one.score) else f"{one.score:.4f}"
    area = 0 if one.status is Status.NO_TARGET else one.area_px
    return one.status.value, score, f"{one.mask_score:.4f}", area


def _place_fields(each: Instance) -> tuple[str, ...]:
    distance = distance_m(each, None)
    if each.position is None or distance is None:
        return ("",) * 4
    return (*(f"{n:.4f}" for n in each.position.mean), f"{distance:.4f}")
