# SPDX-License-Identifier: Apache-2.0
"""A decision changes where enough inferences agree, or where one is sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation
from mllmseg_ros.tracking.decisions import DecisionRule, Decisions

F, N, L = Status.FOUND, Status.NO_TARGET, Status.LOW_CONFIDENCE
RULE = DecisionRule()
MASK = np.zeros((40, 60), np.bool_)
MASK[10:20, 10:30] = True


def by_score(score: float, text: str = "the vase") -> Segmentation:
    """What a model that can reject decides by its threshold of 0.5."""
    status = F if score >= 0.5 else N
    return build_segmentation(text, status, score, 0.9, MASK.astype(np.float32), MASK)


def by_mask(mask_score: float) -> Segmentation:
    """What a model that cannot reject decides by a min_mask_score of 0.7."""
    mask = MASK & (mask_score > 0)
    status = N if not mask_score else F if mask_score >= 0.7 else L
    probability = np.where(mask, np.float32(mask_score), np.float32(0))
    return build_segmentation("it", status, float("nan"), mask_score, probability, mask)


def decide(
    scores: Sequence[float], rule: DecisionRule = RULE, decisions: Decisions | None = None
) -> list[Status]:
    decisions = decisions or Decisions()
    return [decisions.decide([by_score(each)], rule)[0].status for each in scores]


@pytest.mark.parametrize(
    ("scores", "statuses"),
    [
        ([0.97], [F]),  # a sure first inference decides
        ([0.04], [N]),
        ([0.2], [N]),  # nothing acts on it
        ([0.85, 0.85], [L, F]),
        ([0.85, 0.3, 0.2], [L, L, N]),
        ([0.45, 0.45], [L, N]),
        # Once is not enough, in either direction ...
        ([0.1, 0.9, 0.1, 0.9, 0.1], [N, N, N, N, N]),
        ([0.9, 0.9, 0.45, 0.9, 0.42, 0.9], [L, F, F, F, F, F]),
        # ... twice in a row is, if the scores are high, or low, enough on average.
        ([0.1, 0.9, 0.9], [N, N, F]),
        ([0.1, 0.6, 0.6, 0.6], [N, N, L, L]),
        ([0.9, 0.9, 0.45, 0.45, 0.45], [L, F, F, F, F]),
        ([0.9, 0.9, 0.3, 0.3], [L, F, F, N]),
        # One that is sure changes it at once.
        ([0.1, 0.96], [N, F]),
        ([0.97, 0.02], [F, N]),
    ],
)
def test_the_decisions_about_a_sequence_of_scores(
    scores: list[float], statuses: list[Status]
) -> None:
    assert decide(scores) == statuses


def test_one_inference_to_confirm_is_the_model_s_own_decision() -> None:
    scores = [0.6, 0.4, 0.9, 0.1, 0.51, 0.49]
    rule = DecisionRule(confirm_inferences=1)
    assert decide(scores, rule) == [by_score(each).status for each in scores]
    assert Decisions().decide([by_score(0.6)], rule)[0].doubt == ""


def test_more_inferences_are_slower_and_steadier() -> None:
    scores = [0.1, 0.9, 0.9, 0.9, 0.3, 0.3, 0.3]
    assert decide(scores, DecisionRule(confirm_inferences=3)) == [N, N, N, F, F, F, N]


def test_the_drop_threshold() -> None:
    scores = [0.9, 0.9, 0.3, 0.3, 0.3]
    assert decide(scores, DecisionRule(drop_threshold=0.2)) == [L, F, F, F, F]
    assert decide(scores, DecisionRule(drop_threshold=0.5)) == [L, F, F, N, N]


@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.3, 0.5, 0.9, 0.99, 1.0])
def test_what_is_far_on_one_side_of_any_threshold_is_decided_at_once(threshold: float) -> None:
    rule = DecisionRule(threshold=threshold)
    for score in (0.0, 1.0):
        status = F if score >= threshold else N
        one = build_segmentation("it", status, score, 0.9, MASK.astype(np.float32), MASK)
        assert Decisions().decide([one], rule)[0].status is status


def test_a_held_target_has_the_newest_mask_and_a_dropped_one_says_why() -> None:
    decisions = Decisions()
    decide([0.9, 0.9], decisions=decisions)
    rejected = build_segmentation("the vase", N, 0.45, 1.0, MASK.astype(np.float32), MASK)
    assert not rejected.mask.any()
    (held,) = decisions.decide([rejected], RULE)
    assert (held.status, held.found, held.unconfirmed, held.doubt) == (F, True, True, "")
    np.testing.assert_array_equal(held.mask, MASK)
    assert held.area_px == MASK.sum()
    assert held.mask_score == 1
    decide([0.1, 0.1], decisions=decisions)
    (absent,) = decisions.decide([by_score(0.9)], RULE)
    assert (absent.status, absent.found, absent.unconfirmed) == (N, False, True)
    assert absent.doubt == "not confirmed yet: score 0.90 in the newest inference"
    decisions.decide([by_score(0.66)], RULE)
    (unsure,) = decisions.decide([by_score(0.6)], RULE)
    assert (unsure.status, unsure.unconfirmed) == (L, False)
    assert unsure.doubt == "mean score 0.63 in the last 2 inferences, found from 0.80 on"


def test_a_held_target_without_a_mask_is_not_found() -> None:
    decisions = Decisions()
    decide([0.9, 0.9], decisions=decisions)
    nothing = np.zeros(MASK.shape, np.float32)
    (held,) = decisions.decide([build_segmentation("it", N, 0.45, 0, nothing, nothing > 1)], RULE)
    assert (held.status, held.doubt) == (L, "the newest inference has no mask")


def test_an_unconfirmed_first_result_says_so() -> None:
    decisions = Decisions()
    assert decisions.are_settled
    (first,) = decisions.decide([by_score(0.62)], RULE)
    assert (first.status, first.unconfirmed) == (L, True)
    assert first.doubt == "not confirmed yet: score 0.62 in the first inference"
    assert not decisions.are_settled
    decisions.decide([by_score(0.99)], RULE)
    assert decisions.are_settled


def test_words_that_the_model_was_not_taught_stay_in_doubt() -> None:
    decisions = Decisions()
    reason = "m was not trained on 'zyzzyva'"
    one = build_segmentation("it", L, 0.97, 0.9, MASK.astype(np.float32), MASK, reason)
    for _ in range(3):
        (decided,) = decisions.decide([one], RULE)
        assert (decided.status, decided.doubt) == (L, reason)
    absent = build_segmentation("it", N, 0.3, 0.9, MASK.astype(np.float32), MASK, reason)
    for _ in range(3):
        (decided,) = decisions.decide([absent], RULE)
        assert decided.doubt.startswith(reason)
    assert decided.status is N


def test_a_model_that_cannot_reject_is_decided_by_its_masks() -> None:
    rule, decisions = DecisionRule(threshold=0.7), Decisions()
    scores = [0.9, 0.66, 0.75, 0.6, 0.6, 0.72, 0.72, 0.0]
    decided = [decisions.decide([by_mask(each)], rule)[0].status for each in scores]
    assert decided == [F, F, F, F, L, L, F, N]


def test_expressions_do_not_influence_each_other() -> None:
    decisions = Decisions()
    for scores in ((0.97, 0.1, 0.6), (0.45, 0.9, 0.9), (0.97, 0.2, 0.9)):
        decided = decisions.decide([by_score(each) for each in scores], RULE)
    assert [each.status for each in decided] == [F, N, F]


def test_another_scene_command_or_rule_holds_nothing() -> None:
    decisions = Decisions()
    assert decide([0.97, 0.45], decisions=decisions) == [F, F]
    decisions.scene_changed()
    assert decide([0.45, 0.9, 0.9], decisions=decisions) == [N, N, F]
    decisions.reset()
    assert decide([0.7], decisions=decisions) == [L]
    assert decide([0.97, 0.45], decisions=decisions) == [F, F]
    other_model = DecisionRule(model="another")
    assert decide([0.45], other_model, decisions) == [L]
