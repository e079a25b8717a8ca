# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on a data set, with the paper's protocol and with that of deployment.

*paper*: all expressions of an image in one prompt, which holds the true answers; masks of every
target (RES), or decisions first and then masks of all expressions (GRES). *deployment*: one prompt
per expression without any truth, and the segmenter's thresholds. A data set is scored as GRES if it
has expressions without a target, otherwise as RES.

Source: docs/reference.md, sections 9 and 10.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.region import decode, decode_ignored, decode_instances
from mllmseg_ros.data.sample import Corners, Sample, Target
from mllmseg_ros.eval.dataset_report import DataSetReport, EvaluatedExpression, ProtocolScores
from mllmseg_ros.eval.instances import compare_instances
from mllmseg_ros.eval.metrics import (
    compare_mask,
    gres_scores,
    percent,
    precision_at_half,
    res_scores,
    xywh_to_target_box,
)
from mllmseg_ros.eval.paper import run_paper_protocol
from mllmseg_ros.eval.perturb import Perturbation
from mllmseg_ros.geometry.instances import locate_instances
from mllmseg_ros.masks import inside_uv
from mllmseg_ros.model.pixels import resize_to_square, to_image_size, to_pixel_values
from mllmseg_ros.segmentation import Status
from mllmseg_ros.segmenter import Segmenter

__all__ = ["PROTOCOLS", "evaluate_samples"]

PROTOCOLS = ("paper", "deployment")
_DIGITS = 10  # a longer number is sorted as text
_MAX_VALUES = 50  # of an attribute; one with more names the entries, and groups nothing


def evaluate_samples(
    segmenter: Segmenter,
    samples: Sequence[Sample],
    protocols: Iterable[str] = PROTOCOLS,
    perturbation: Perturbation | None = None,
    seed: int = 0,
) -> DataSetReport:
    """Evaluate every expression of every sample.

    Args:
        segmenter: the model.
        samples: of :func:`~mllmseg_ros.data.dataset.load_samples`.
        protocols: some of PROTOCOLS.
        perturbation: applied to every expression and image. Targets that a crop removes are left
            out.
        seed: of the perturbation's randomness.

    Raises:
        ValueError: if a protocol is unknown, or an image or mask cannot be read.
    """
    scores, by_kind, expressions = [], {}, {}
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol is {protocol!r}, expected {' or '.join(PROTOCOLS)}")
        run = _run_paper if protocol == "paper" else _run_deployed
        gres = any(target.region is None for sample in samples for target in sample.targets)
        images: list[list[EvaluatedExpression]] = []
        spent_s = 0.0
        for index, sample in enumerate(
            tqdm(
                samples,
                desc=f"evaluating, {protocol}",
                unit="image",
                mininterval=2,
                leave=not perturbation,
            )
        ):
            prepared = _prepare(sample, perturbation, np.random.default_rng((seed, index)))
            if not prepared.questions:
                continue
            began = time.monotonic()
            outputs = run(segmenter, prepared, gres)
            spent_s += time.monotonic() - began
            images.append(_compare(prepared, outputs))
        scores.append(_scores(protocol, images, gres, spent_s))
        expressions[protocol] = tuple(each for image in images for each in image)
        by_kind[protocol] = _scores_by_kind(protocol, images, gres)
    return DataSetReport(
        model=segmenter.name,
        n_images=len(samples),
        scores=tuple(scores),
        by_kind=by_kind,
        expressions=expressions,
    )


@dataclass(frozen=True, kw_only=True)
class _Outputs:
    """Outputs of a model for the N expressions of an image."""

    probabilities: NDArray[np.float32]  # (N, H, W)
    rejected: list[bool]
    scores: list[float]  # NaN where the protocol has none
    points_uv: list[tuple[int, int] | None]  # px, to grasp at; None: rejected, or an empty mask
    instances: list[list[NDArray[np.bool_]]] | None  # (H, W) each; None: the protocol has none


@dataclass(frozen=True, kw_only=True)
class _Question:
    """One expression with its target in the prepared image."""

    expression: str
    target: Target
    mask: NDArray[np.bool_]  # (H, W), empty without a target
    ignored: NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True, kw_only=True)
class _PreparedSample:
    """A sample as the model receives it."""

    sample: Sample
    rgb: NDArray[np.uint8]  # (H, W, 3)
    questions: tuple[_Question, ...]  # in the order of the file
    cropped: bool


