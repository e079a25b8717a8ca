# SPDX-License-Identifier: Apache-2.0
"""Label recordings: make a data set for ``mllmseg adapt``, to be reviewed by people."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mllmseg_ros.data.json_folder import ANNOTATIONS
from mllmseg_ros.data.region import encode
from mllmseg_ros.data.review import Review
from mllmseg_ros.data.run_folder import check_resume_config
from mllmseg_ros.files import FolderLock, make_folder, remove_stale_partials, write_file
from mllmseg_ros.recording.cluster import run_on_cluster
from mllmseg_ros.recording.inference_pass import check_overwrite, load_models, run_inference_pass
from mllmseg_ros.recording.label_run import IMAGES, ImageFolder, LabelRun, open_inputs
from mllmseg_ros.recording.recorded_image import (
    BAG_SUFFIXES,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    ImageSource,
)
from mllmseg_ros.recording.results import Journal, RecordedResult, union_of_expression
from mllmseg_ros.segmentation import Segmentation, Status

__all__ = ["LabelRun", "label", "split_inputs"]

JOURNAL = "answers.jsonl"
# From these on a label counts as sure.
SURE_SCORE, SURE_MASK_SCORE = 0.9, 0.85


def split_inputs(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Split a command line into inputs, which are existing paths, and expressions.

    Raises:
        ValueError: A word looks like a path that does not exist.
    """
    inputs, expressions = [], []
    for word in words:
        if os.path.exists(word):  # Path.exists() raises for long expressions
            inputs.append(Path(word))
            continue
        suffixes = (*BAG_SUFFIXES, ".bag", *VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
        if word.lower().endswith(suffixes) or (os.sep in word and " " not in word):
            raise ValueError(
                f"{word}: no such file or folder (if it is an expression: -e {word!r})"
            )
        expressions.append(word)
    return inputs, expressions


def label(run: LabelRun, ray_address: str | None = None) -> Path:
    """Label recordings, or resume a labelling run.

    Args:
        run: inputs, query and output.
        ray_address: address of a Ray cluster with the same files; None for this process alone.

    Returns:
        The annotation file. An existing one is not changed: it may have been reviewed.

    Raises:
        ValueError: An input cannot be used, or the folder contains another run or is in use.
    """
    sources = open_inputs(run)
    if run.to == "lerobot":
        from mllmseg_ros.recording.lerobot_writer import check_can_write, write_lerobot

        check_overwrite(run.out, run.out / "meta")
        data_set = check_can_write(sources, run.out, run.every)
    recipe = {
        "recordings": [source.identity() for source in sources],
        "expressions": list(run.query.expressions),
        "model": run.query.models[0] or "embedded",
        "every": run.every,
    }
    annotations = run.out / ANNOTATIONS[0]
    check_overwrite(run.out, annotations)
    run.out.mkdir(parents=True, exist_ok=True)
    with FolderLock(run.out):
        check_resume_config(run.out, recipe)
        if not annotations.is_file():
            _label(run, sources, ray_address, annotations)
        if run.to == "lerobot":
            write_lerobot(data_set, run.out, run.query.expressions)
    return annotations


def _label(
    run: LabelRun, sources: Sequence[ImageSource], ray_address: str | None, annotations: Path
) -> None:
    """Label what is not labelled yet, and write the annotation file."""
    expressions = run.query.expressions
    make_folder(run.out / IMAGES)
    remove_stale_partials(run.out / IMAGES)
    images = ImageFolder(run.out / IMAGES)
    with closing(Journal(run.out / JOURNAL, 1, len(expressions))) as journal:
        for key in journal.numbers():
            if not images.find(*key) and not journal.result(key).error:
                journal.forget(key)  # its image is lost
        if ray_address is None:
            models = load_models(run.query)
            run_inference_pass(sources, run.every, models, expressions, journal, images.save)
        else:
            run_on_cluster(run, ray_address, journal)
        lines = [json.dumps(entry) for entry in _make_entries(run, journal, images)]
        if not lines:
            raise ValueError(_why_nothing(run, journal))
    write_file(annotations, "\n".join(lines) + "\n")


def _why_nothing(run: LabelRun, journal: Journal) -> str:
    """Say why no image of any input could be labelled."""
    results = [each for index in range(len(run.inputs)) for _, each in journal.results(index)]
    if not results:
        return "no image in any of the inputs"
    return f"none of the {len(results)} images can be read: {results[0].error}"


def _make_entries(run: LabelRun, journal: Journal, images: ImageFolder) -> Iterator[dict[str, Any]]:
    """Yield an entry per image and expression, in the order of the inputs."""
    for input_index, path in enumerate(run.inputs):
        for number, result in journal.results(input_index):
            if result.error:
                continue
            name = images.find(input_index, number)
            for index, expression in enumerate(run.query.expressions):
                yield {
                    "image": f"{IMAGES}/{name}",
                    "expression": expression,
                    **_label_fields(result, index),
                    "recording": path.resolve().name,
                    "camera": result.camera,
                    "stamp_ns": result.stamp_ns,
                }


def _label_fields(result: RecordedResult, index: int) -> dict[str, Any]:
    instance_set = result.instance_sets[0]
    segmentations = [
        instance.segmentation
        for instance in instance_set.instances
        if instance.expression_index == index
    ]
    first = next((s for s in segmentations if s.status is Status.FOUND), segmentations[0])
    mask = union_of_expression(instance_set, index, result.size_hw)
    return {
        "mask": encode(mask) if mask.any() else None,
        "review": Review.SURE.value if _is_sure(segmentations) else Review.UNSURE.value,
        "score": None if math.isnan(first.score) else first.score,
        "mask_score": first.mask_score,
    }


def _is_sure(segmentations: Sequence[Segmentation]) -> bool:
    """Whether the label of an expression is sure; never if the model cannot reject."""
    if segmentations[0].status is Status.NO_TARGET:
        return segmentations[0].score <= 1 - SURE_SCORE
    return all(
        each.status is Status.FOUND
        and each.score >= SURE_SCORE
        and each.mask_score >= SURE_MASK_SCORE
        for each in segmentations
    )
