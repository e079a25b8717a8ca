# SPDX-License-Identifier: Apache-2.0
"""Averages of weights, and the orthogonal updates, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mllmseg_ros.train.tabletop.averaging import add_to_mean, keep_start
from mllmseg_ros.train.tabletop.muon import Muon, orthogonalise


def test_later_steps_count_more_in_the_mean_and_counters_stay() -> None:
    mean = {"w": torch.tensor([9.0]), "n": torch.tensor(7)}
    for step, value in enumerate((1.0, 2.0, 3.0)):
        add_to_mean(mean, {"w": torch.tensor([value]), "n": torch.tensor(step)}, step)
    # shares 1, 4/5 and 4/6: 1 -> 1.8 -> 2.6
    assert mean["w"].item() == pytest.approx(2.6)
    assert mean["n"].item() == 7


def test_each_part_keeps_its_own_share_of_the_start() -> None:
    names = (
        "vision_tower.a",
        "mask_decoder.b",
        "projector.c",
        "language_model.d",
        "lm_head.weight",
    )
    new = {name: torch.ones(2) for name in names}
    start = {name: torch.zeros(2) for name in names}
    mixed = keep_start(new, start, vision=0.6, language=0.9)
    shares = [round(mixed[name][0].item(), 5) for name in names]
    assert shares == [0.4, 0.4, 0.1, 0.1, 0.1]


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12)])
def test_an_orthogonal_update_has_singular_values_of_about_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    update = orthogonalise(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.diagonal(left.T @ update @ right.T)  # the singular vectors stay
    assert update.shape == shape
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3


def test_a_step_of_muon_by_hand() -> None:
    matrix = nn.Parameter(torch.full((4, 1), 2.0))
    idle = nn.Parameter(torch.ones(1, 1))
    optimiser = Muon([matrix, idle], lr=0.1, momentum=0.95, weight_decay=0.5)
    matrix.grad = torch.tensor([[3.0], [0.0], [0.0], [0.0]])
    optimiser.step()
    # decay by 0.1 * 0.5; the direction of the gradient, times the root of 4 rows to a column
    assert matrix[1:].flatten().tolist() == pytest.approx([1.9] * 3)
    assert 1.9 - float(matrix[0].detach()) == pytest.approx(0.1 * math.sqrt(4), rel=0.35)
    assert float(idle.detach()) == 1.0


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
def test_it_is_the_muon_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(8, 3)) for _ in range(2))
    optimisers = (
        Muon([ours], lr=0.02, momentum=0.95, weight_decay=0.05),
        torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.05),
    )
    for _ in range(3):
        ours.grad = torch.randn(8, 3, generator=generator)
        theirs.grad = ours.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)  # bfloat16 there
