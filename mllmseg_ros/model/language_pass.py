# SPDX-License-Identifier: Apache-2.0
"""A pass of the language model over one row of tokens, after a cached prefix or without one.

Computes what transformers' forward pass of Qwen2 and Llama computes, with the same modules, for
inference: keys and values of the prefix are plain tensors, nothing is decided by the values of a
tensor, and shapes depend on the length of the row alone. So a GPU never waits for the host, and
the pass compiles to one graph. Knows neither images nor prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaModel, Qwen2Model

__all__ = ["KeyValues", "LanguageModel", "read_row"]

LanguageModel: TypeAlias = Qwen2Model | LlamaModel
KeyValues = tuple[Tensor, Tensor]  # keys, values (1, heads, L, head) of one layer


def read_row(
    language_model: LanguageModel,
    embeds: Tensor,
    position_ids: Tensor,
    attention_mask: Tensor,
    prefix: Sequence[KeyValues] | None = None,
) -> tuple[Tensor, tuple[KeyValues, ...]]:
    """Run all layers.

    Args:
        language_model: whose modules are called.
        embeds: (1, Q, D) of the tokens to read.
        position_ids: (1, Q).
        attention_mask: (1, 1, Q, L) bool, True = may attend, with the prefix before the Q tokens.
        prefix: keys and values per layer of the L - Q tokens before.

    Returns:
        Hidden states (1, Q, D) after the final norm; keys and values of all L tokens per layer.
    """
    step = LayerStep(language_model, embeds, position_ids, attention_mask)
    states, cache = embeds, []
    for index, layer in enumerate(language_model.layers):
        states, key_values = step(layer, states, prefix[index] if prefix is not None else None)
        cache.append(key_values)
    return language_model.norm(states), tuple(cache)


class LayerStep:
    """One layer's step; what all layers of a pass share is computed once."""

    def __init__(
        self,
        language_model: LanguageModel,
        embeds: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
    ) -> None:
        """Prepare a pass; the arguments are those of :func:`read_row`."""
        cosine, sine = language_model.rotary_emb(embeds, position_ids)  # (1, Q, head)
        self._cosine, self._sine = cosine[:, None], sine[:, None]
        refused = embeds.new_full((), float("-inf"))
        bias = torch.where(attention_mask, torch.zeros_like(refused), refused)
        # Once per group of query heads, see _attend.
        config = language_model.config
        self._bias = bias.repeat(1, 1, config.num_attention_heads // config.num_key_value_heads, 1)

    def __call__(
        self, layer: Any, states: Tensor, prefix: KeyValues | None
    ) -> tuple[Tensor, KeyValues]:
        """Run one layer: states (1, Q, D) and the prefix's keys and values of this layer."""
        attention = layer.self_attn
        normed = layer.input_layernorm(states)
        queries, keys, values = (
            project(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        queries, keys = (rotate(each, self._cosine, self._sine) for each in (queries, keys))
        if prefix is not None:
            keys, values = (
                torch.cat([before, each], dim=2)
                for before, each in zip(prefix, (keys, values), strict=True)
            )
        attended = self._attend(queries, keys, values)
        states = states + attention.o_proj(attended.transpose(1, 2).flatten(2))
        states = states + layer.mlp(layer.post_attention_layernorm(states))
        return states, (keys, values)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend with queries (1, H, Q, head), keys and values (1, K, L, head); (1, H, Q, head).

        Each key head serves H/K query heads. These stand one below the other as H/K*Q queries of
        one head, so that keys and values need not be repeated.
        """
        folded = queries.reshape(1, keys.shape[1], -1, queries.shape[-1])
        attended = scaled_dot_product_attention(folded, keys, values, attn_mask=self._bias)
        return attended.reshape(queries.shape)


def rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Apply rotary embeddings to states (..., head); cosine and sine broadcast to them."""
    first, second = states.chunk(2, dim=-1)
    return states * cosine + torch.cat([-second, first], dim=-1) * sine
