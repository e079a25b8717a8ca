# SPDX-License-Identifier: Apache-2.0
"""Measure a model on a data set, by the paper's protocol and by a robot's.

*paper*: all expressions of a picture in one prompt, the true answers in it; masks of every target
(RES), or decisions first and then masks of everything (GRES). *deployment*: each expression on its
own, nothing true in the prompt, the segmenter's own thresholds. A data set in which something names
nothing is scored by the rules of GRES, any other by those of RES.

Source: docs/reference.md, sections 9 and 10.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.data.picture import read_rgb
from mllmseg_ros.data.region import decode, decode_ignored
from mllmseg_ros.data.sample import Sample, Target
from mllmseg_ros.eval.metrics import (
    Judged,
    gres_scores,
    judge,
    precision_at_half,
    res_scores,
    xywh_to_target_box,
)
from mllmseg_ros.eval.paper import ask_as_in_paper
from mllmseg_ros.eval.perturb import Perturbation
from mllmseg_ros.eval.worst import Case
from mllmseg_ros.geometry.instances import locate_instances
from mllmseg_ros.model.pixels import resize_to_square, to_image_size, to_pixel_values
from mllmseg_ros.segmentation import Status
from mllmseg_ros.segmenter import Segmenter

__all__ = ["evaluate_samples", "to_text"]

PROTOCOLS = ("paper", "deployment")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One expression, asked and judged."""

    sample: Sample
    expression: str
    target: Target
    judged: Judged
    score: float  # NaN where the model cannot reject, and under the paper's protocol
    mask_score: float  # mean probability over the mask, 0 where it is empty

    @property
    def case(self) -> Case:
        """For a picture of it."""
        return Case(
            expression=self.expression,
            judged=self.judged,
            picture=lambda: read_rgb(self.sample),
            meant=lambda: self.sample.mask(self.target),
        )

    @property
    def iou(self) -> float:
        """Of the masks, [0, 1]; NaN where there is no target."""
        if not self.judged.target_px:
            return float("nan")
        return self.judged.intersection_px / max(1, self.judged.union_px)


@dataclass(frozen=True, kw_only=True)
class ProtocolScores:
    """Percent, NaN where nothing counts."""

    protocol: str  # one of PROTOCOLS
    task: str  # RES or GRES
    n: int
    n_empty: int  # of them, how many name nothing
    c_iou: float
    g_iou: float
    precision_at_half: float  # boxes, of expressions with a target
    n_acc: float
    t_acc: float
    ms_per_expression: float  # the picture's share included


@dataclass(frozen=True, kw_only=True)
class DataSetReport:
    """What was asked and how well it was answered."""

    model: str
    n_pictures: int
    scores: tuple[ProtocolScores, ...]
    by_kind: dict[str, dict[str, ProtocolScores]]  # by protocol and kind of expression
    asked: dict[str, tuple[Asked, ...]]  # by protocol

    def to_dict(self) -> dict[str, Any]:
        """Scores as plain values for JSON, null for NaN."""
        by_kind = {
            protocol: {kind: plain(scores) for kind, scores in kinds.items()}
            for protocol, kinds in self.by_kind.items()
        }
        return {
            "model": self.model,
            "n_pictures": self.n_pictures,
            "scores": [plain(scores) for scores in self.scores],
            "by_kind": by_kind,
        }


def evaluate_samples(
    segmenter: Segmenter,
    samples: Sequence[Sample],
    protocols: Iterable[str] = PROTOCOLS,
    perturbation: Perturbation | None = None,
    seed: int = 0,
) -> DataSetReport:
    """Ask every expression of every sample.

    Args:
        segmenter: the model.
        samples: of :func:`~mllmseg_ros.data.dataset.load_samples`.
        protocols: some of PROTOCOLS.
        perturbation: what is done to every question and picture first. A target that a crop has
            cut off whole is not asked for.
        seed: of the perturbation's chance.

    Raises:
        ValueError: if a protocol is unknown, or a picture or mask cannot be read.
    """
    scores, by_kind, asked = [], {}, {}
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol is {protocol!r}, expected {' or '.join(PROTOCOLS)}")
        ask = _ask_as_in_paper if protocol == "paper" else _ask_as_deployed
        gres = any(target.region is None for sample in samples for target in sample.targets)
        images: list[list[Asked]] = []
        spent_s = 0.0
        for index, sample in enumerate(
            tqdm(samples, desc=protocol, unit="picture", mininterval=2, leave=not perturbation)
        ):
            shown = _shown(sample, perturbation, np.random.default_rng((seed, index)))
            if not shown.questions:
                continue
            began = time.monotonic()
            probabilities, rejected, confidence = ask(segmenter, shown, gres)
            spent_s += time.monotonic() - began
            images.append(_judged(shown, probabilities, rejected, confidence))
        scores.append(_scores(protocol, images, gres, spent_s))
        asked[protocol] = tuple(each for image in images for each in image)
        by_kind[protocol] = _scores_by_kind(protocol, images, gres)
    return DataSetReport(
        model=segmenter.name,
        n_pictures=len(samples),
        scores=tuple(scores),
        by_kind=by_kind,
        asked=asked,
    )


