# SPDX-License-Identifier: Apache-2.0
"""Write results as a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mllmseg_ros.geometry.instances import Instance, distance_m
from mllmseg_ros.masks import iou
from mllmseg_ros.recording.results import RecordedResult, union_of_expression
from mllmseg_ros.segmentation import Status

__all__ = ["CsvTable"]

_IMAGE_COLUMNS = ("number", "stamp_s", "camera", "frame_id", "expression")
_INSTANCE_COLUMNS = (
    "instance", "track_id", "status", "score", "mask_score", "area_px", "x0", "y0", "x1", "y1",
    "u", "v", "x_m", "y_m", "z_m", "distance_m", "valid_depth_ratio", "note",
)  # fmt: skip
_MODEL_COLUMNS = ("status", "score", "mask_score", "area_px", "x_m", "y_m", "z_m", "distance_m")


class CsvTable:
    """A CSV file with a row per instance, or for two models a row per expression with their IoU."""

    def __init__(self, path: Path, expressions: Sequence[str], models: Sequence[str]) -> None:
        """Create the file and write the header.

        Args:
            path: file to write, which does not exist yet.
            expressions: expressions of the query.
            models: names of one or two models.
        """
        self._file = path.open("x", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._expressions, self._compares = expressions, len(models) > 1
        header = [*_IMAGE_COLUMNS]
        if self._compares:
            header += [f"{name}_{side}" for side in ("a", "b") for name in _MODEL_COLUMNS]
            self._rows.writerow([*header, "iou", "note"])
        else:
            self._rows.writerow([*header, *_INSTANCE_COLUMNS])

    def write(
        self, number: int, result: RecordedResult, instances: Sequence[Sequence[Instance]]
    ) -> None:
        """Add the rows of an image.

        Args:
            number: number of the image.
            result: result on the image.
            instances: instances of each model, with track ids.
        """
        image = (number, _format_seconds(result.stamp_ns), result.camera, result.frame_id)
        if result.error:
            width = 2 * len(_MODEL_COLUMNS) + 2 if self._compares else len(_INSTANCE_COLUMNS)
            self._rows.writerow([*image, "", *[""] * (width - 1), result.error])
        elif self._compares:
            self._write_comparison(image, result, instances)
        else:
            note = result.instance_sets[0].note
            for instance in instances[0]:
                expression, doubt = instance.segmentation.expression, instance.segmentation.doubt
                notes = "; ".join(filter(None, (doubt, note)))
                self._rows.writerow((*image, expression, *_instance_cells(instance), notes))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write_comparison(
        self,
        image: Sequence[Any],
        result: RecordedResult,
        instances: Sequence[Sequence[Instance]],
    ) -> None:
        for index, expression in enumerate(self._expressions):
            row = [*image, expression]
            for of_model in instances:
                row += _expression_cells([i for i in of_model if i.expression_index == index])
            a, b = (
                union_of_expression(instance_set, index, result.size_hw)
                for instance_set in result.instance_sets
            )
            doubts = [
                instance.segmentation.doubt
                for of_model in instances
                for instance in of_model
                if instance.expression_index == index
            ]
            notes = dict.fromkeys([*doubts, *(each.note for each in result.instance_sets)])
            # An IoU of 1 where both models reject: they agree.
            self._rows.writerow([*row, f"{iou(a, b):.4f}", "; ".join(filter(None, notes))])


def _format_seconds(stamp_ns: int) -> str:
    """Format a stamp in seconds with all nine digits, which a float does not have."""
    return f"{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000:09d}"


def _instance_cells(instance: Instance) -> tuple[Any, ...]:
    segmentation = instance.segmentation
    has_mask = segmentation.status is not Status.NO_TARGET and segmentation.box_xyxy is not None
    u, v = segmentation.centroid_uv if has_mask and segmentation.centroid_uv else ("", "")
    ratio = "" if instance.position is None else f"{instance.position.valid_depth_ratio:.4f}"
    return (
        instance.instance_index,
        instance.track_id,
        *_segmentation_cells(instance),
        *((segmentation.box_xyxy or ()) if has_mask else ("",) * 4),
        *(f"{n:.2f}" if n != "" else "" for n in (u, v)),
        *_position_cells(instance),
        ratio,
    )


def _expression_cells(instances: Sequence[Instance]) -> list[Any]:
    """Get the cells of an expression: its first found instance, with the area of all."""
    first = next((i for i in instances if i.segmentation.status is Status.FOUND), instances[0])
    cells = list(_segmentation_cells(first))
    if first.segmentation.status is Status.FOUND:
        cells[-1] = sum(i.segmentation.area_px for i in instances)
    return [*cells, *_position_cells(first)]


def _segmentation_cells(instance: Instance) -> tuple[Any, ...]:
    segmentation = instance.segmentation
    score = "" if np.isnan(segmentation.score) else f"{segmentation.score:.4f}"
    area_px = 0 if segmentation.status is Status.NO_TARGET else segmentation.area_px
    return segmentation.status.value, score, f"{segmentation.mask_score:.4f}", area_px


def _position_cells(instance: Instance) -> tuple[str, ...]:
    distance = distance_m(instance, None)
    if instance.position is None or distance is None:
        return ("",) * 4
    return (*(f"{n:.4f}" for n in instance.position.mean), f"{distance:.4f}")
