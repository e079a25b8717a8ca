# SPDX-License-Identifier: Apache-2.0
"""A recording with its answers: bag, videos and table, from the journal of a pass."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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
from mllmseg_ros.recording.cameras import SIDES
from mllmseg_ros.recording.csv_table import CsvTable
from mllmseg_ros.recording.inference_pass import check_is_ours, run_inference_pass
from mllmseg_ros.recording.recorded_image import Picture, Source
from mllmseg_ros.recording.results import Journal, RecordedResult
from mllmseg_ros.recording.track_ids import TrackIds
from mllmseg_ros.recording.video import VideoWriter

if TYPE_CHECKING:
    from mllmseg_ros.segmenter import Segmenter

__all__ = ["Outputs", "annotate"]

BAG, TABLE, JOURNAL = "bag", "answers.csv", "answers.jsonl"
_PARTIAL = "partial"


def annotate(
    source: Source,
    out: Path,
    command: Command,
    models: Sequence[Segmenter],
    model_names: Sequence[str],
    every: int = 1,
) -> None:
    """Look at a recording and write what was answered; a second call goes on.

    Args:
        source: the recording.
        out: folder to write: ``bag/``, ``overlay*.mp4``, ``answers.csv`` and ``answers.jsonl``.
        command: what is asked of every image.
        models: one, or two to compare.
        model_names: what tells them from others, as the run's recipe keeps it.
        every: every so manieth image is looked at.

    Raises:
        ValueError: if the folder holds another run, or the recording has no image to look at.
    """
    recipe = {
        "recording": source.identity(),
        "expressions": command.text,
        "models": list(model_names),
        "every": every,
    }
    check_is_ours(out, out / BAG)
    check_resume_config(out, recipe)
    if (out / BAG).exists():
        return
    journal = Journal(out / JOURNAL)
    try:
        run_inference_pass([source], every, models, command.expressions, journal)
        if not len(journal):
            raise ValueError(f"{source.path}: no image in it")
        names = [model.name for model in models]
        run_id = hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]
        _write(source, out, Outputs(command, names, run_id), journal, every)
    finally:
        journal.close()


def _write(source: Source, out: Path, outputs: Outputs, journal: Journal, every: int) -> None:
    """Write everything aside, and put it in place when it is whole; the bag last."""
    partial = out / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    outputs.write(source, partial, source.pictures(every), journal)
    finished = sorted(partial.iterdir(), key=lambda path: path.name == BAG)
    for path in finished:
        path.replace(out / path.name)
    partial.rmdir()


class Outputs:
    """Bag, a video per camera, and table."""

    def __init__(self, command: Command, models: Sequence[str], run_id: str) -> None:
        """Set up.

        Args:
            command: what was asked.
            models: names of those that answered, one or two.
            run_id: the ``request_id`` of all answers.
        """
        self._command, self._models, self._run_id = command, models, run_id
        self._numbers = [itertools.count(1) for _ in models]
        self._identities: dict[tuple[str, int], TrackIds] = {}
        self._first_ns: int | None = None

    def write(
        self, source: Source, folder: Path, pictures: Iterator[Picture], journal: Journal
    ) -> None:
        """Write all of them into a folder."""
        from mllmseg_ros.recording.bag import BagSource

        old = source if isinstance(source, BagSource) else None
        cameras = [each.name for each in old.cameras] if old else [""]
        with ExitStack() as stack:
            bag = stack.enter_context(BagWriter(folder / BAG, old))
            table = stack.enter_context(
                CsvTable(folder / TABLE, self._command.expressions, self._models)
            )
            videos: dict[str, VideoWriter] = {}
            answers = tqdm(journal.answers(0), total=len(journal), desc="writing", unit="image")
            for (number, answered), picture in zip(answers, pictures, strict=True):
                instances = self._named(answered)
                table.write(number, answered, instances)
                if old is None and picture.encoded is not None:
                    self._write_image(bag, picture)
                if answered.error:
                    continue
                frame = picture.frame()
                if old is None and picture.encoded is None:
                    self._write_frame(bag, picture, frame)
                overlays = [_drawn(frame, own) for own in instances]
                if answered.camera not in videos:
                    name = _video_name(answered.camera, alone=len(cameras) == 1)
                    videos[answered.camera] = stack.enter_context(VideoWriter(folder / name))
                shown = overlays[0] if len(overlays) == 1 else _beside(overlays, self._models)
                videos[answered.camera].write(shown, answered.stamp_ns)
                self._write_answers(bag, answered, instances, overlays)

    def _named(self, answered: RecordedResult) -> list[list[Instance]]:
        """Each model's instances with their identities."""
        named = []
        for index, instance_set in enumerate(answered.instance_sets):
            key = (answered.camera, index)
            if key not in self._identities:
                self._identities[key] = TrackIds(self._numbers[index])
            named.append(self._identities[key].name(instance_set.instances, answered.stamp_ns))
        return named

    def _write_image(self, bag: BagWriter, picture: Picture) -> None:
        assert picture.encoded is not None
        data, suffix = picture.encoded
        form = "png" if suffix == ".png" else "jpeg"
        header = header_message(picture.stamp_ns, picture.frame_id)
        message = encoded_message(data, form, header)
        bag.write(f"{picture.camera}/compressed", message, picture.recorded_ns)

    def _write_frame(self, bag: BagWriter, picture: Picture, frame: Frame) -> None:
        header = header_message(picture.stamp_ns, picture.frame_id)
        message = compressed_message(frame.rgb, header)
        bag.write(f"{picture.camera}/compressed", message, picture.recorded_ns)

    def _write_answers(
        self,
        bag: BagWriter,
        answered: RecordedResult,
        instances: Sequence[Sequence[Instance]],
        overlays: Sequence[NDArray[np.uint8]],
    ) -> None:
        if self._first_ns is None:
            self._first_ns = answered.stamp_ns
        header = header_message(answered.stamp_ns, answered.frame_id)
        for side, model, instance_set, own, overlay in zip(
            SIDES, self._models, answered.instance_sets, instances, overlays, strict=False
        ):
            message = self._array(answered, header, replace(instance_set, instances=own), model)
            mask = union_mask(own, answered.size_hw).astype(np.uint8) * np.uint8(255)
            for name, each in (
                ("segmentations", message),
                ("mask/compressed", compressed_message(mask, header)),
                ("overlay/compressed", compressed_message(overlay, header)),
            ):
                bag.write(f"{answered.camera}/{side}/{name}", each, answered.recorded_ns)

    def _array(
        self, answered: RecordedResult, header: Any, instance_set: InstanceSet, model: str
    ) -> Any:
        """The answer's message. Its latency stays 0: the same run gives the same bag."""
        message = build_segmentation_array(
            TYPES,
            command=self._command,
            header=header,
            size_hw=answered.size_hw,
            instance_set=instance_set,
            camera=answered.camera,
            model=model,
        )
        message.command, message.request_id = self._command.text, self._run_id
        message.request_stamp = time_message(self._first_ns or 0)
        return message


def _drawn(frame: Frame, instances: Sequence[Instance]) -> NDArray[np.uint8]:
    """The node's overlay."""
    return draw_overlay(
        frame.rgb,
        [each.segmentation for each in instances],
        [each.track_id for each in instances],
        [distance_m(each, None) for each in instances],
    )


def _beside(overlays: Sequence[NDArray[np.uint8]], models: Sequence[str]) -> NDArray[np.uint8]:
    """Overlays side by side, each under the name of its model."""
    strip_px = 24
    titled = []
    for overlay, model in zip(overlays, models, strict=True):
        strip = np.zeros((strip_px, overlay.shape[1], 3), np.uint8)
        text = model.encode("ascii", "replace").decode()[:80]  # the font has no more
        cv2.putText(strip, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        titled.append(np.vstack([strip, overlay]))
    return np.hstack(titled)


def _video_name(camera: str, *, alone: bool) -> str:
    """Of a camera's video; a topic is no file name."""
    if alone:
        return "overlay.mp4"
    name = "".join(c if c.isalnum() and c.isascii() else "_" for c in camera.strip("/"))
    return f"overlay_{name[:100]}.mp4"
