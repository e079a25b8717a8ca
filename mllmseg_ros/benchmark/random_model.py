# SPDX-License-Identifier: Apache-2.0
"""A model of published dimensions with random weights, for measuring time without a checkpoint.

It takes the time of the real one, and its masks mean nothing. Weights are made here, never stored.
"""

from __future__ import annotations

from typing import Any

import torch

from mllmseg_ros.checkpoints.hub import EMBEDDED
from mllmseg_ros.model.config import MLLMSegConfig, parse_config
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.precision import choose_device_and_dtype
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.segmenter import Segmenter

__all__ = ["SIZES", "config_fields", "random_config", "random_segmenter"]

# Tokens of the published prompt for "the red mug", about: up to </img>, and after it.
PREFIX_TOKENS = 300
SUFFIX_TOKENS = 32
_EXPRESSION = "the red mug"
_WORD = " the"  # one token in the embedded model's vocabulary

# docs/reference.md, section 12: the language models of the published checkpoints.
_QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "vocab_size": 151676, "num_key_value_heads": 2}
_INTERNLM2 = {"architectures": ["InternLM2ForCausalLM"], "vocab_size": 92555, "bias": False}
_LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "1B": {
        **_QWEN2,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
    },
    "2B": {
        **_INTERNLM2,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
    },
    "4B": {
        **_QWEN2,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
    },
    "8B": {
        **_INTERNLM2,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
SIZES = tuple(_LANGUAGE_MODELS)


class _SmallTokenizer(Tokenizer):
    """The embedded model's vocabulary, with special tokens at the end of a large one."""

    def __init__(self, vocabulary_size: int) -> None:
        small = Tokenizer.from_folder(EMBEDDED)
        first = vocabulary_size - len(small.special_ids)
        ids = {name: first + index for index, name in enumerate(small.special_ids)}
        super().__init__(small._text_only, ids)


def config_fields(size: str) -> dict[str, Any]:
    """Return ``config.json`` of a published size, with a prompt of the published length.

    Args:
        size: one of :data:`SIZES`.

    Raises:
        ValueError: if the size is unknown.
    """
    if size not in SIZES:
        raise ValueError(f"unknown size {size!r}; accepted: {', '.join(SIZES)}")
    fields: dict[str, Any] = {
        "model_type": "internvl_chat",
        "vision_config": {},
        "llm_config": _LANGUAGE_MODELS[size],
        "mllmseg": {"name": f"random-{size}"},
    }
    config = parse_config(fields, name="", origin="benchmark")
    fields["mllmseg"]["prompt"] = _prompt(config.n_image_tokens, config.language.vocab_size)
    return fields


def random_config(size: str) -> MLLMSegConfig:
    """Return the configuration of :func:`config_fields`."""
    return parse_config(config_fields(size), name="", origin="benchmark")


def random_segmenter(
    size: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    compile: str = "off",
) -> Segmenter:
    """Build a Segmenter of a published size with random weights.

    Args:
        size: one of :data:`SIZES`.
        device: as of :meth:`Segmenter.from_pretrained`, like the others.
        dtype: likewise.
        compile: likewise.

    Raises:
        ValueError: if the size is unknown, or device, dtype or ``compile`` cannot be used.
    """
    config = random_config(size)
    device, dtype = choose_device_and_dtype(device, dtype)
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = MLLMSeg(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(default)
    segmenter = Segmenter(model.to(device, dtype), _SmallTokenizer(config.language.vocab_size))
    if compile != "off" and device.type == "cuda":
        segmenter._record_graphs()
    return segmenter


def _prompt(n_image_tokens: int, vocabulary_size: int) -> str:
    """Write a prompt template of PREFIX_TOKENS and SUFFIX_TOKENS."""
    tokenizer = _SmallTokenizer(vocabulary_size)
    n_question = SUFFIX_TOKENS - len(
        tokenizer.encode_text(_EXPRESSION) + tokenizer.encode_text(f"{_EXPRESSION}:")
    )
    return (
        _WORD * (PREFIX_TOKENS - n_image_tokens - 2)  # <img> and </img>
        + "<img>{image}</img>{expressions}"
        + _WORD * n_question
        + "{answers}"
    )
