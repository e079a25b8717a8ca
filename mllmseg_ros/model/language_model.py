# SPDX-License-Identifier: Apache-2.0
"""The layers of Qwen2 and Llama (InternLM2), as one class: they differ in a bias.

Holds weights; :mod:`mllmseg_ros.model.language_pass` runs them. Its modules are named as in
transformers' ``Qwen2Model`` and ``LlamaModel``, with which tests compare the two: importing those
classes costs more than a whole answer of the embedded model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mllmseg_ros.model.config import ACTIVATIONS, LanguageConfig
from mllmseg_ros.model.initial_weights import draw_initial_weights

__all__ = ["DecoderLayer", "LanguageModel"]


class LanguageModel(nn.Module):
    """Embeddings, decoder layers and the final norm.

    Attributes:
        gradient_checkpointing: compute the layers again in the backward pass instead of keeping
            their activations.
    """

    layers: Any  # nn.ModuleList of DecoderLayer: torch does not type its items

    def __init__(self, config: LanguageConfig) -> None:
        """Build it with initial weights.

        Raises:
            ValueError: if the width and the numbers of heads do not fit together.
        """
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        draw_initial_weights(self, config.initializer_range)

    def rotary_embeddings(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Compute the cosines and sines (B, Q, head) that rotate tokens at positions (B, Q).

        From positions alone: a buffer of frequencies would be rounded with a model that is cast.
        """
        head = self.config.hidden_size // self.config.num_attention_heads
        powers = torch.arange(0, head, 2, dtype=torch.float, device=position_ids.device) / head
        angles = position_ids[..., None].float() * (1.0 / self.config.rope_theta**powers)
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


class DecoderLayer(nn.Module):
    """The modules of one layer: attention and a gated feed-forward network, each after a norm."""

    def __init__(self, config: LanguageConfig) -> None:
        """Build it; raises as :class:`LanguageModel`."""
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Attention(nn.Module):
    """The projections of grouped-query attention: H query heads share K key heads."""

    def __init__(self, config: LanguageConfig) -> None:
        """Build it; raises as :class:`LanguageModel`."""
        super().__init__()
        width, n_heads = config.hidden_size, config.num_attention_heads
        if width % n_heads or n_heads % config.num_key_value_heads:
            raise ValueError(
                f"language width {width}, {n_heads} heads and {config.num_key_value_heads} "
                "key/value heads: each must be a multiple of the next"
            )
        self.head_dim = width // n_heads
        self.num_key_value_groups = n_heads // config.num_key_value_heads
        key_width = self.head_dim * config.num_key_value_heads
        self.q_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, key_width, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, key_width, bias=config.attention_bias)
        self.o_proj = nn.Linear(width, width, bias=False)


class FeedForward(nn.Module):
    """A gated feed-forward network."""

    def __init__(self, config: LanguageConfig) -> None:
        """Build it."""
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, states: Tensor) -> Tensor:
        """Transform states (..., D)."""
        output: Tensor = self.down_proj(
            self.activation(self.gate_proj(states)) * self.up_proj(states)
        )
        return output


class RMSNorm(nn.Module):
    """Scale states (..., D) to a root mean square of 1, in float32, then by a weight per channel.

    torch's multiplies before it rounds to the states' dtype, the published models after.
    """

    def __init__(self, width: int, eps: float) -> None:
        """Build it."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, states: Tensor) -> Tensor:
        """Normalise states (..., D)."""
        exact = states.float()
        exact = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * exact.to(states.dtype)
