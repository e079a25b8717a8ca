# SPDX-License-Identifier: Apache-2.0
"""The language model's own pass against transformers'."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from mllmseg_ros.model.language_pass import LanguageModel, read_row

SIZES = {
    "vocab_size": 40,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
}
EXACT = 1e-5  # float32, other order of summation


def make_model(family: str, n_key_heads: int) -> LanguageModel:
    torch.manual_seed(4)
    sizes = {**SIZES, "num_key_value_heads": n_key_heads}
    if family == "llama":
        return LlamaModel(LlamaConfig(**sizes, pad_token_id=None)).eval()
    return Qwen2Model(Qwen2Config(**sizes)).eval()


@torch.inference_mode()
@pytest.mark.parametrize("n_key_heads", [1, 2, 6])
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_a_row_at_once_and_after_its_prefix(family: str, n_key_heads: int) -> None:
    model = make_model(family, n_key_heads)
    embeds, places = torch.randn(1, 21, 48), torch.arange(21)[None]
    expected = model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    causal = torch.ones(21, 21, dtype=torch.bool).tril()[None, None]
    plain, cache = read_row(model, embeds, places, causal)
    prefix = [(keys[:, :, :13], values[:, :, :13]) for keys, values in cache]
    rest, whole = read_row(model, embeds[:, 13:], places[:, 13:], causal[:, :, 13:], prefix)
    for ours, theirs in ((plain, expected), (rest, expected[:, 13:])):
        assert (ours - theirs).abs().max() < EXACT
    for ours, theirs in zip(whole, cache, strict=True):
        assert all((a - b).abs().max() < EXACT for a, b in zip(ours, theirs, strict=True))


@torch.inference_mode()
def test_padding_changes_nothing() -> None:
    model = make_model("qwen2", 2)
    embeds, places = torch.randn(1, 9, 48), torch.arange(9)[None]
    causal = torch.ones(9, 9, dtype=torch.bool).tril()[None, None]
    expected, _ = read_row(model, embeds, places, causal)
    padded, _ = read_row(
        model,
        torch.cat([embeds, torch.randn(1, 7, 48)], 1),
        torch.arange(16)[None],
        torch.ones(16, 16, dtype=torch.bool).tril()[None, None],
    )
    assert (padded[:, :9] - expected).abs().max() < EXACT