def to_text(report: DataSetReport, *, markdown: bool = False) -> str:
    """Lay the scores out as a table, for a terminal or as Markdown."""
    header = [
        "protocol",
        "kind",
        "task",
        "n",
        "empty",
        "cIoU",
        "gIoU",
        "Prec@0.5",
        "N-acc",
        "T-acc",
        "ms",
    ]
    named = [(each, "all") for each in report.scores]
    for kinds in report.by_kind.values():
        named += [(each, kind) for kind, each in kinds.items()]
    rows = [
        [
            each.protocol,
            kind,
            each.task,
            str(each.n),
            str(each.n_empty),
            *map(
                _percent,
                (each.c_iou, each.g_iou, each.precision_at_half, each.n_acc, each.t_acc),
            ),
            "-" if math.isnan(each.ms_per_expression) else f"{each.ms_per_expression:.0f}",
        ]
        for each, kind in named
    ]
    title = f"{report.model} on {report.n_pictures} pictures; percent, ms per expression"
    if markdown:
        lines = [title, "", f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
    widths = [max(map(len, column)) + 2 for column in zip(header, *rows, strict=True)]
    lines = [
        "".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    ]
    return "\n".join([title, *lines])


_Answers = tuple[NDArray[np.float32], list[bool], list[float]]


@dataclass(frozen=True, kw_only=True)
class _Question:
    """One expression and what it means in the picture as shown."""

    expression: str
    target: Target
    mask: NDArray[np.bool_]  # (H, W), nothing where the target is not there
    ignored: NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A sample as the model sees it."""

    sample: Sample
    rgb: NDArray[np.uint8]  # (H, W, 3)
    questions: tuple[_Question, ...]  # in the order of the file
    cut: bool  # it is not the whole picture


def _shown(sample: Sample, perturbation: Perturbation | None, rng: np.random.Generator) -> _Shown:
    rgb = read_rgb(sample)
    margin = perturbation.margin if perturbation else 0.0
    height, width = sample.size_hw
    top, left = round(margin * height), round(margin * width)
    window = np.s_[top : height - top, left : width - left]
    if perturbation and perturbation.picture:
        rgb = perturbation.picture(rgb, rng)
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
    return _Shown(
        sample=sample,
        rgb=np.ascontiguousarray(rgb[window]),
        questions=tuple(questions),
        cut=margin > 0,
    )


def _ask_as_deployed(segmenter: Segmenter, shown: _Shown, gres: bool) -> _Answers:
    """As the node: what is too uncertain is no answer, specks are no targets."""
    context = segmenter.encode(shown.rgb)
    answers = [segmenter.segment(context, [each.expression])[0] for each in shown.questions]
    probabilities = []
    for answer in answers:
        parts = [each.segmentation.mask for each in locate_instances([answer])]
        speck = answer.mask & ~np.any(parts, axis=0)
        probabilities.append(np.where(speck, np.float32(0), answer.probability))
    return (
        np.stack(probabilities),
        # What a model says of words that it was not taught is measured as it says it.
        [answer.status is not Status.FOUND and not answer.doubt for answer in answers],
        [answer.score for answer in answers],
    )


def _ask_as_in_paper(segmenter: Segmenter, shown: _Shown, gres: bool) -> _Answers:
    square = to_pixel_values(resize_to_square(shown.rgb, segmenter.model.config.image_size_px))[
        None
    ]
    answer = ask_as_in_paper(
        segmenter.model,
        segmenter.prompts,
        square.to(segmenter.device, segmenter.dtype),
        [each.expression for each in shown.questions],
        [each.target.region is not None for each in shown.questions],
        two_passes=gres,
    )
    with torch.inference_mode():
        size_hw = shown.rgb.shape[0], shown.rgb.shape[1]
        whole = to_image_size(answer.probability, size_hw).cpu().numpy()
    n = len(shown.questions)
    # Under RES nothing is ever decided.
    rejected = list(answer.rejected) if gres else [False] * n
    return whole, rejected, [float("nan")] * n


def _judged(
    shown: _Shown,
    probabilities: NDArray[np.float32],
    rejected: Sequence[bool],
    confidence: Sequence[float],
) -> list[Asked]:
    asked = []
    for question, probability, no, score in zip(
        shown.questions, probabilities, rejected, confidence, strict=True
    ):
        probability = np.where(question.ignored, 0, probability)
        box = None if shown.cut else question.target.box_xywh
        drawn = probability >= 0.5
        asked.append(
            Asked(
                sample=shown.sample,
                expression=question.expression,
                target=question.target,
                judged=judge(
                    probability,
                    question.mask,
                    rejected=no,
                    target_box=None if box is None else xywh_to_target_box(box),
                ),
                score=score,
                mask_score=float(probability[drawn].mean()) if drawn.any() else 0.0,
            )
        )
    return asked


def _scores(
    protocol: str, images: Sequence[Sequence[Asked]], gres: bool, spent_s: float
) -> ProtocolScores:
    judged = [[each.judged for each in image] for image in images]
    flat = [each for image in judged for each in image]
    there = [each for each in flat if each.target_px]
    nan = float("nan")
    if gres:
        scored = gres_scores(flat)
        c_iou, g_iou, n_acc, t_acc = scored.c_iou, scored.g_iou, scored.n_acc, scored.t_acc
    else:
        plain = res_scores(judged)
        c_iou, g_iou, n_acc, t_acc = plain.c_iou, plain.g_iou, nan, nan
    return ProtocolScores(
        protocol=protocol,
        task="GRES" if gres else "RES",
        n=len(flat),
        n_empty=len(flat) - len(there),
        c_iou=c_iou,
        g_iou=g_iou,
        precision_at_half=precision_at_half(there),
        n_acc=n_acc,
        t_acc=t_acc,
        ms_per_expression=1000 * spent_s / max(1, len(flat)),
    )


def _scores_by_kind(
    protocol: str, images: Sequence[Sequence[Asked]], gres: bool
) -> dict[str, ProtocolScores]:
    """Scores of each kind of expression; nothing where the data set knows one kind or none."""
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


def plain(scores: ProtocolScores) -> dict[str, Any]:
    """Scores as plain values for JSON, null for NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(scores).items()
    }


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
