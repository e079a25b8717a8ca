# SPDX-License-Identifier: Apache-2.0
"""Annotate a recording: write a bag, videos and a table with the results."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.codecs.segmentations import build_segmentation_array
from mllmseg_ros.data.run_folder import check_resume_config
from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.files import FolderLock, move, temporary_folder
from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Instance, InstanceSet, distance_m, union_mask
from mllmseg_ros.language.command import Command
from mllmseg_ros.recording.bag_types import (
    TYPES,
    compressed_message,
    encoded_message,
    header_message,
    time_message,
)
from mllmseg_ros.recording.bag_writer import BagWriter
from mllmseg_ros.recording.cameras import NAMESPACES
from mllmseg_ros.recording.csv_table import CsvTable
from mllmseg_ros.recording.inference_pass import (
    check_any_readable,
    check_overwrite,
    run_inference_pass,
)
from mllmseg_ros.recording.recorded_image import ImageSource, RecordedImage
from mllmseg_ros.recording.results import Journal, RecordedResult
from mllmseg_ros.recording.track_ids import TrackIds
from mllmseg_ros.recording.video import VideoWriter

if TYPE_CHECKING:
    from mllmseg_ros.segmenter import Segmenter

__all__ = ["Outputs", "annotate"]

BAG, TABLE, JOURNAL = "bag", "answers.csv", "answers.jsonl"


def annotate(
    source: ImageSource,
    out: Path,
    command: Command,
    models: Sequence[Segmenter],
    model_names: Sequence[str],
    every: int = 1,
) -> None:
    """Segment a recording and write the results, or resume such a run.

    Args:
        source: the recording.
        out: folder to write: ``bag/``, ``overlay*.mp4``, ``answers.csv`` and ``answers.jsonl``.
        command: expressions to segment in every image.
        models: one, or two to compare.
        model_names: names that identify the models in the recipe of the run.
        every: use every n-th image only.

    Raises:
        ValueError: The folder contains another run or is in use, or the recording has no readable
            image.
    """
    recipe = {
        "recording": source.identity(),
        "expressions": command.text,
        "models": list(model_names),
        "every": every,
    }
    check_overwrite(out, out / BAG)
    out.mkdir(parents=True, exist_ok=True)
    with FolderLock(out):
        check_resume_config(out, recipe)
        if (out / BAG).exists():
            return
        expressions = command.expressions
        with closing(Journal(out / JOURNAL, len(models), len(expressions))) as journal:
            run_inference_pass([source], every, models, expressions, journal)
            if not len(journal):
                raise ValueError(f"{source.path}: no image in it")
            check_any_readable(source.path, journal)
            names = [model.name for model in models]
            run_id = hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]
            _write_outputs(source, out, Outputs(command, names, run_id), journal, every)


def _write_outputs(
    source: ImageSource, out: Path, outputs: Outputs, journal: Journal, every: int
) -> None:
    """Write to a temporary folder, then move the complete files to their place; the bag last."""
    with temporary_folder(out / BAG) as partial:
        outputs.write(source, partial, source.images(every), journal)
        for path in sorted(partial.iterdir(), key=lambda path: path.name == BAG):
            move(path, out / path.name)


class Outputs:
    """Bag, one video per camera, and table."""

    def __init__(self, command: Command, models: Sequence[str], run_id: str) -> None:
        """Set up.

        Args:
            command: the command with the expressions.
            models: names of the models, one or two.
            run_id: the ``request_id`` of all results.
        """
        self._command, self._models, self._run_id = command, models, run_id
        self._numbers = [itertools.count(1) for _ in models]
        self._track_ids: dict[tuple[str, int], TrackIds] = {}  # by camera and model
        self._first_ns: int | None = None

    def write(
        self,
        source: ImageSource,
        folder: Path,
        images: Iterator[RecordedImage],
        journal: Journal,
    ) -> None:
        """Write all outputs to a folder."""
        from mllmseg_ros.recording.bag import BagSource

        original = source if isinstance(source, BagSource) else None
        several = len(getattr(source, "cameras", ())) > 1  # of a bag or a LeRobot data set
        with ExitStack() as stack:
            bag = stack.enter_context(BagWriter(folder / BAG, original))
            table = stack.enter_context(
                closing(CsvTable(folder / TABLE, self._command.expressions, self._models))
            )
            videos: dict[str, VideoWriter] = {}
            results = tqdm(journal.results(0), total=len(journal), desc="writing", unit="image")
            for (number, result), image in zip(results, images, strict=True):
                instances = self._assign_track_ids(result)
                table.write(number, result, instances)
                if original is None and image.encoded is not None:
                    self._write_encoded(bag, image)
                if result.error:
                    continue
                frame = image.decode()
                if original is None and image.encoded is None:
                    self._write_frame(bag, image, frame)
                overlays = [_draw_overlay(frame, of_model) for of_model in instances]
                if result.camera not in videos:
                    name = _video_name(result.camera, single=not several)
                    videos[result.camera] = stack.enter_context(closing(VideoWriter(folder / name)))
                shown = overlays[0] if len(overlays) == 1 else _join(overlays, self._models)
                videos[result.camera].write(shown, result.stamp_ns)
                self._write_result(bag, result, instances, overlays)

    def _assign_track_ids(self, result: RecordedResult) -> list[list[Instance]]:
        """Get the instances of each model with their track ids."""
        assigned = []
        for index, instance_set in enumerate(result.instance_sets):
            key = (result.camera, index)
            if key not in self._track_ids:
                self._track_ids[key] = TrackIds(self._numbers[index])
            assigned.append(self._track_ids[key].assign(instance_set.instances, result.stamp_ns))
        return assigned

    def _write_encoded(self, bag: BagWriter, image: RecordedImage) -> None:
        assert image.encoded is not None
        data, suffix = image.encoded
        file_format = "png" if suffix == ".png" else "jpeg"
        header = header_message(image.stamp_ns, image.frame_id)
        message = encoded_message(data, file_format, header)
        bag.write(f"{image.camera}/compressed", message, image.recorded_ns)

    def _write_frame(self, bag: BagWriter, image: RecordedImage, frame: Frame) -> None:
        header = header_message(image.stamp_ns, image.frame_id)
        message = compressed_message(frame.rgb, header)
        bag.write(f"{image.camera}/compressed", message, image.recorded_ns)

    def _write_result(
        self,
        bag: BagWriter,
        result: RecordedResult,
        instances: Sequence[Sequence[Instance]],
        overlays: Sequence[NDArray[np.uint8]],
    ) -> None:
        if self._first_ns is None:
            self._first_ns = result.stamp_ns
        header = header_message(result.stamp_ns, result.frame_id)
        for namespace, model, instance_set, of_model, overlay in zip(
            NAMESPACES, self._models, result.instance_sets, instances, overlays, strict=False
        ):
            instance_set = replace(instance_set, instances=of_model)
            segmentations = self._build_segmentations(result, header, instance_set, model)
            mask = union_mask(of_model, result.size_hw).astype(np.uint8) * np.uint8(255)
            for name, message in (
                ("segmentations", segmentations),
                ("mask/compressed", compressed_message(mask, header)),
                ("overlay/compressed", compressed_message(overlay, header)),
            ):
                bag.write(f"{result.camera}/{namespace}/{name}", message, result.recorded_ns)

    def _build_segmentations(
        self, result: RecordedResult, header: Any, instance_set: InstanceSet, model: str
    ) -> Any:
        """Build the result's message, with latency 0, so that runs give identical bags."""
        message = build_segmentation_array(
            TYPES,
            command=self._command,
            header=header,
            size_hw=result.size_hw,
            instance_set=instance_set,
            camera=result.camera,
            model=model,
        )
        message.command, message.request_id = self._command.text, self._run_id
        message.request_stamp = time_message(self._first_ns or 0)
        return message


def _draw_overlay(frame: Frame, instances: Sequence[Instance]) -> NDArray[np.uint8]:
    """Draw the same overlay as the node."""
    return draw_overlay(
        frame.rgb,
        [instance.segmentation for instance in instances],
        [instance.track_id for instance in instances],
        [distance_m(instance, None) for instance in instances],
    )


def _join(overlays: Sequence[NDArray[np.uint8]], models: Sequence[str]) -> NDArray[np.uint8]:
    """Join overlays side by side, each below the name of its model."""
    title_px = 24
    titled = []
    for overlay, model in zip(overlays, models, strict=True):
        title = np.zeros((title_px, overlay.shape[1], 3), np.uint8)
        text = model.encode("ascii", "replace").decode()[:80]  # OpenCV's font is ASCII only
        cv2.putText(title, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        titled.append(np.vstack([title, overlay]))
    return np.hstack(titled)


def _video_name(camera: str, *, single: bool) -> str:
    """Get the file name of a camera's video."""
    if single:
        return "overlay.mp4"
    name = "".join(c if c.isalnum() and c.isascii() else "_" for c in camera.strip("/"))
    return f"overlay_{name[:100]}.mp4"
