# SPDX-License-Identifier: Apache-2.0
"""MLLMSeg: vision tower -> projector -> language model -> mask decoder.

There are two passes through the same weights: the staged one (:meth:`MLLMSeg.encode_image` once per
image, :meth:`MLLMSeg.read_prompts` and :meth:`MLLMSeg.decode_masks` per expression) and the naive
one of the original (:meth:`MLLMSeg.forward`: one whole prompt, everything recomputed). They are
equal because attention is causal (arXiv 2508.04107; tests compare them to 1e-4). Knows tensors and
token ids, neither text nor images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import InternVLVisionModel, LlamaModel, Qwen2Config, Qwen2Model

from mllmseg_ros.model.config import MLLMSegConfig
from mllmseg_ros.model.language_pass import KeyValues, LanguageModel, read_row
from mllmseg_ros.model.mask_decoder import MaskDecoder
from mllmseg_ros.model.packing import PackedPrompts


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """The features of one image, which do not depend on the expression."""

    fused: Tensor  # (1, G*G, C) decoder tokens before the expression enters
    prefix_cache: tuple[KeyValues, ...]  # per layer
    prefix_length: int  # L, tokens of the prompt up to and including </img>
    # Inputs of `fused`, needed for explanations only.
    vision_tokens: Tensor  # (1, G*G, C)
    image_states: Tensor  # (1, G*G/4, D)


@dataclass(frozen=True, kw_only=True)
class FullPass:
    """The outputs of the naive pass."""

    hidden: Tensor  # (L, D) last hidden states after the final norm
    logits: Tensor  # (L, V) at every position
    mask_logits: Tensor  # (N, G*P, G*P), one per mask position


def pixel_shuffle_down(tokens: Tensor) -> Tensor:
    """Merge each 2 x 2 block of vision tokens into one token, channels concatenated.

    Args:
        tokens: (B, G*G, C), row-major.

    Returns:
        (B, G*G/4, 4C); channel order top-left, top-right, bottom-left, bottom-right.

    Source: InternVL's pixel unshuffle, ``ps_version`` v2.
    """
    batch, length, width = tokens.shape
    half = round(length**0.5) // 2
    blocks = tokens.view(batch, half, 2, half, 2, width).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(batch, half * half, 4 * width)


class MLLMSeg(nn.Module):
    """The whole network. :mod:`mllmseg_ros.checkpoints.loading` fills it with weights.

    Args:
        config: of the network.
        head_tokens: tokens whose rows ``lm_head`` has, in this order; none: all tokens. For
            inference the answer tokens are enough; training and :meth:`forward` need all.
    """

    def __init__(self, config: MLLMSegConfig, head_tokens: Sequence[int] = ()) -> None:
        super().__init__()
        self.config = config
        self.head_tokens = tuple(head_tokens)
        self.quantization = ""  # kind of the linear layers' weights, set when they are loaded
        vision_width, llm_width = config.vision.hidden_size, config.language.hidden_size
        config.vision._attn_implementation = "sdpa"
        config.language._attn_implementation = "sdpa"
        self.vision_tower = InternVLVisionModel(config.vision)
        self.projector = nn.Sequential(
            nn.LayerNorm(4 * vision_width),
            nn.Linear(4 * vision_width, llm_width),
            nn.GELU(),
            nn.Linear(llm_width, llm_width),
        )
        self.language_model: LanguageModel = (
            Qwen2Model(config.language)
            if isinstance(config.language, Qwen2Config)
            else LlamaModel(config.language)
        )
        n_rows = len(self.head_tokens) or config.language.vocab_size
        self.lm_head = nn.Linear(llm_width, n_rows, bias=False)
        self.mask_decoder = MaskDecoder(
            vision_width,
            llm_width,
            config.grid,
            config.patch_size_px,
            config.decoder_hidden_size or vision_width,
        )

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.lm_head.weight.dtype

    # ---- image, once

    def encode_vision(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Run the vision tower and the projector.

        Args:
            pixel_values: (B, 3, S, S), ImageNet-normalised.

        Returns:
            Vision tokens (B, G*G, C) without the class token, image embeddings (B, G*G/4, D).
        """
        tokens = self.vision_tower(pixel_values=pixel_values).last_hidden_state[:, 1:]
        return tokens, self.projector(pixel_shuffle_down(tokens))

    def embed(self, input_ids: Tensor, image_embeds: Tensor, image_start: int) -> Tensor:
        """Embed token ids (B, L), with image embeddings for the image tokens. (B, L, D)."""
        embeds = self.language_model.get_input_embeddings()(input_ids)
        before, after = image_start, image_start + image_embeds.shape[1]
        return torch.cat([embeds[:, :before], image_embeds, embeds[:, after:]], dim=1)

    def encode_image(
        self, pixel_values: Tensor, prefix_ids: Tensor, image_start: int
    ) -> ImageFeatures:
        """Compute everything that depends on the image alone.

        Args:
            pixel_values: (1, 3, S, S).
            prefix_ids: (1, L), the prompt up to and including ``</img>``.
            image_start: index of the first image token in the prefix.
        """
        tokens, image_embeds = self.encode_vision(pixel_values)
        states, prefix_cache = self.read_prefix(image_embeds, prefix_ids, image_start)
        return self._features(tokens, states, prefix_cache, prefix_ids.shape[1])

    def encode_and_read(
        self, pixel_values: Tensor, packed: PackedPrompts
    ) -> tuple[ImageFeatures, Tensor]:
        """Encode an image and read the first prompts on it, in one pass of the language model.

        Equal to :meth:`encode_image` and :meth:`read_prompts`, but the language model's weights
        are read once.

        Args:
            pixel_values: (1, 3, S, S).
            packed: one row, prefix included.

        Returns:
            Features for further prompts, and states (N, D) that predict the answers.
        """
        tokens, image_embeds = self.encode_vision(pixel_values)
        hidden, key_values = read_row(
            self.language_model,
            self.embed(packed.input_ids, image_embeds, packed.image_start),
            packed.position_ids,
            packed.attention_mask,
        )
        length = packed.image_start + self.config.n_image_tokens + 1
        prefix_cache = tuple(
            (keys[:, :, :length], values[:, :, :length]) for keys, values in key_values
        )
        states = self.select_image_states(hidden, packed.image_start)
        features = self._features(tokens, states, prefix_cache, length)
        return features, hidden[0, packed.states]

    def read_prefix(
        self, image_embeds: Tensor, prefix_ids: Tensor, image_start: int
    ) -> tuple[Tensor, tuple[KeyValues, ...]]:
        """Run the language model over the prompt up to and including ``</img>``.

        Args:
            image_embeds: (1, G*G/4, D) from :meth:`encode_vision`.
            prefix_ids: (1, L).
            image_start: index of the first image token in the prefix.

        Returns:
            Image states (1, G*G/4, D), and keys and values for later tokens.
        """
        embeds = self.embed(prefix_ids, image_embeds, image_start)
        places = torch.arange(prefix_ids.shape[1], device=prefix_ids.device)
        causal = places[:, None] >= places
        hidden, prefix_cache = read_row(
            self.language_model, embeds, places[None], causal[None, None]
        )
        return self.select_image_states(hidden, image_start), prefix_cache

    def select_image_states(self, hidden: Tensor, image_start: int) -> Tensor:
        """Select the image states (B, G*G/4, D) from hidden states (B, L, D).

        As in the reference, states are read one position early, from ``<img>`` on.
        """
        return hidden[:, image_start - 1 : image_start - 1 + self.config.n_image_tokens]

    def _features(
        self,
        tokens: Tensor,
        states: Tensor,
        prefix_cache: tuple[KeyValues, ...],
        prefix_length: int,
    ) -> ImageFeatures:
        return ImageFeatures(
            fused=self.mask_decoder.fuse(tokens, states),
            prefix_cache=prefix_cache,
            prefix_length=prefix_length,
            vision_tokens=tokens,
            image_states=states,
        )

    # ---- expressions

    def read_prompts(self, prefix_cache: Sequence[KeyValues], packed: PackedPrompts) -> Tensor:
        """Run prompts on the cached prefix in one pass, independent of each other.

        Args:
            prefix_cache: of the image.
            packed: one row, without the prefix that is cached.

        Returns:
            Hidden states (N, D) that predict the answers, in the order of prompts and expressions.
        """
        hidden, _ = read_row(
            self.language_model,
            self.language_model.get_input_embeddings()(packed.input_ids),
            packed.position_ids,
            packed.attention_mask,
            prefix_cache,
        )
        return hidden[0, packed.states]

    def read_packed(self, image_embeds: Tensor, packed: PackedPrompts) -> tuple[Tensor, Tensor]:
        """Run whole rows, prefixes included: the training form of the two stages.

        Args:
            image_embeds: (B, G*G/4, D) from :meth:`encode_vision`.
            packed: one row per image.

        Returns:
            Image states (B, G*G/4, D) and expression states (N, D).
        """
        hidden = self.language_model(
            inputs_embeds=self.embed(packed.input_ids, image_embeds, packed.image_start),
            attention_mask=packed.attention_mask,
            position_ids=packed.position_ids,
            use_cache=False,
        ).last_hidden_state
        image_states = self.select_image_states(hidden, packed.image_start)
        return image_states, hidden[packed.rows, packed.states]

    def answer_logits(self, states: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Compute logits of a few tokens only: states (N, D) -> float32 (N, len(token_ids)).

        Raises:
            ValueError: if ``lm_head`` has no row of a token.
        """
        # By number, not by an index tensor, which would have to be copied to the device.
        rows = torch.stack([self.lm_head.weight[row] for row in self._head_rows(token_ids)])
        return nn.functional.linear(states.float(), rows.float())

    def _head_rows(self, token_ids: Sequence[int]) -> list[int]:
        """Find the rows of ``lm_head`` that tokens have."""
        if not self.head_tokens:
            return list(token_ids)
        missing = set(token_ids) - set(self.head_tokens)
        if missing:
            raise ValueError(
                f"lm_head was loaded with the rows of tokens {self.head_tokens} only, asked for "
                f"are those of {sorted(missing)}"
            )
        return [self.head_tokens.index(each) for each in token_ids]

    def decode_masks(self, features: ImageFeatures, states: Tensor) -> Tensor:
        """Predict mask logits (N, G*P, G*P) for expression states (N, D) on one image."""
        return self.mask_decoder.decode(features.fused, states)

    # ---- naive pass

    def forward(
        self,
        pixel_values: Tensor,
        input_ids: Tensor,
        image_start: int,
        mask_positions: Sequence[int],
    ) -> FullPass:
        """Run one whole prompt as the reference does; slow, for training and tests.

        Args:
            pixel_values: (1, 3, S, S).
            input_ids: (L,), the whole prompt with its answer tokens.
            image_start: index of the first image token.
            mask_positions: indices of the answer tokens to predict masks for.

        Raises:
            ValueError: if ``lm_head`` does not have the rows of all tokens.
        """
        if self.head_tokens:
            raise ValueError(
                "the naive pass needs all rows of lm_head, loaded are those of the answer tokens; "
                "load the model with whole_head"
            )
        tokens, image_embeds = self.encode_vision(pixel_values)
        hidden = self.language_model(
            inputs_embeds=self.embed(input_ids[None], image_embeds, image_start), use_cache=False
        ).last_hidden_state
        before = torch.tensor(mask_positions, device=hidden.device, dtype=torch.long) - 1
        side = self.config.image_size_px
        mask_logits = (
            self.mask_decoder(
                tokens, self.select_image_states(hidden, image_start), hidden[0, before]
            )
            if len(mask_positions)
            else hidden.new_zeros(0, side, side)
        )
        return FullPass(hidden=hidden[0], logits=self.lm_head(hidden[0]), mask_logits=mask_logits)
