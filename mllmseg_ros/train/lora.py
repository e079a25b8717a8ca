# SPDX-License-Identifier: Apache-2.0
"""Choose what is trained: LoRA on the language model, and the whole mask decoder.

Source: docs/reference.md, section 11; the adapters are peft's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import LoraConfig, TrainableTokensConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.tuners.trainable_tokens import TrainableTokensLayer
from torch import Tensor
from transformers import Qwen2Config

from mllmseg_ros.model.mllmseg import MLLMSeg

__all__ = ["Trained", "choose_trained", "merged_state"]

_ADAPTER = "default"
_LANGUAGE = r"language_model\.layers\.\d+\.\w+\.(q|k|v|o|gate|up|down)_proj"
_VISION = r"vision_tower\.encoder\.layer\.\d+\.attention\.(q_proj|k_proj|v_proj|projection_layer)"
_VISION_MLP = r"vision_tower\.encoder\.layer\.\d+\.mlp\.fc[12]"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What is trained beside the mask decoder and the language model's last norm."""

    lora_rank: int = 64  # on every linear layer of the language model; 0 for none
    lora_dropout: float = 0.05
    vision_lora: bool = False  # the same on the vision tower
    # The rows of [SEG] and [REJ] in embeddings and head; without LoRA only in the head, so that
    # the language model does not change.
    answer_rows: bool = False


def choose_trained(model: MLLMSeg, trained: Trained, answer_ids: Sequence[int]) -> None:
    """Insert adapters and set ``requires_grad``, in place.

    Alpha is twice the rank. As in the paper's code, InternLM2-based models also train their whole
    embeddings and head. Those of Qwen2-based models stay frozen, so that [SEG] and [REJ] stay equal
    unless ``answer_rows`` is set.

    Args:
        model: the network.
        trained: what to train.
        answer_ids: token ids of [SEG] and [REJ].
    """
    model.requires_grad_(False)
    whole_head = not isinstance(model.config.language, Qwen2Config)
    rows = {"embed_tokens": list(answer_ids), "lm_head": list(answer_ids)}
    targets = [_LANGUAGE] if trained.lora_rank else []
    if trained.vision_lora and trained.lora_rank:
        targets += [_VISION, _VISION_MLP]
    if targets:
        config = LoraConfig(
            r=trained.lora_rank,
            lora_alpha=2 * trained.lora_rank,
            lora_dropout=trained.lora_dropout,
            target_modules="(" + "|".join(targets) + ")",
            trainable_token_indices=rows if trained.answer_rows and not whole_head else None,
        )
        inject_adapter_in_model(config, model)
    elif trained.answer_rows and not whole_head:
        head = TrainableTokensConfig(token_indices=rows["lm_head"], target_modules=["lm_head"])
        inject_adapter_in_model(head, model)
    for name, parameter in model.named_parameters():
        always = name.startswith("mask_decoder.") or name == "language_model.norm.weight"
        table = name in ("language_model.embed_tokens.weight", "lm_head.weight")
        if always or (whole_head and table):
            parameter.requires_grad_(True)
    model.train(model.training)  # new modules come in training mode


@torch.no_grad()
def merged_state(model: MLLMSeg) -> dict[str, Tensor]:
    """Return the network's state dict with its adapters merged."""
    state = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in model.state_dict().items()
        if ".lora_" not in name and ".token_adapter." not in name and "trainable_tokens" not in name
    }
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            delta = module.get_delta_weight(_ADAPTER)  # type: ignore[attr-defined]
            state[f"{name}.weight"] = (weight.float() + delta.float()).to(weight.dtype)
        elif isinstance(module, TrainableTokensLayer):
            owner = name.removesuffix(".token_adapter")
            state[f"{owner}.weight"] = module.get_merged_weights([_ADAPTER])
    return state
