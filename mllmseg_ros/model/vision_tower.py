# SPDX-License-Identifier: Apache-2.0
"""InternViT, the vision tower: an image to one token per patch.

A pre-norm vision transformer whose residual branches are scaled per channel. Its modules are named
as in transformers' ``InternVLVisionModel``, with which tests compare it: importing that class costs
more than a whole answer of the embedded model. Source: arXiv 2312.14238, InternViT-300M.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from mllmseg_ros.model.config import ACTIVATIONS, VisionConfig
from mllmseg_ros.model.initial_weights import draw_initial_weights

__all__ = ["VisionTower"]


class VisionTower(nn.Module):
    """Patch embeddings, then the blocks.

    Attributes:
        gradient_checkpointing: compute the blocks again in the backward pass instead of keeping
            their activations.
    """

    def __init__(self, config: VisionConfig) -> None:
        """Build it with initial weights.

        Raises:
            ValueError: if the width is not a multiple of the number of heads.
        """
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        self.gradient_checkpointing = False
        draw_initial_weights(self, config.initializer_range)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Encode ImageNet-normalised images (B, 3, S, S): (B, 1 + G*G, C), class token first."""
        states: Tensor = self.embeddings(pixel_values)
        for block in self.encoder.layer:
            if self.gradient_checkpointing and self.training:
                states = checkpoint(block, states, use_reentrant=False)
            else:
                states = block(states)
        return states

    def use_plain_attention(self) -> None:
        """Attend by matrix products and a softmax, which trains faster on a CPU than torch's."""
        for block in self.encoder.layer:
            block.attention.plain = True


class _Embeddings(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        n_patches = (config.image_size // patch) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embeddings = _PatchEmbeddings(width, patch)
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + n_patches, width))

    def forward(self, pixel_values: Tensor) -> Tensor:
        patches = self.patch_embeddings(pixel_values)
        class_token = self.cls_token.expand(len(patches), -1, -1)
        return torch.cat([class_token, patches], dim=1) + self.position_embeddings


class _PatchEmbeddings(nn.Module):
    def __init__(self, width: int, patch_px: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, kernel_size=patch_px, stride=patch_px)

    def forward(self, pixel_values: Tensor) -> Tensor:
        patches: Tensor = self.projection(pixel_values.to(self.projection.weight.dtype))
        return patches.flatten(2).transpose(1, 2)


class _Encoder(nn.Module):
    layer: Any  # nn.ModuleList of _Block: torch does not type its items

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Block(config) for _ in range(config.num_hidden_layers))


class _Block(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, start = config.hidden_size, config.layer_scale_init_value
        self.attention = _Attention(config)
        self.mlp = _FeedForward(config)
        self.layernorm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.lambda_1 = nn.Parameter(torch.full((width,), start))
        self.lambda_2 = nn.Parameter(torch.full((width,), start))

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.lambda_1 * self.attention(self.layernorm_before(states))
        output: Tensor = states + self.lambda_2 * self.mlp(self.layernorm_after(states))
        return output


class _Attention(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, n_heads = config.hidden_size, config.num_attention_heads
        if width % n_heads:
            raise ValueError(f"vision width {width} is not a multiple of {n_heads} heads")
        self.head_dim = width // n_heads
        self.plain = False
        self.q_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.projection_layer = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        queries, keys, values = (
            project(states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )  # (B, heads, L, head)
        if self.plain:
            scores = queries @ keys.transpose(2, 3) * self.head_dim**-0.5
            attended = scores.softmax(dim=-1) @ values
        else:
            attended = scaled_dot_product_attention(queries, keys, values)
        output: Tensor = self.projection_layer(attended.transpose(1, 2).flatten(2))
        return output


class _FeedForward(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        output: Tensor = self.fc2(self.activation(self.fc1(states)))
        return output
