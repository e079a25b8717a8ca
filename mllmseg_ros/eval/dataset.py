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

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.region import decode, decode_ignored
from mllmseg_ros.data.sample import Sample, Target
from mllmseg_ros.eval.dataset_report import DataSetReport, EvaluatedExpression, ProtocolScores
from mllmseg_ros.eval.metrics import (
    compare_mask,
    gres_scores,
    precision_at_half,
    res_scores,
    xywh_to_target_box,
)
from mllmseg_ros.eval.paper import run_paper_protocol
from mllmseg_ros.eval.perturb import Perturbation
from mllmseg_ros.geometry.instances import locate_instances
from mllmseg_ros.model.pixels import resize_to_square, to_image_size, to_pixel_values
from mllmseg_ros.segmentation import Status
from mllmseg_ros.segmenter import Segmenter

__all__ = ["PROTOCOLS", "evaluate_samples"]

PROTOCOLS = ("paper", "deployment")


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
    probabilities = []
    for segmentation in segmentations:
        parts = [instance.segmentation.mask for instance in locate_instances([segmentation])]
        specks = segmentation.mask & ~np.any(parts, axis=0)
        probabilities.append(np.where(specks, np.float32(0), segmentation.probability))
    return _Outputs(
        probabilities=np.stack(probabilities),
        # Doubt about unknown words does not count as a rejection here.
        rejected=[
            each.status is Status.NO_TARGET
            or (
                each.status is Status.LOW_CONFIDENCE
                and not segmenter.unknown_words(each.expression)
            )
            for each in segmentations
        ],
        scores=[each.score for each in segmentations],
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
    return _Outputs(
        probabilities=probabilities,
        rejected=list(output.rejected) if gres else [False] * n,  # RES has no decisions
        scores=[float("nan")] * n,
    )


def _compare(prepared: _PreparedSample, outputs: _Outputs) -> list[EvaluatedExpression]:
    """Compare outputs with the truth."""
    evaluated = []
    for question, probability, rejected, score in zip(
        prepared.questions,
        outputs.probabilities,
        outputs.rejected,
        outputs.scores,
        strict=True,
    ):
        probability = np.where(question.ignored, 0, probability)
        box = None if prepared.cropped else question.target.box_xywh
        mask = probability >= 0.5
        evaluated.append(
            EvaluatedExpression(
                sample=prepared.sample,
                expression=question.expression,
                target=question.target,
                comparison=compare_mask(
                    probability,
                    question.mask,
                    rejected=rejected,
                    target_box=None if box is None else xywh_to_target_box(box),
                ),
                score=score,
                mask_score=float(probability[mask].mean()) if mask.any() else 0.0,
            )
        )
    return evaluated


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
        ms_per_expression=1000 * spent_s / max(1, len(comparisons)),
    )


def _scores_by_kind(
    protocol: str, images: Sequence[Sequence[EvaluatedExpression]], gres: bool
) -> dict[str, ProtocolScores]:
    """Score each kind of expression; nothing where the data set has fewer than two kinds."""
    kinds = sorted({each.target.kind for image in images for each in image})
    if len(kinds) < 2:
        return {}
    of_kind = {
        kind: [[each for each in image if each.target.kind == kind] for image in images]
        for kind in kinds
    }
    return {
        kind or "other": replace(
            _scores(protocol, [image for image in chosen if image], gres, 0.0),
            ms_per_expression=float("nan"),
        )
        for kind, chosen in of_kind.items()
    }
