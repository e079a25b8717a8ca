# SPDX-License-Identifier: Apache-2.0
"""Recordings into a data set that ``mllmseg adapt`` reads, to be reviewed by people."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mllmseg_ros.data.json_folder import ANNOTATIONS
from mllmseg_ros.data.region import encode
from mllmseg_ros.data.review import Review
from mllmseg_ros.data.run_folder import check_resume_config, write_atomically
from mllmseg_ros.recording.cluster import run_on_cluster
from mllmseg_ros.recording.inference_pass import check_is_ours, load_models, run_inference_pass
from mllmseg_ros.recording.label_run import IMAGES, ImageFolder, LabelRun, image_name, open_inputs
from mllmseg_ros.recording.recorded_image import (
    BAG_SUFFIXES,
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
)
from mllmseg_ros.recording.results import Journal, RecordedResult, union_of
from mllmseg_ros.segmentation import Segmentation, Status

__all__ = ["LabelRun", "label", "split_inputs"]

JOURNAL = "answers.jsonl"
# An answer is sure where the model is: of what is there or not, and of the mask's pixels.
SURE_SCORE, SURE_MASK_SCORE = 0.9, 0.85


def split_inputs(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Inputs and expressions of a command line: what exists is an input, all else an expression.

    Raises:
        ValueError: for a word that looks like a file, but names none.
    """
    inputs, expressions = [], []
    for word in words:
        if os.path.exists(word):  # Path.exists() raises for what is too long for a name
            inputs.append(Path(word))
            continue
        endings = (*BAG_SUFFIXES, ".bag", *VIDEO_SUFFIXES, *PICTURE_SUFFIXES)
        if word.lower().endswith(endings) or (os.sep in word and " " not in word):
            raise ValueError(
                f"{word}: no such file or folder (an expression that looks like one: -e {word!r})"
            )
        expressions.append(word)
    return inputs, expressions


def label(run: LabelRun, ray_address: str | None = None) -> Path:
    """Label recordings; a second call goes on.

    Args:
        run: what is asked of which recordings, and where to write.
        ray_address: of a Ray cluster that sees the same files; None for this process alone.

    Returns:
        The annotation file. One that is there already is left alone: it may have been reviewed.

    Raises:
        ValueError: if an input cannot be used, or the folder holds another run.
    """
    sources = open_inputs(run)
    recipe = {
        "recordings": [source.identity() for source in sources],
        "expressions": list(run.query.expressions),
        "model": run.query.models[0] or "embedded",
        "every": run.every,
    }
    annotations = run.out / ANNOTATIONS[0]
    check_is_ours(run.out, annotations)
    check_resume_config(run.out, recipe)
    if annotations.is_file():
        return annotations
    (run.out / IMAGES).mkdir(exist_ok=True)
    journal = Journal(run.out / JOURNAL)
    try:
        if ray_address is None:
            models, expressions = load_models(run.query), run.query.expressions
            run_inference_pass(
                sources, run.every, models, expressions, journal, ImageFolder(run.out / IMAGES)
            )
        else:
            run_on_cluster(run, ray_address, journal)
        lines = [json.dumps(entry) for entry in _entries(run, journal)]
    finally:
        journal.close()
    if not lines:
        raise ValueError("no image in any of the inputs")
    write_atomically(annotations, "\n".join(lines) + "\n")
    return annotations


def _entries(run: LabelRun, journal: Journal) -> Iterator[dict[str, Any]]:
    """One per image and expression, in the order of the inputs."""
    for of_input, path in enumerate(run.inputs):
        for number, answered in journal.answers(of_input):
            if answered.error:
                continue
            name = image_name(of_input, number, ".png")
            if not (run.out / IMAGES / name).is_file():
                name = image_name(of_input, number, ".jpg")
            for index, expression in enumerate(run.query.expressions):
                yield {
                    "image": f"{IMAGES}/{name}",
                    "expression": expression,
                    **_answer_fields(answered, index),
                    "recording": path.resolve().name,
                    "camera": answered.camera,
                    "stamp_ns": answered.stamp_ns,
                }


def _answer_fields(answered: RecordedResult, index: int) -> dict[str, Any]:
    instance_set = answered.instance_sets[0]
    own = [e.segmentation for e in instance_set.instances if e.expression_index == index]
    first = next((one for one in own if one.status is Status.FOUND), own[0])
    mask = union_of(instance_set, index, answered.size_hw)
    return {
        "mask": encode(mask) if mask.any() else None,
        "review": Review.SURE.value if _is_sure(own) else Review.UNSURE.value,
        "score": None if math.isnan(first.score) else first.score,
        "mask_score": first.mask_score,
    }


def _is_sure(own: Sequence[Segmentation]) -> bool:
    """Whether a model would be believed; one that cannot reject points at something always."""
    if own[0].status is Status.NO_TARGET:
        return own[0].score <= 1 - SURE_SCORE
    return all(
        one.status is Status.FOUND and one.score >= SURE_SCORE and one.mask_score >= SURE_MASK_SCORE
        for one in own
    )
