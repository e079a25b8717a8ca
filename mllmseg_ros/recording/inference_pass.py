# SPDX-License-Identifier: Apache-2.0
"""The pass over recordings: each image goes to the model once, and its answer to the journal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import InstanceSet, depth_if_found, locate_instances
from mllmseg_ros.recording.recorded_image import Picture, Source
from mllmseg_ros.recording.results import Journal, RecordedResult
from mllmseg_ros.segmentation import Segmentation, Status
from mllmseg_ros.segmenter import Segmenter

__all__ = ["infer_image", "load_models", "run_inference_pass"]

# Called with number of the input, number of the image, and the image, as soon as it is decoded.
Keep = Callable[[int, int, Picture, Frame], None]


@dataclass(frozen=True, kw_only=True)
class InferenceQuery:
    """What is asked of every image; goes from one process to another."""

    expressions: tuple[str, ...]
    models: tuple[str | None, ...]  # checkpoint folders or names; None: the embedded one
    device: str | None = None
    dtype: str | None = None


def load_models(query: InferenceQuery) -> list[Segmenter]:
    """Load every model that is asked.

    Raises:
        ValueError: naming what is wrong with a checkpoint, the device or the number format.
    """
    return [
        Segmenter.from_pretrained(model, device=query.device, dtype=query.dtype)
        for model in query.models
    ]


def check_is_ours(out: Path, result: Path) -> None:
    """Check that a result found in a folder is that of a run like these.

    Raises:
        ValueError: if it is something else.
    """
    if result.exists() and not (out / "recipe.json").is_file():
        raise ValueError(f"{out}: its {result.name} is of no run of mllmseg; name another folder")


def run_inference_pass(
    sources: Sequence[Source],
    every: int,
    models: Sequence[Segmenter],
    expressions: Sequence[str],
    journal: Journal,
    keep: Keep | None = None,
) -> None:
    """Look at every image that the journal has no answer for.

    Args:
        sources: recordings.
        every: every so manieth image is looked at.
        models: asked in turn.
        expressions: what is asked.
        journal: takes the answers.
        keep: takes the images that were decoded.
    """
    with tqdm(initial=len(journal), unit=" images", mininterval=1) as bar:
        for of_input, source in enumerate(sources):
            bar.set_description_str(source.path.name[:32])
            for number, picture in enumerate(source.pictures(every)):
                if (of_input, number) in journal:
                    continue
                frame, answered = infer_image(models, picture, expressions)
                if frame is not None and keep is not None:
                    keep(of_input, number, picture, frame)
                journal.write((of_input, number), answered.to_json())
                if answered.error:
                    reason = f"{source.path}: image {number} ignored: {answered.error}"
                    tqdm.write(reason, file=sys.stderr)
                bar.update()


def infer_image(
    models: Sequence[Segmenter], picture: Picture, expressions: Sequence[str]
) -> tuple[Frame | None, RecordedResult]:
    """Look at one image; None and the reason where it is malformed.

    Raises:
        ValueError: if an expression is none.
        RuntimeError: if a model gives numbers that are not finite.
    """
    instance_sets: tuple[InstanceSet, ...] = ()
    frame, error = None, ""
    try:
        frame = picture.frame()
    except ValueError as caught:
        error = str(caught)
    if frame is not None:
        found = [model(frame.rgb, expressions) for model in models]
        depth, note = depth_if_found(
            [one for each in found for one in each], partial(picture.depth_of, frame)
        )
        instance_sets = tuple(
            InstanceSet(
                instances=locate_instances(each, depth), note=note if _any_found(each) else ""
            )
            for each in found
        )
    return frame, RecordedResult(
        camera=picture.camera,
        stamp_ns=picture.stamp_ns,
        frame_id=picture.frame_id,
        recorded_ns=picture.recorded_ns,
        size_hw=(0, 0) if frame is None else (frame.rgb.shape[0], frame.rgb.shape[1]),
        instance_sets=instance_sets,
        error=error,
    )


def _any_found(segmentations: Sequence[Segmentation]) -> bool:
    return any(each.status is Status.FOUND for each in segmentations)
