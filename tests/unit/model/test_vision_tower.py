# SPDX-License-Identifier: Apache-2.0
"""The vision tower against transformers' class."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from transformers import InternVLVisionConfig, InternVLVisionModel

from mllmseg_ros.model.config import VisionConfig
from mllmseg_ros.model.vision_tower import VisionTower

EXACT = 1e-5  # float32, other order of summation
CONFIG = VisionConfig(
    hidden_size=48,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=6,
    image_size=28,
    patch_size=7,
    attention_bias=True,
    hidden_act="gelu",
    layer_norm_eps=1e-5,
    initializer_range=0.1,
    layer_scale_init_value=0.5,
)


def make_towers(attention_bias: bool = True) -> tuple[VisionTower, nn.Module]:
    """Ours and transformers', drawn with the same seed."""
    config = dataclasses.replace(CONFIG, attention_bias=attention_bias)
    torch.manual_seed(4)
    ours = VisionTower(config)
    torch.manual_seed(4)
    theirs = InternVLVisionModel(
        InternVLVisionConfig(**dataclasses.asdict(config), use_mean_pooling=True)
    )
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize("attention_bias", [True, False])
def test_names_and_initial_weights_are_those_of_transformers(attention_bias: bool) -> None:
    ours, theirs = (each.state_dict() for each in make_towers(attention_bias))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@torch.inference_mode()
@pytest.mark.parametrize("plain", [False, True])
def test_tokens_are_those_of_transformers(plain: bool) -> None:
    tower, theirs = make_towers()
    for each in (tower, theirs):  # the initial ones are zeros
        nn.init.normal_(each.embeddings.position_embeddings, generator=torch.manual_seed(5))
        nn.init.normal_(each.embeddings.cls_token, generator=torch.manual_seed(6))
    if plain:
        tower.use_plain_attention()
    pixels = torch.randn(2, 3, 28, 28)
    expected = theirs(pixel_values=pixels).last_hidden_state
    tokens = tower(pixels)
    assert tokens.shape == (2, 17, 48)
    assert (tokens - expected).abs().max() < EXACT


def test_checkpointing_changes_no_gradient() -> None:
    tower, _ = make_towers()
    pixels = torch.randn(2, 3, 28, 28)
    gradients = []
    for checkpointing in (False, True):
        tower.train().gradient_checkpointing = checkpointing
        tower.zero_grad()
        tower(pixels).square().sum().backward()
        gradients.append([each.grad.clone() for each in tower.parameters()])
    assert all(torch.equal(a, b) and a.abs().max() > 0 for a, b in zip(*gradients, strict=True))


def test_a_width_that_the_heads_do_not_share_is_refused() -> None:
    with pytest.raises(ValueError, match="vision width 48 is not a multiple of 7 heads"):
        VisionTower(dataclasses.replace(CONFIG, num_attention_heads=7))
