# SPDX-License-Identifier: Apache-2.0
"""Map the tensors of published checkpoints to the parameters of our modules.

Parameter names of checkpoints appear in this file only. Fused weights (the vision tower's ``qkv``,
InternLM2's ``wqkv``) are split into the three of transformers' classes, and fused again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Qwen2Config

from mllmseg_ros.model.config import MLLMSegConfig

__all__ = ["HEAD", "checkpoint_layout"]

HEAD = "lm_head.weight"  # our parameter, of which inference reads a few rows

Split = Callable[[Tensor], Sequence[Tensor]]
Fuse = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tensor of a checkpoint and the parameters of our modules that it fills."""

    published: str
    ours: tuple[str, ...]
    split: Split
    fuse: Fuse


def checkpoint_layout(config: MLLMSegConfig, decoder_keys: Sequence[str]) -> list[Entry]:
    """List every tensor of a merged checkpoint of this configuration.

    Args:
        config: the model.
        decoder_keys: state-dict keys of our mask decoder, whose names are the published ones.
    """
    entries = list(_vision_entries(config))
    entries += [
        _rename(f"mlp1.{index}.{leaf}", f"projector.{index}.{leaf}")
        for index in (0, 1, 3)
        for leaf in ("weight", "bias")
    ]
    if isinstance(config.language, Qwen2Config):
        entries += _qwen2_entries(config)
    else:
        entries += _internlm2_entries(config)
    entries += [_rename(f"res_decoder.{key}", f"mask_decoder.{key}") for key in decoder_keys]
    return entries


def _rename(published: str, ours: str) -> Entry:
    return Entry(
        published=published, ours=(ours,), split=lambda t: (t,), fuse=lambda parts: parts[0]
    )


def _vision_entries(config: MLLMSegConfig) -> Iterator[Entry]:
    for published, ours in (
        ("class_embedding", "cls_token"),
        ("position_embedding", "position_embeddings"),
        ("patch_embedding.weight", "patch_embeddings.projection.weight"),
        ("patch_embedding.bias", "patch_embeddings.projection.bias"),
    ):
        yield _rename(f"vision_model.embeddings.{published}", f"vision_tower.embeddings.{ours}")
    renamed = {
        "ls1": "lambda_1",
        "ls2": "lambda_2",
        "norm1.weight": "layernorm_before.weight",
        "norm1.bias": "layernorm_before.bias",
        "norm2.weight": "layernorm_after.weight",
        "norm2.bias": "layernorm_after.bias",
        "attn.proj.weight": "attention.projection_layer.weight",
        "attn.proj.bias": "attention.projection_layer.bias",
        **{f"mlp.{fc}.{leaf}": f"mlp.{fc}.{leaf}" for fc in ("fc1", "fc2") for leaf in _LEAVES},
    }
    for index in range(config.vision.num_hidden_layers):
        theirs = f"vision_model.encoder.layers.{index}."
        ours = f"vision_tower.encoder.layer.{index}."
        for published, own in renamed.items():
            yield _rename(theirs + published, ours + own)
        for leaf in _LEAVES if config.vision.attention_bias else ("weight",):
            yield Entry(
                published=f"{theirs}attn.qkv.{leaf}",
                ours=tuple(f"{ours}attention.{part}_proj.{leaf}" for part in "qkv"),
                split=lambda fused: fused.chunk(3, dim=0),
                fuse=lambda parts: torch.cat(list(parts), dim=0),
            )


_LEAVES = ("weight", "bias")
_MLP = ("mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight")
_NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")


def _qwen2_entries(config: MLLMSegConfig) -> Iterator[Entry]:
    yield _rename("language_model.model.embed_tokens.weight", "language_model.embed_tokens.weight")
    yield _rename("language_model.model.norm.weight", "language_model.norm.weight")
    yield _rename("language_model.lm_head.weight", HEAD)
    attention = [f"self_attn.{part}_proj.{leaf}" for part in "qkv" for leaf in _LEAVES]
    for index in range(config.language.num_hidden_layers):
        for name in (*attention, "self_attn.o_proj.weight", *_MLP, *_NORMS):
            key = f"layers.{index}.{name}"
            yield _rename(f"language_model.model.{key}", f"language_model.{key}")


def _internlm2_entries(config: MLLMSegConfig) -> Iterator[Entry]:
    language = config.language
    kv_heads = language.num_key_value_heads
    group = language.num_attention_heads // kv_heads
    head = language.hidden_size // language.num_attention_heads

    def split(fused: Tensor) -> Sequence[Tensor]:
        # Rows per key/value head: its group of queries, then its key, then its value.
        rows = fused.view(kv_heads, group + 2, head, -1)
        parts = (rows[:, :group], rows[:, group : group + 1], rows[:, group + 1 :])
        return [part.reshape(-1, fused.shape[-1]) for part in parts]

    def fuse(parts: Sequence[Tensor]) -> Tensor:
        width = parts[0].shape[-1]
        rows = [part.view(kv_heads, -1, head, width) for part in parts]
        return torch.cat(rows, dim=1).reshape(-1, width)

    yield _rename(
        "language_model.model.tok_embeddings.weight", "language_model.embed_tokens.weight"
    )
    yield _rename("language_model.model.norm.weight", "language_model.norm.weight")
    yield _rename("language_model.output.weight", HEAD)
    renamed = {
        "attention.wo.weight": "self_attn.o_proj.weight",
        "feed_forward.w1.weight": "mlp.gate_proj.weight",
        "feed_forward.w3.weight": "mlp.up_proj.weight",
        "feed_forward.w2.weight": "mlp.down_proj.weight",
        "attention_norm.weight": "input_layernorm.weight",
        "ffn_norm.weight": "post_attention_layernorm.weight",
    }
    for index in range(language.num_hidden_layers):
        theirs, ours = f"language_model.model.layers.{index}.", f"language_model.layers.{index}."
        for published, own in renamed.items():
            yield _rename(theirs + published, ours + own)
        yield Entry(
            published=f"{theirs}attention.wqkv.weight",
            ours=tuple(f"{ours}self_attn.{part}_proj.weight" for part in "qkv"),
            split=split,
            fuse=fuse,
        )
