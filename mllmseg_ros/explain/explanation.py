# SPDX-License-Identifier: Apache-2.0
"""Explain a segmentation: attention, contributions to the mask, other regions, word ablations.

    explanation = explain(segmenter, segmenter.encode(image), "the red mug")

Takes as long as a few segmentations and does not change their results. docs/seeing.md describes
what each number means; :mod:`mllmseg_ros.explain.panel` draws them.
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
from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.prompt import normalize_expression
from mllmseg_ros.model.transfer import to_host
from mllmseg_ros.segmentation import Segmentation
from mllmseg_ros.segmenter import FOREGROUND, ImageContext, Segmenter

__all__ = ["Explanation", "explain"]

SEEN = 0.1  # probability from which on a region counts as considered
_MAX_REGIONS, _MIN_REGION_SHARE = 4, 0.0003  # of the image
_MAX_WORDS = 8  # of an expression that are left out, one at a time
_ARTICLES = frozenset({"the", "a", "an", "der", "die", "das", "den", "dem", "ein", "eine", "einen"})


@dataclass(frozen=True, kw_only=True)
class Region:
    """A connected region of the image with a probability of at least :data:`SEEN`."""

    mask: NDArray[np.bool_]  # (H, W)
    box_xyxy: tuple[int, int, int, int]  # px
    peak: float  # highest probability
    in_mask: bool  # the mask has pixels in it


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A segmentation and its explanation. S = G*P, side of the network's mask in pixels."""

    segmentation: Segmentation  # its mask is its probability from ``cut`` on
    cut: float  # probability from which on a pixel belongs to the mask
    by_score: bool  # the score decides whether it was found; else an empty mask does
    limit: float  # of the score; without ``by_score``, of the mask score for LOW_CONFIDENCE
    attention: NDArray[np.float32]  # (layers, heads, L) of the deciding token; rows sum to 1
    image_attention: NDArray[np.float32]  # (G/2, G/2) mean over layers and heads, image tokens only
    mask_logits: NDArray[np.float32]  # (S, S), before the sigmoid
    without_views: NDArray[np.float32]  # (S, S) mask logits without any view of the image
    shares: NDArray[
        np.float32
    ]  # (3, S, S) of each of VIEWS; with without_views they sum to mask_logits
    regions: tuple[Region, ...]  # by descending peak
    word_ablations: tuple[
        tuple[str, Segmentation], ...
    ]  # (word left out, segmentation of the rest)

    @property
    def image_share(self) -> float:
        """Share of the deciding token's attention that is on the image, 0 to 1."""
        return float(self.image_attention.sum())

    @property
    def contrasts(self) -> tuple[float, ...]:
        """Mean difference of each view's share between the mask and its surroundings, in logits.

        Zeros if the mask is empty or covers the whole image.
        """
        inside = self.mask_logits >= np.log(self.cut / (1 - self.cut))
        if inside.all() or not inside.any():
            return (0.0,) * len(self.shares)
        return tuple(float(each[inside].mean() - each[~inside].mean()) for each in self.shares)


@torch.inference_mode()
def explain(segmenter: Segmenter, context: ImageContext, expression: str) -> Explanation:
    """Segment an encoded image by an expression and explain the result.

    Args:
        segmenter: with any model.
        context: from its :meth:`Segmenter.encode`.
        expression: a referring expression.

    Raises:
        ValueError: if the expression is empty or too long, or the model is an exported one.
        RuntimeError: if the model's output is not finite.
    """
    model, features = segmenter.torch_model, context.features
    shortened = leave_out_words(expression)
    segmentation, *ablated = segmenter.segment(
        context, [expression, *(rest for _, rest in shortened)]
    )
    prompt = segmenter.prompts.build([expression])
    packed = pack([[prompt]], prefix_is_cached=True).to(segmenter.device)
    (state,) = model.read_prompts(features.prefix_cache, packed)
    attention = compute_decision_attention(model, features, packed, len(prompt.suffix_ids))
    n_image, start = model.config.n_image_tokens, prompt.image_start
    side = round(n_image**0.5)
    image_attention = attention.mean((0, 1))[start : start + n_image].view(side, side)
    shares = compute_contributions(
        model.mask_decoder, features.vision_tokens, features.image_states, state
    )
    mask_logits = model.decode_masks(features, state[None])[0].float()
    on_host = to_host(attention, image_attention, mask_logits, shares)
    return Explanation(
        segmentation=segmentation,
        cut=FOREGROUND,
        by_score=segmenter.can_reject,
        limit=segmenter.threshold if segmenter.can_reject else segmenter.min_mask_score,
        attention=on_host[0],
        image_attention=on_host[1],
        mask_logits=on_host[2],
        without_views=on_host[3][0],
        shares=on_host[3][1:],
        regions=find_regions(segmentation.probability, FOREGROUND),
        word_ablations=tuple(
            (word, each) for (word, _), each in zip(shortened, ablated, strict=True)
        ),
    )


def leave_out_words(expression: str) -> list[tuple[str, str]]:
    """Leave out one word at a time, except articles: pairs (word, rest); empty for one word."""
    words = normalize_expression(expression).split()
    indices = [index for index, word in enumerate(words) if word not in _ARTICLES]
    if len(indices) < 2:
        return []
    return [
        (words[index], " ".join(words[:index] + words[index + 1 :]))
        for index in indices[:_MAX_WORDS]
    ]


def find_regions(probability: NDArray[np.float32], cut: float) -> tuple[Region, ...]:
    """Find the regions of a probability map (H, W) that were considered."""
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
    return tuple(found[:_MAX_REGIONS])
