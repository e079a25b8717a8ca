# SPDX-License-Identifier: Apache-2.0
"""Run models on the images of recordings, and store their results in the journal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import (
    InstanceSet,
    depth_if_found,
    limit_instances,
    locate_instances,
    locate_or_explain,
)
from mllmseg_ros.language.counts import count_asked
from mllmseg_ros.recording.recorded_image import ImageSource, RecordedImage
from mllmseg_ros.recording.results import Journal, RecordedResult
from mllmseg_ros.segmentation import Segmentation, Status
from mllmseg_ros.segmenter import Segmenter

__all__ = ["infer_image", "load_models", "run_inference_pass"]

# Called with number of the input, number of the image, the image, and the decoded frame.
SaveImage = Callable[[int, int, RecordedImage, Frame], None]


@dataclass(frozen=True, kw_only=True)
class InferenceQuery:
    """Expressions and models of a run; can be pickled."""

    expressions: tuple[str, ...]
    models: tuple[str | None, ...]  # checkpoint folders or names; None for the embedded model
    device: str | None = None
    dtype: str | None = None
    quantize: str | None = None


def load_models(query: InferenceQuery) -> list[Segmenter]:
    """Load the models of a query.

    Raises:
        ValueError: A checkpoint, the device, the number format or the quantisation is invalid.
    """
    return [
        Segmenter.from_pretrained(
            model, device=query.device, dtype=query.dtype, quantize=query.quantize
        )
        for model in query.models
    ]


def check_overwrite(out: Path, result: Path) -> None:
    """Check that an existing result in a folder comes from such a run.

    Raises:
        ValueError: It does not.
    """
    if result.exists() and not (out / "recipe.json").is_file():
        raise ValueError(f"{out}: {result.name} was not written by mllmseg; name another folder")


def check_any_readable(path: Path, journal: Journal) -> None:
    """Check that at least one image of the first input could be decoded.

    Raises:
        ValueError: None could; with the first reason.
    """
    first_error = ""
    for _, result in journal.results(0):
        if not result.error:
            return
        first_error = first_error or result.error
    raise ValueError(f"{path}: none of its {len(journal)} images can be read: {first_error}")


def run_inference_pass(
    sources: Sequence[ImageSource],
    every: int,
    models: Sequence[Segmenter],
    expressions: Sequence[str],
    journal: Journal,
    save_image: SaveImage | None = None,
) -> None:
    """Run the models on every image that has no result in the journal.

    Args:
        sources: recordings.
        every: use every n-th image only.
        models: models to run.
        expressions: expressions to segment.
        journal: stores the results.
        save_image: called with each decoded image.
    """
    keys: set[tuple[int, int]] = set()
    total = sum(source.expect_images(every) for source in sources)
    with tqdm(initial=len(journal), total=total or None, unit="image", mininterval=1) as bar:
        for input_index, source in enumerate(sources):
            bar.set_description_str(f"segmenting {source.path.name[:32]}")
            for number, image in enumerate(source.images(every)):
                keys.add((input_index, number))
                if (input_index, number) in journal:
                    continue
                frame, result = infer_image(models, image, expressions)
                if frame is not None and save_image is not None:
                    save_image(input_index, number, image, frame)
                journal.write((input_index, number), result.to_json())
                if result.error:
                    reason = f"{source.path}: image {number} ignored: {result.error}"
                    tqdm.write(reason, file=sys.stderr)
                bar.update()
    journal.keep(keys)


def infer_image(
    models: Sequence[Segmenter], image: RecordedImage, expressions: Sequence[str]
) -> tuple[Frame | None, RecordedResult]:
    """Run the models on one image.

    Returns:
        The frame, None if the image is malformed, and the result.

    Raises:
        ValueError: An expression is invalid.
        RuntimeError: A model returns numbers that are not finite.
    """
    instance_sets: tuple[InstanceSet, ...] = ()
    frame, error = None, ""
    try:
        frame = image.decode()
    except ValueError as caught:
        error = str(caught)
    if frame is not None:
        segmentations = [model(frame.rgb, expressions) for model in models]
        depth, note = depth_if_found(
            list(chain.from_iterable(segmentations)), partial(image.find_depth, frame)
        )
        counts = [count_asked(expression) for expression in expressions]
        located = (
            locate_or_explain(
                partial(locate_instances, each), depth, note if _any_found(each) else ""
            )
            for each in segmentations
        )
        instance_sets = tuple(
            replace(limit_instances(each, counts), depth=None) for each in located
        )
    return frame, RecordedResult(
        camera=image.camera,
        stamp_ns=image.stamp_ns,
        frame_id=image.frame_id,
        recorded_ns=image.recorded_ns,
        size_hw=(0, 0) if frame is None else (frame.rgb.shape[0], frame.rgb.shape[1]),
        instance_sets=instance_sets,
        error=error,
    )


def _any_found(segmentations: Sequence[Segmentation]) -> bool:
    return any(each.status is Status.FOUND for each in segmentations)
