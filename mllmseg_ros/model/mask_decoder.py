# SPDX-License-Identifier: Apache-2.0
"""Feature fusion (DSFF) and mask decoder: vision tokens + LLM states -> mask logits.

Source: arXiv 2508.04107, "detail-enhanced and semantic-consistent feature fusion" and mask decoder.
The computation is split where the expression enters: :meth:`MaskDecoder.fuse` needs the image only
and runs once per image, :meth:`MaskDecoder.decode` needs the expression.
:meth:`MaskDecoder.forward` computes the same without the split, as in the paper; tests compare the
two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mllmseg_ros.model.upsample import DynamicUpsample

_HEADS = 8


class FusionBlock(nn.Module):
    """One post-norm transformer decoder layer, followed by one more LayerNorm."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.1) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(
            width, _HEADS, dim_feedforward=hidden, dropout=dropout, batch_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, num_layers=1, norm=nn.LayerNorm(width))

    @property
    def _layer(self) -> nn.TransformerDecoderLayer:
        layer = self.decoder.layers[0]
        assert isinstance(layer, nn.TransformerDecoderLayer)
        return layer

    def attend_self(self, queries: Tensor) -> Tensor:
        """Apply self-attention, residual and ``norm1``, which need no memory. (B, L, C)."""
        layer = self._layer
        attended = layer.self_attn(queries, queries, queries, need_weights=False)[0]
        normalized: Tensor = layer.norm1(queries + layer.dropout1(attended))
        return normalized

    def finish(self, queries: Tensor, attended: Tensor) -> Tensor:
        """Apply everything after the cross-attention to its output. (B, L, C)."""
        layer = self._layer
        queries = layer.norm2(queries + layer.dropout2(attended))
        hidden = layer.linear2(layer.dropout(functional.relu(layer.linear1(queries))))
        queries = layer.norm3(queries + layer.dropout3(hidden))
        assert self.decoder.norm is not None
        normalized: Tensor = self.decoder.norm(queries)
        return normalized

    def attend_single(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Run the block after :meth:`attend_self` for a single memory token.

        Softmax over one key is 1, so the cross-attention adds the same vector
        ``out_proj(v(memory))`` to every query.

        Args:
            queries: (1 or N, L, C), output of :meth:`attend_self`.
            memory: (N, C), one token per expression.

        Returns:
            (N, L, C).
        """
        cross = self._layer.multihead_attn
        width = memory.shape[-1]
        assert cross.in_proj_weight is not None
        assert cross.in_proj_bias is not None
        value = functional.linear(
            memory, cross.in_proj_weight[2 * width :], cross.in_proj_bias[2 * width :]
        )
        return self.finish(queries, cross.out_proj(value)[:, None])

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Run the full block: queries (B, L, C), memory (B, M, C) -> (B, L, C)."""
        queries = self.attend_self(queries)
        cross = self._layer.multihead_attn(queries, memory, memory, need_weights=False)[0]
        return self.finish(queries, cross)


class MaskDecoder(nn.Module):
    """Fuse the views of the image and predict one mask per expression state.

    Args:
        width: width C of vision tokens and of the decoder (1024 published).
        llm_width: width D of the language model's hidden states.
        grid: vision tokens along one side G (32 published).
        patch_px: side of a patch P; the mask has G*P pixels a side (448 published).
        hidden: width of the blocks' feed-forward layers (1024 published).
    """

    def __init__(self, width: int, llm_width: int, grid: int, patch_px: int, hidden: int) -> None:
        super().__init__()
        self.grid = grid
        self.patch_px = patch_px
        self.llm_width = llm_width
        self.text_down = nn.Linear(llm_width, width)
        self.img_llm_down = nn.Linear(llm_width, width)
        self.ca_layer_v2l = FusionBlock(width, hidden)
        self.upsample_adapter_l = DynamicUpsample(width)
        self.text_out_adapter = nn.Linear(3 * width, width)
        self.ca_layer_vl = FusionBlock(width, hidden)
        self.conv1 = nn.Sequential(
            nn.Conv2d(width, patch_px**2, kernel_size=3, padding=1),
            nn.BatchNorm2d(patch_px**2),
            nn.ReLU(),
        )
        self.conv2 = nn.Conv2d(1, 1, kernel_size=5, padding=2)

    def compute_views(
        self, vision_tokens: Tensor, image_states: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the three views of the image to fuse, each (B, G*G, C).

        Returns:
            Vision tokens enriched by the language model, vision tokens, the language model's image
            states upsampled to the grid; in the order of the input of :attr:`text_out_adapter`.
        """
        semantic = self.img_llm_down(image_states)  # (B, G/2*G/2, C)
        detail = self.ca_layer_v2l(vision_tokens, semantic)
        batch, _, width = semantic.shape
        half = self.grid // 2
        upsampled = self.upsample_adapter_l(
            semantic.transpose(1, 2).reshape(batch, width, half, half)
        )
        return detail, vision_tokens, upsampled.flatten(2).transpose(1, 2)

    def _fuse_tokens(self, vision_tokens: Tensor, image_states: Tensor) -> Tensor:
        views = self.compute_views(vision_tokens, image_states)
        fused: Tensor = self.text_out_adapter(torch.cat(views, dim=-1))
        return fused

    def fuse(self, vision_tokens: Tensor, image_states: Tensor) -> Tensor:
        """Compute everything that does not depend on the expression, once per image.

        Args:
            vision_tokens: (B, G*G, C), last ViT block without the class token.
            image_states: (B, G*G/4, D), LLM states one position before each image token.

        Returns:
            (B, G*G, C), ready for :meth:`decode`.
        """
        return self.fuse_views(self.compute_views(vision_tokens, image_states))

    def fuse_views(self, views: Sequence[Tensor]) -> Tensor:
        """Fuse the output of :meth:`compute_views`: three (B, G*G, C) -> (B, G*G, C)."""
        return self.ca_layer_vl.attend_self(self.text_out_adapter(torch.cat(list(views), dim=-1)))

    def decode(self, fused: Tensor, expression_states: Tensor) -> Tensor:
        """Predict one mask per expression.

        Args:
            fused: (1 or N, G*G, C) from :meth:`fuse`.
            expression_states: (N, D), LLM states one position before the answer token.

        Returns:
            Mask logits (N, G*P, G*P), before the sigmoid.

        Raises:
            ValueError: if D differs from the width this decoder was built for.
        """
        if expression_states.shape[-1] != self.llm_width:
            raise ValueError(
                f"expression states have width {expression_states.shape[-1]}, "
                f"this decoder was built for {self.llm_width}"
            )
        return self.predict_logits(self.cross_attend(fused, expression_states))

    def cross_attend(self, fused: Tensor, expression_states: Tensor) -> Tensor:
        """Cross-attend image and expressions: (1 or N, G*G, C) and (N, D) -> (N, G*G, C)."""
        return self.ca_layer_vl.attend_single(fused, self.text_down(expression_states))

    def predict_logits(self, tokens: Tensor) -> Tensor:
        """Predict mask logits (N, G*P, G*P) from cross-attended tokens (N, G*G, C)."""
        batch, _, width = tokens.shape
        maps = tokens.transpose(1, 2).reshape(batch, width, self.grid, self.grid)
        pixels = functional.pixel_shuffle(self.conv1(maps), self.patch_px)
        logits: Tensor = self.conv2(pixels)
        return logits[:, 0]

    def forward(
        self, vision_tokens: Tensor, image_states: Tensor, expression_states: Tensor
    ) -> Tensor:
        """Run the decoder as in the paper: every tensor repeated per expression, nothing shared.

        Args:
            vision_tokens: (1, G*G, C).
            image_states: (1, G*G/4, D).
            expression_states: (N, D).

        Returns:
            Mask logits (N, G*P, G*P).
        """
        n = expression_states.shape[0]
        fused = self._fuse_tokens(vision_tokens.expand(n, -1, -1), image_states.expand(n, -1, -1))
        text = self.text_down(expression_states)[:, None]
        return self.predict_logits(self.ca_layer_vl(fused, text))