def _prepare(
    sample: Sample, perturbation: Perturbation | None, rng: np.random.Generator
) -> _PreparedSample:
    rgb = read_rgb(sample)
    margin = perturbation.margin if perturbation else 0.0
    height, width = sample.size_hw
    top, left = round(margin * height), round(margin * width)
    window = np.s_[top : height - top, left : width - left]
    if perturbation and perturbation.image:
        rgb = perturbation.image(rgb, rng)
    questions = []
    for target in sample.targets:
        mask = ignored = np.zeros(sample.size_hw, np.bool_)
        if target.region is not None:
            mask = decode(target.region, sample.size_hw)
            ignored = decode_ignored(target.region, sample.size_hw)
        if margin and target.region is not None and not mask[window].any():
            continue
        for expression in target.expressions:
            if perturbation and perturbation.text:
                expression = perturbation.text(expression, rng)
            questions.append(
                _Question(
                    expression=expression,
                    target=target,
                    mask=mask[window],
                    ignored=ignored[window],
                )
            )
    return _PreparedSample(
        sample=sample,
        rgb=np.ascontiguousarray(rgb[window]),
        questions=tuple(questions),
        cropped=margin > 0,
    )


def _run_deployed(segmenter: Segmenter, prepared: _PreparedSample, gres: bool) -> _Outputs:
    """Run the model as the node does: uncertain results are rejected, specks are not targets."""
    context = segmenter.encode(prepared.rgb)
    segmentations = [
        segmenter.segment(context, [question.expression])[0] for question in prepared.questions
    ]
    # Doubt about unknown words does not count as a rejection here.
    rejected = [
        each.status is Status.NO_TARGET
        or (each.status is Status.LOW_CONFIDENCE and not segmenter.unknown_words(each.expression))
        for each in segmentations
    ]
    probabilities = []
    points: list[tuple[int, int] | None] = []
    instances = []
    for segmentation, is_rejected in zip(segmentations, rejected, strict=True):
        parts = [instance.segmentation for instance in locate_instances([segmentation])]
        specks = segmentation.mask & ~np.any([part.mask for part in parts], axis=0)
        probabilities.append(np.where(specks, np.float32(0), segmentation.probability))
        points.append(None if is_rejected else parts[0].inside_uv)
        instances.append([] if is_rejected else [part.mask for part in parts if part.area_px])
    return _Outputs(
        probabilities=np.stack(probabilities),
        rejected=rejected,
        scores=[each.score for each in segmentations],
        points_uv=points,
        instances=instances,
    )


def _run_paper(segmenter: Segmenter, prepared: _PreparedSample, gres: bool) -> _Outputs:
    """Run the paper's protocol."""
    model = segmenter.torch_model
    side = model.config.image_size_px
    square = to_pixel_values(resize_to_square(prepared.rgb, side))[None]
    output = run_paper_protocol(
        model,
        segmenter.prompts,
        square.to(segmenter.device, segmenter.dtype),
        [each.expression for each in prepared.questions],
        [each.target.region is not None for each in prepared.questions],
        two_passes=gres,
    )
    with torch.inference_mode():
        size_hw = prepared.rgb.shape[0], prepared.rgb.shape[1]
        probabilities = to_image_size(output.probability, size_hw).cpu().numpy()
    n = len(prepared.questions)
    rejected = list(output.rejected) if gres else [False] * n  # RES has no decisions
    return _Outputs(
        probabilities=probabilities,
        rejected=rejected,
        scores=[float("nan")] * n,
        points_uv=[
            None if is_rejected else inside_uv(probability >= 0.5)
            for probability, is_rejected in zip(probabilities, rejected, strict=True)
        ],
        instances=None,
    )


