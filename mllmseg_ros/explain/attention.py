# SPDX-License-Identifier: Apache-2.0
"""Attention of the deciding token, layer by layer.

The model runs with fused attention, which does not return weights. They are computed here for one
token, from the input states of each layer and the keys in the cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mllmseg_ros.model.language_pass import LayerStep, rotate
from mllmseg_ros.model.mllmseg import ImageFeatures, MLLMSeg
from mllmseg_ros.model.packing import PackedPrompts

__all__ = ["compute_decision_attention"]


def compute_decision_attention(
    model: MLLMSeg, features: ImageFeatures, packed: PackedPrompts, n_tokens: int
) -> Tensor:
    """Compute the attention of a prompt's last token, whose state gives decision and mask.

    Args:
        model: the network.
        features: of the image.
        packed: one prompt, without the prefix that is cached.
        n_tokens: of it, up to the one whose state predicts the answer token.

    Returns:
        (layers, heads, L) float32, over all L tokens of the prompt; each row sums to 1.
    """
    language_model = model.language_model
    states = language_model.get_input_embeddings()(packed.input_ids)
    step = LayerStep(language_model, states, packed.position_ids, packed.attention_mask)
    last = slice(n_tokens - 1, n_tokens)
    cosine, sine = language_model.rotary_emb(states, packed.position_ids[:, last])  # (1, 1, head)
    weights = []
    for layer, prefix in zip(language_model.layers, features.prefix_cache, strict=True):
        attention = layer.self_attn
        normed = layer.input_layernorm(states[:, last])
        query = attention.q_proj(normed).view(-1, attention.head_dim)  # (heads, head)
        query = rotate(query, cosine[0], sine[0])
        states, (keys, _) = step(layer, states, prefix)
        keys = keys[0, :, : features.prefix_length + n_tokens]  # without padding
        keys = keys.repeat_interleave(attention.num_key_value_groups, dim=0)
        scores = torch.einsum("hd,hld->hl", query.float(), keys.float()) * attention.scaling
        weights.append(scores.softmax(-1))
    return torch.stack(weights)
