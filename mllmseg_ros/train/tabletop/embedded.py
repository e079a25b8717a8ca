# SPDX-License-Identifier: Apache-2.0
"""The untrained embedded model: configuration, tokenizer and initial weights.

The classes are those of the published models; only widths, depth, grid and prompt are smaller.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn

from mllmseg_ros.checkpoints.loading import save_model
from mllmseg_ros.files import read_json, write_file
from mllmseg_ros.language.english import FUNCTION_WORDS
from mllmseg_ros.model.config import parse_config
from mllmseg_ros.model.known_words import split_words
from mllmseg_ros.model.mllmseg import MLLMSeg

__all__ = ["add_known_words", "new_checkpoint"]

_SPECIAL = ("<img>", "</img>", "<IMG_CONTEXT>", "[SEG]", "[REJ]")
# Each token of a prompt costs time in every inference: no system message, no chat.
_PROMPT = "<img>{image}</img>{answers}"
_VOCABULARY = 2048
_OFTEN = 20  # occurrences of a word from which it counts as known

_WIDTH = 192
_CONFIG: dict[str, Any] = {
    "model_type": "internvl_chat",
    "architectures": ["MLLMSeg"],
    "force_image_size": 224,
    "downsample_ratio": 0.5,
    "ps_version": "v2",
    "select_layer": -1,
    "use_llm_lora": 0,
    "hidden_size": _WIDTH,
    "vision_config": {
        "model_type": "intern_vit_6b",
        "architectures": ["InternVisionModel"],
        "hidden_size": _WIDTH,
        "intermediate_size": 4 * _WIDTH,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
        "patch_size": 14,
        "image_size": 224,
        "qkv_bias": True,
        "qk_normalization": False,
        # The layer scale's start. The published 0.1 suits a pre-trained tower.
        "initializer_factor": 1.0,
    },
    "llm_config": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": _WIDTH,
        "intermediate_size": 3 * _WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    },
    "mllmseg": {
        "name": "mllmseg-tabletop",
        "prompt": _PROMPT,
        # At the width of the tokens, the feed-forward layers of the cross-attention would have
        # too few units for all colours, kinds and places.
        "decoder_hidden_size": 4 * _WIDTH,
        "can_reject": True,
        "synthetic_only": True,
    },
}


def new_checkpoint(folder: Path, texts: Iterable[str], seed: int) -> None:
    """Write a checkpoint folder with initial weights (float32).

    Args:
        folder: where to; created.
        texts: referring expressions that the vocabulary is learnt from.
        seed: of the initial weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = list(texts)
    vocabulary = _train_tokenizer(folder, texts)
    fields = {
        **_CONFIG,
        "llm_config": {**_CONFIG["llm_config"], "vocab_size": vocabulary},
        "mllmseg": {**_CONFIG["mllmseg"], "known_words": _known_words(texts)},
    }
    text = json.dumps(fields, indent=2, ensure_ascii=False)
    write_file(folder / "config.json", text + "\n")
    torch.manual_seed(seed)
    model = MLLMSeg(parse_config(fields, name="mllmseg-tabletop", origin="embedded"))
    _initialise_weights(model)
    save_model(model, folder, torch.float32)


def add_known_words(folder: Path, texts: Iterable[str]) -> None:
    """Add the words that are frequent in the texts to those that a checkpoint knows."""
    path = folder / "config.json"
    fields = read_json(path)
    words = {*fields["mllmseg"].get("known_words", ()), *_known_words(texts)}
    fields["mllmseg"]["known_words"] = sorted(words)
    text = json.dumps(fields, indent=2, ensure_ascii=False)
    write_file(path, text + "\n")


def _known_words(texts: Iterable[str]) -> list[str]:
    """List the words that are frequent in the texts, and function words."""
    counts = Counter(word for text in texts for word in split_words(text))
    often = {word for word, count in counts.items() if count >= _OFTEN}
    return sorted(often | FUNCTION_WORDS) if often else []


def _train_tokenizer(folder: Path, texts: Iterable[str]) -> int:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY - len(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(_SPECIAL))
    write_file(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    write_file(folder / "tokenizer_config.json", json.dumps(settings) + "\n")
    return int(tokenizer.get_vocab_size())


@torch.no_grad()
def _initialise_weights(model: MLLMSeg) -> None:
    embeddings = model.vision_tower.embeddings
    for positions in (embeddings.cls_token, embeddings.position_embeddings):
        nn.init.trunc_normal_(positions, std=0.02)
    # The last convolution follows a ReLU. With torch's initial weights the head collapses to
    # "everything is background". Initialise it to copy the pixel with a strong bias to background:
    # its few weights change slowly, and a background probability of more than a percent outweighs
    # a small target in the dice loss.
    conv = model.mask_decoder.conv2
    conv.weight.mul_(0.25)
    conv.weight[0, 0, 2, 2] = 2.5
    assert conv.bias is not None
    conv.bias.fill_(-5.0)