def _compare(prepared: _PreparedSample, outputs: _Outputs) -> list[EvaluatedExpression]:
    """Compare outputs with the truth."""
    evaluated = []
    for number, (question, probability, rejected, score, point) in enumerate(
        zip(
            prepared.questions,
            outputs.probabilities,
            outputs.rejected,
            outputs.scores,
            outputs.points_uv,
            strict=True,
        )
    ):
        probability = np.where(question.ignored, 0, probability)
        target = question.target
        box = None if prepared.cropped else target.box_xywh
        mask = probability >= 0.5
        instance_f1 = None
        if outputs.instances is not None and target.region is not None and not prepared.cropped:
            true = decode_instances(target.region, prepared.sample.size_hw)
            if true is not None:
                instance_f1 = compare_instances(outputs.instances[number], true)
        evaluated.append(
            EvaluatedExpression(
                sample=prepared.sample,
                expression=question.expression,
                target=target,
                comparison=compare_mask(
                    probability,
                    question.mask,
                    rejected=rejected,
                    target_box=None if box is None else xywh_to_target_box(box),
                ),
                score=score,
                mask_score=float(probability[mask].mean()) if mask.any() else 0.0,
                point_in_mask=point is not None and bool(question.mask[point[1], point[0]]),
                point_in_grasp=None
                if prepared.cropped or not target.grasps
                else point is not None and _is_in_one(point, target.grasps),
                instance_f1=instance_f1,
            )
        )
    return evaluated


def _is_in_one(point_uv: tuple[int, int], outlines: Sequence[Corners]) -> bool:
    """Whether a point lies in one of several polygons, or on its border."""
    u, v = point_uv
    return any(
        cv2.pointPolygonTest(np.array(corners, np.float32), (float(u), float(v)), False) >= 0
        for corners in outlines
    )


def _scores(
    protocol: str, images: Sequence[Sequence[EvaluatedExpression]], gres: bool, spent_s: float
) -> ProtocolScores:
    by_image = [[each.comparison for each in image] for image in images]
    comparisons = [comparison for image in by_image for comparison in image]
    with_target = [comparison for comparison in comparisons if comparison.target_px]
    nan = float("nan")
    n_acc = t_acc = presence = nan
    if gres:
        result = gres_scores(comparisons)
        c_iou, g_iou = result.c_iou, result.g_iou
        n_acc, t_acc, presence = result.n_acc, result.t_acc, result.presence
    else:
        res = res_scores(by_image)
        c_iou, g_iou = res.c_iou, res.g_iou
    expressions = [each for image in images for each in image]
    pointed = [each for each in expressions if each.comparison.target_px]
    f1 = [each.instance_f1 for each in expressions if each.instance_f1 is not None]
    return ProtocolScores(
        protocol=protocol,
        task="GRES" if gres else "RES",
        n=len(comparisons),
        n_empty=len(comparisons) - len(with_target),
        c_iou=c_iou,
        g_iou=g_iou,
        precision_at_half=precision_at_half(with_target),
        n_acc=n_acc,
        t_acc=t_acc,
        presence=presence,
        point_in_mask=percent([each.point_in_mask for each in pointed]),
        point_in_grasp=percent(
            [each.point_in_grasp for each in pointed if each.point_in_grasp is not None]
        ),
        instance_f1=percent([each.mean for each in f1]),
        instance_f1_at_half=percent([each.at_half for each in f1]),
        ms_per_expression=1000 * spent_s / max(1, len(comparisons)),
    )


def _scores_by_kind(
    protocol: str, images: Sequence[Sequence[EvaluatedExpression]], gres: bool
) -> dict[str, ProtocolScores]:
    """Score each kind of expression, and each value of an attribute, where there are two or more.

    Returns:
        by the kind, or by name and value of an attribute ("step 2").
    """
    found: dict[str, set[str]] = {}  # rows by attribute, "" for the kind
    for image in images:
        for each in image:
            for name, label in _labels(each.target).items():
                found.setdefault(name, set()).add(label)
    chosen = [
        (name, label)
        for name, labels in found.items()
        if len(labels) > 1 and (not name or len(labels) <= _MAX_VALUES)
        for label in sorted(labels, key=_by_number)
    ]
    scores = {}
    for name, label in chosen:
        of_label = [
            [each for each in image if _labels(each.target).get(name) == label] for image in images
        ]
        scores[label] = replace(
            _scores(protocol, [image for image in of_label if image], gres, 0.0),
            ms_per_expression=float("nan"),
        )
    return scores


def _labels(target: Target) -> dict[str, str]:
    """The rows that an expression belongs to, by the name of the attribute; "" is the kind."""
    attributes = {name: f"{name} {value}" for name, value in target.attributes}
    return {"": target.kind or "other", **attributes}


def _by_number(label: str) -> tuple[str, int, str]:
    """Sort "step 10" behind "step 9"."""
    name, _, value = label.rpartition(" ")
    return name, int(value) if value.isdecimal() and len(value) < _DIGITS else 0, value
