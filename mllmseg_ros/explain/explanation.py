# SPDX-License-Identifier: Apache-2.0
"""Why the model answered as it did: where it looked, what drew the mask, what else there was.

    explanation = explain(segmenter, segmenter.encode(image), "the red mug")

Costs a few answers' time and changes nothing in how answers are computed. What each number means,
and what it does not, stands in docs/seeing.md; :mod:`mllmseg_ros.explain.panel` draws it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mllmseg_ros.explain.attention import compute_decision_attention
from mllmseg_ros.explain.contributions import compute_contributions
from mllmseg_ros.masks import box_xyxy
from mllmseg_ros.model.prompt import normalize_expression
from mllmseg_ros.segmentation import Segmentation
from mllmseg_ros.segmenter import FOREGROUND, ImageContext, Segmenter

__all__ = ["Explanation", "explain"]

SEEN = 0.1  # probability from which on a place counts as considered
_MOST_REGIONS, _MIN_REGION_SHARE = 4, 0.0003  # of the picture
_MOST_WORDS = 8  # of an expression that are left out, one after the other
_ARTICLES = frozenset({"the", "a", "an", "der", "die", "das", "den", "dem", "ein", "eine", "einen"})


@dataclass(frozen=True, kw_only=True)
class Region:
    """A connected place in the picture whose probability is at least :data:`SEEN`."""

    mask: NDArray[np.bool_]  # (H, W)
    box_xyxy: tuple[int, int, int, int]  # px
    peak: float  # highest probability in it
    in_mask: bool  # it reaches the cut, so that the mask has pixels here


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One answer, with what led to it. Sides: S = G*P pixels of the network's mask."""

    segmentation: Segmentation  # the answer; its probability, cut at ``cut``, is its mask
    cut: float  # probability from which on a pixel belongs to the mask
    by_score: bool  # found or not is decided by the score; else by whether there is a mask
    limit: float  # of the score; where not ``by_score``, of the mask score for LOW_CONFIDENCE
    attention: NDArray[np.float32]  # (layers, heads, L) of the deciding token; rows sum to 1
    image_attention: NDArray[np.float32]  # (G/2, G/2) mean over layers and heads, image tokens only
    mask_logits: NDArray[np.float32]  # (S, S), before the sigmoid
    without_views: NDArray[np.float32]  # (S, S) what they would be without any view of the image
    shares: NDArray[np.float32]  # (3, S, S) what each of VIEWS adds; all four sum to mask_logits
    regions: tuple[Region, ...]  # the most probable first
    word_ablations: tuple[tuple[str, Segmentation], ...]  # (word left out, what the rest names)

    @property
    def image_share(self) -> float:
        """How much of the deciding token's attention is on the image, 0 to 1."""
        return float(self.image_attention.sum())

    @property
    def contrasts(self) -> tuple[float, ...]:
        """By how much each view lifts the drawn mask over its surroundings, in logits.

        Where the mask is empty or covers all there is no inside or no outside: zeros.
        """
        inside = self.mask_logits >= np.log(self.cut / (1 - self.cut))
        if inside.all() or not inside.any():
            return (0.0,) * len(self.shares)
        return tuple(float(each[inside].mean() - each[~inside].mean()) for each in self.shares)


@torch.inference_mode()
def explain(segmenter: Segmenter, context: ImageContext, expression: str) -> Explanation:
    """Answer an expression on an encoded frame, and say why.

    Args:
        segmenter: any model that loads.
        context: from its :meth:`Segmenter.encode`.
        expression: a referring expression.

    Raises:
        ValueError: if the expression is empty or too long.
        RuntimeError: if the model gives numbers that are not finite.
    """
    words = leave_out_words(expression)
    answer, *others = segmenter.segment(context, [expression, *(rest for _, rest in words)])
    model, features = segmenter.model, context.features
    prompt = segmenter.prompts.build([expression])
    (state,) = model.read_prompts(features, [prompt.suffix_ids], [prompt.state_positions])
    attention = compute_decision_attention(model, features, prompt.suffix_ids)
    n_image, start = model.config.n_image_tokens, prompt.image_start
    side = round(n_image**0.5)
    of_image = attention.mean((0, 1))[start : start + n_image].view(side, side)
    shares = compute_contributions(
        model.mask_decoder, features.vision_tokens, features.image_states, state
    )
    return Explanation(
        segmentation=answer,
        cut=FOREGROUND,
        by_score=segmenter.can_reject,
        limit=segmenter.threshold if segmenter.can_reject else segmenter.min_mask_score,
        attention=attention.cpu().numpy(),
        image_attention=of_image.cpu().numpy(),
        mask_logits=model.decode_masks(features, state[None])[0].float().cpu().numpy(),
        without_views=shares[0].cpu().numpy(),
        shares=shares[1:].cpu().numpy(),
        regions=find_regions(answer.probability, FOREGROUND),
        word_ablations=tuple((word, each) for (word, _), each in zip(words, others, strict=True)),
    )


def leave_out_words(expression: str) -> list[tuple[str, str]]:
    """Leave out one word at a time, articles aside: (word, the rest) pairs; none for one word."""
    words = normalize_expression(expression).split()
    places = [index for index, word in enumerate(words) if word not in _ARTICLES]
    if len(places) < 2:
        return []
    return [
        (words[index], " ".join(words[:index] + words[index + 1 :]))
        for index in places[:_MOST_WORDS]
    ]


def find_regions(probability: NDArray[np.float32], cut: float) -> tuple[Region, ...]:
    """Part a probability map (H, W) into the places that came into question."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (probability >= SEEN).astype(np.uint8), connectivity=8
    )
    found = []
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < _MIN_REGION_SHARE * probability.size:
            continue
        mask = labels == label
        box, peak = box_xyxy(mask), float(probability[mask].max())
        assert box is not None
        found.append(Region(mask=mask, box_xyxy=box, peak=peak, in_mask=peak >= cut))
    found.sort(key=lambda each: each.peak, reverse=True)
    return tuple(found[:_MOST_REGIONS])
