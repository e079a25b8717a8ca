# SPDX-License-Identifier: Apache-2.0
"""Attention of the deciding token, layer by layer.

The model runs with fused attention, which does not return weights. They are computed here for one
token, from the input states of each layer and the keys in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from mllmseg_ros.model.mllmseg import CACHE_ARGUMENT, ImageFeatures, MLLMSeg

__all__ = ["compute_decision_attention"]


def compute_decision_attention(
    model: MLLMSeg, features: ImageFeatures, suffix_ids: Sequence[int]
) -> Tensor:
    """Compute the attention of the prompt's last token, whose state gives decision and mask.

    Args:
        model: the network.
        features: of the image.
        suffix_ids: token ids after the prefix, up to the one whose state predicts the answer token.

    Returns:
        (layers, heads, L) float32, over all L tokens of the prompt; each row sums to 1.
    """
    language_model = model.language_model
    device = features.fused.device
    cache = DynamicCache()
    for index, (keys, values) in enumerate(features.prefix_cache):
        cache.update(keys, values, index)
    length = features.prefix_length + len(suffix_ids)
    inputs = language_model(
        input_ids=torch.tensor([list(suffix_ids)], device=device),
        **{CACHE_ARGUMENT: cache},
        use_cache=True,
        output_hidden_states=True,
    ).hidden_states
    position = torch.tensor([[length - 1]], device=device)
    cosine, sine = language_model.rotary_emb(inputs[0], position)  # (1, 1, head)
    weights = []
    for layer, states, cached in zip(language_model.layers, inputs, cache.layers, strict=False):
        attention = layer.self_attn
        normed = layer.input_layernorm(states[:, -1])
        query = attention.q_proj(normed).view(-1, attention.head_dim)  # (heads, head)
        query = query * cosine[0] + _rotate_half(query) * sine[0]
        keys = cached.keys[0].repeat_interleave(attention.num_key_value_groups, dim=0)
        scores = torch.einsum("hd,hld->hl", query.float(), keys.float()) * attention.scaling
        weights.append(scores.softmax(-1))
    return torch.stack(weights)


def _rotate_half(states: Tensor) -> Tensor:
    """Rotate the halves of the last axis, for rotary embeddings: (x, y) -> (-y, x)."""
    first, second = states.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
