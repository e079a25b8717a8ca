# SPDX-License-Identifier: Apache-2.0
"""The language model and its pass against transformers' classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from mllmseg_ros.model.config import LanguageConfig
from mllmseg_ros.model.language_model import LanguageModel
from mllmseg_ros.model.language_pass import compute_hidden_states, read_rows

SIZES = {
    "vocab_size": 40,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.1,
}
EXACT = 1e-5  # float32, other order of summation


def make_models(family: str, n_key_heads: int) -> tuple[LanguageModel, nn.Module]:
    """Ours and transformers', drawn with the same seed."""
    sizes = {**SIZES, "num_key_value_heads": n_key_heads}
    torch.manual_seed(4)
    ours = LanguageModel(
        LanguageConfig(**sizes, architecture="", rope_theta=1e4, attention_bias=family == "qwen2")
    )
    torch.manual_seed(4)
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    if family == "llama":
        theirs = LlamaModel(LlamaConfig(**sizes, **rope, pad_token_id=None))
    else:
        theirs = Qwen2Model(Qwen2Config(**sizes, **rope))
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize("n_key_heads", [1, 2, 6])
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_names_and_initial_weights_are_those_of_transformers(family: str, n_key_heads: int) -> None:
    ours, theirs = (each.state_dict() for each in make_models(family, n_key_heads))
    assert list(ours) == list(theirs)  # runs of training are resumed by these names
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@torch.inference_mode()
@pytest.mark.parametrize("n_key_heads", [1, 2, 6])
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_a_row_at_once_and_after_its_prefix(family: str, n_key_heads: int) -> None:
    model, theirs = make_models(family, n_key_heads)
    embeds, places = torch.randn(1, 21, 48), torch.arange(21)[None]
    expected = theirs(inputs_embeds=embeds, use_cache=False).last_hidden_state
    causal = torch.ones(21, 21, dtype=torch.bool).tril()[None, None]
    plain, cache = read_rows(model, embeds, places, causal)
    prefix = [(keys[:, :, :13], values[:, :, :13]) for keys, values in cache]
    rest, whole = read_rows(model, embeds[:, 13:], places[:, 13:], causal[:, :, 13:], prefix)
    for ours, right in ((plain, expected), (rest, expected[:, 13:])):
        assert (ours - right).abs().max() < EXACT
    for ours, right in zip(whole, cache, strict=True):
        assert all((a - b).abs().max() < EXACT for a, b in zip(ours, right, strict=True))


@torch.inference_mode()
def test_in_half_precision_it_rounds_where_transformers_does() -> None:
    model, theirs = (each.to(torch.bfloat16) for each in make_models("qwen2", 6))
    embeds, places = torch.randn(1, 21, 48, dtype=torch.bfloat16), torch.arange(21)[None]
    expected = theirs(inputs_embeds=embeds, use_cache=False).last_hidden_state
    causal = torch.ones(21, 21, dtype=torch.bool).tril()[None, None]
    ours = compute_hidden_states(model, embeds, places, causal)
    assert ours.dtype == torch.bfloat16
    # Positions are exact in both, rounded ones would be off by 0.1: up to a few last bits.
    assert (ours.float() - expected.float()).abs().max() <= 2**-5


@torch.inference_mode()
def test_padding_changes_nothing() -> None:
    model, _ = make_models("qwen2", 2)
    embeds, places = torch.randn(1, 9, 48), torch.arange(9)[None]
    causal = torch.ones(9, 9, dtype=torch.bool).tril()[None, None]
    expected, _ = read_rows(model, embeds, places, causal)
    padded, _ = read_rows(
        model,
        torch.cat([embeds, torch.randn(1, 7, 48)], 1),
        torch.arange(16)[None],
        torch.ones(16, 16, dtype=torch.bool).tril()[None, None],
    )
    assert (padded[:, :9] - expected).abs().max() < EXACT


def test_several_rows_and_their_gradients_with_and_without_checkpointing() -> None:
    model, theirs = make_models("qwen2", 2)
    embeds, places = torch.randn(3, 9, 48), torch.arange(9).expand(3, 9)
    causal = torch.ones(9, 9, dtype=torch.bool).tril()
    padding = torch.arange(9) < torch.tensor([[9], [5], [7]])  # as dialogs of other lengths
    attend = causal & padding[:, None, None]
    gradients = []
    for checkpointing in (False, True):
        model.train().gradient_checkpointing = checkpointing
        model.zero_grad()
        hidden = compute_hidden_states(model, embeds, places, attend)
        (hidden * padding[..., None]).square().sum().backward()
        gradients.append([each.grad.clone() for each in model.layers.parameters()])
    expected = theirs(inputs_embeds=embeds, attention_mask=padding, use_cache=False)
    assert ((hidden - expected.last_hidden_state) * padding[..., None]).abs().max() < EXACT
    for plain, again in zip(*gradients, strict=True):
        assert plain.abs().max() > 0
        assert torch.equal(plain, again)


def test_head_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="48, 6 heads and 4 key/value heads"):
        make_models("qwen2", 4)
