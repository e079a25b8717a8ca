# SPDX-License-Identifier: Apache-2.0
"""Decisions with memory: whether a target is there, over the inferences of a standing command.

A model decides every image by itself, and near its threshold a decision changes from image to image
although the scene does not. :class:`Decisions` changes one only where enough inferences in a row
agree, or where a single one is sure. It knows neither images nor models, and is not for single
calls, where the model decides alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mllmseg_ros.segmentation import Segmentation, Status, replace_mask

__all__ = ["DecisionRule", "Decisions"]


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """When a decision changes."""

    confirm_inferences: int = 2  # in a row that have to agree; 1: each decides by itself
    threshold: float = 0.5  # score (mask score, without one) from which on the model finds a target
    drop_threshold: float | None = None  # score below which a target is dropped; None: derived
    model: str = ""  # whose scores these are


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """Scores that decide, on the scale of the threshold."""

    drop: float  # mean score below which a target that was found is dropped
    find: float  # mean score from which on it is found
    sure_absent: float  # up to here a single inference is sure that there is none
    sure_found: float  # from here on a single inference is sure of its target


# Limits as multiples of the threshold's odds, p / (1 - p), so that they lie in [0, 1] whatever the
# threshold is: for a threshold of 0.5 they are 0.40, 0.80, 0.05 and 0.95. On simulated scenes, 4 %
# of the scores of targets that are there are below 0.80, 1 % of those of absent ones above 0.95.
_BY_SCORE = (2 / 3, 4.0, 1 / 19, 19.0)
# A mask score says how sharp the mask is rather than whether the target is there: no more is asked
# for than the threshold, and a sharp mask is sure.
_BY_MASK = (2 / 3, 1.0, 1 / 19, 2.5)


@dataclass
class _Memory:
    """What is known of one expression."""

    scores: list[float] = field(default_factory=list)  # of the last inferences
    status: Status = Status.LOW_CONFIDENCE  # decided last


class Decisions:
    """The decisions about the expressions of one command on one camera."""

    def __init__(self) -> None:
        """Start without inferences."""
        self._rule = DecisionRule()
        self._memories: list[_Memory] = []

    @property
    def n_confirm(self) -> int:
        """Number of inferences in a row that have to agree."""
        return self._rule.confirm_inferences

    @property
    def are_settled(self) -> bool:
        """Whether another inference on the same scene would not change a decision."""
        return all(self._is_settled(each) for each in self._memories)

    def decide(
        self, segmentations: Sequence[Segmentation], rule: DecisionRule
    ) -> list[Segmentation]:
        """Decide after one more inference.

        Args:
            segmentations: of the inference, one per expression, in the order of the command.
            rule: another one than before starts anew.

        Returns:
            The segmentations with the status decided. A target that is found although this
            inference alone would not find it has this inference's mask.
        """
        if rule != self._rule or len(segmentations) != len(self._memories):
            self._rule = rule
            self._memories = [_Memory() for _ in segmentations]
        if rule.confirm_inferences <= 1:
            return list(segmentations)
        return [
            self._decide(memory, each)
            for memory, each in zip(self._memories, segmentations, strict=True)
        ]

    def scene_changed(self) -> None:
        """Hold nothing to be found in an image that shows something else than those before."""
        for memory in self._memories:
            if memory.status is Status.FOUND:
                memory.status = Status.LOW_CONFIDENCE

    def reset(self) -> None:
        """Forget all inferences, for another command."""
        self._memories = []

    def _is_settled(self, memory: _Memory) -> bool:
        """Whether enough inferences agree with each other."""
        if self._rule.confirm_inferences <= 1:
            return True
        found = [score >= self._rule.threshold for score in memory.scores]
        return len(found) == self._rule.confirm_inferences and (all(found) or not any(found))

    def _decide(self, memory: _Memory, segmentation: Segmentation) -> Segmentation:
        has_score = not math.isnan(segmentation.score)
        score = segmentation.score if has_score else segmentation.mask_score
        limits = _find_limits(self._rule, has_score=has_score)
        n = self._rule.confirm_inferences
        memory.scores = [*memory.scores, score][-n:]
        if score >= limits.sure_found or score <= limits.sure_absent:
            memory.scores = [score] * n
        if segmentation.status is Status.LOW_CONFIDENCE and score >= self._rule.threshold:
            memory.status = Status.LOW_CONFIDENCE  # for a reason that no inference will change
            return segmentation
        memory.status = self._next_status(memory, segmentation.status, limits)
        doubt = segmentation.doubt
        if memory.status is not segmentation.status:
            kind = "score" if has_score else "mask score"
            doubt = "; ".join(filter(None, (doubt, self._explain(memory, limits, kind))))
        return _redecide(
            segmentation, memory.status, doubt, unconfirmed=not self._is_settled(memory)
        )

    def _next_status(self, memory: _Memory, newest: Status, limits: _Limits) -> Status:
        """Decide by the scores of the last inferences, and by the decision before."""
        held, scores, threshold = memory.status, memory.scores, self._rule.threshold
        is_full = len(scores) == self._rule.confirm_inferences
        mean = sum(scores) / len(scores)
        if is_full and min(scores) >= threshold:
            is_found = held is Status.FOUND or mean >= limits.find
            return Status.FOUND if is_found else Status.LOW_CONFIDENCE
        if held is Status.FOUND:
            is_dropped = is_full and mean < limits.drop
        else:
            is_dropped = mean < limits.drop or (is_full and max(scores) < threshold)
        if is_dropped and newest is not Status.FOUND:
            return newest
        return Status.LOW_CONFIDENCE if is_dropped and held is Status.FOUND else held

    def _explain(self, memory: _Memory, limits: _Limits, kind: str) -> str:
        """Say why the status is another one than the newest inference alone would give."""
        if memory.status is Status.FOUND:
            return ""
        if not self._is_settled(memory):
            which = "first" if len(memory.scores) == 1 else "newest"
            return f"not confirmed yet: {kind} {memory.scores[-1]:.2f} in the {which} inference"
        mean = sum(memory.scores) / len(memory.scores)
        return (
            f"mean {kind} {mean:.2f} in the last {len(memory.scores)} inferences, found from "
            f"{limits.find:.2f} on"
        )


def _find_limits(rule: DecisionRule, *, has_score: bool) -> _Limits:
    drop, find, sure_absent, sure_found = (
        _scale_odds(rule.threshold, factor) for factor in (_BY_SCORE if has_score else _BY_MASK)
    )
    if has_score and rule.drop_threshold is not None:
        drop = min(rule.drop_threshold, rule.threshold)
    return _Limits(drop=drop, find=find, sure_absent=sure_absent, sure_found=sure_found)


def _scale_odds(probability: float, factor: float) -> float:
    """Multiply the odds of a probability."""
    return factor * probability / (1 - probability + factor * probability)


def _redecide(
    segmentation: Segmentation, status: Status, doubt: str, *, unconfirmed: bool
) -> Segmentation:
    """Give a segmentation another status, and the mask that the model has for it."""
    mask = segmentation.raw_mask
    if status is Status.FOUND and not mask.any():
        status, doubt = Status.LOW_CONFIDENCE, doubt or "the newest inference has no mask"
    redecided = replace_mask(
        segmentation,
        mask,
        segmentation.probability_map,
        segmentation.mask_score,
        status=status,
        doubt=doubt,
        within=segmentation.box_xyxy,
    )
    return replace(redecided, unconfirmed=unconfirmed)
