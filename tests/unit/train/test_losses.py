# SPDX-License-Identifier: Apache-2.0
"""Loss terms by hand on masks of four pixels."""

from __future__ import annotations

import math

import pytest
import torch

from mllmseg_ros.train.mask_losses import answer_loss, mask_loss

TARGET = torch.tensor([[[True, False], [False, False]]])


def test_perfect_mask_costs_next_to_nothing() -> None:
    logits = torch.where(TARGET, 30.0, -30.0)
    dice, focal = mask_loss(logits, TARGET)
    assert float(dice) == pytest.approx(0.0, abs=1e-6)
    assert float(focal) == pytest.approx(0.0, abs=1e-6)


def test_undecided_mask_by_hand() -> None:
    dice, focal = mask_loss(torch.zeros(1, 2, 2), TARGET)
    # p = 0.5 everywhere: overlap 2 * 0.5 + 1, sum 2 + 1 + 1
    assert float(dice) == pytest.approx(1 - 2 / 4)
    mean_alpha = (0.75 + 3 * 0.25) / 4
    assert float(focal) == pytest.approx(20 * mean_alpha * 0.25 * math.log(2))


def test_answer_is_a_choice_between_two_tokens() -> None:
    logits = torch.tensor([[3.0, 0.0], [3.0, 0.0]])
    there = answer_loss(logits, torch.tensor([True, True]))
    absent = answer_loss(logits, torch.tensor([False, False]))
    assert float(there) == pytest.approx(math.log(1 + math.exp(-3)), rel=1e-5)
    assert float(absent) == pytest.approx(math.log(1 + math.exp(3)), rel=1e-5)
