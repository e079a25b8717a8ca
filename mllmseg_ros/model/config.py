# SPDX-License-Identifier: Apache-2.0
"""Configuration of a model, read from a checkpoint's ``config.json``.

The schema is that of the published checkpoints (``model_type`` ``internvl_chat``); missing fields
have the published values. Models of this package add one section, ``mllmseg``, with the prompt
template, the decoder's hidden width, whether the model was trained to reject and how its weights
are quantised. Knows nothing of weights or tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import InternVLVisionConfig, LlamaConfig, Qwen2Config

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import is_missing, read_json
from mllmseg_ros.model.quantization import KINDS

__all__ = ["read_config"]

SYSTEM_MESSAGE = (
    "你是书生·万象，英文名是InternVL，"
    "是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)

# The reference's evaluation prompt, with its oddities: a space before "What", none before "in",
# after "Sure," or around the colon. The published weights were evaluated with it.
PUBLISHED_PROMPT = (
    f"<|im_start|>system\n{SYSTEM_MESSAGE}<|im_end|>\n"
    "<|im_start|>user\n<img>{image}</img>\n What are {expressions}in this image? "
    "Please output segmentation masks.<|im_end|>\n"
    "<|im_start|>assistant\nSure,{answers}.<|im_end|>\n"
)

# Largest values of the fields that decide how much memory and time a model takes. InternVL2.5-78B,
# the largest of its family, has 80 layers of width 8192 and a vocabulary of 151674.
MAX_CONFIG_BYTES = 8 << 20
MAX_LAYERS = 256
MAX_WIDTH = 65536
MAX_TOKENS = 1 << 20
MAX_IMAGE_PX = 2048  # along a side
_LIMITS = {
    "hidden_size": MAX_WIDTH,
    "intermediate_size": 4 * MAX_WIDTH,
    "num_hidden_layers": MAX_LAYERS,
    "num_attention_heads": 1024,
    "num_key_value_heads": 1024,
    "vocab_size": MAX_TOKENS,
    "patch_size": MAX_IMAGE_PX,
    "image_size": MAX_IMAGE_PX,
    "force_image_size": MAX_IMAGE_PX,
    "decoder_hidden_size": 4 * MAX_WIDTH,
    "max_position_embeddings": 1 << 24,
}
MAX_PROMPT_CHARS = 8192
MAX_NAME_CHARS = 200
MAX_KNOWN_WORDS = 100_000

# The only published model that was trained to answer [REJ] to a single expression.
_PUBLISHED_REJECTING = ("MLLMSeg_InternVL2_5_8B_GRES",)

ACTIVATIONS = ("gelu", "silu")  # of the published towers and language models
MAX_NUMBER = 1e12  # of the fields that are not sizes, such as rope_theta


@dataclass(frozen=True, kw_only=True)
class MLLMSegConfig:
    """Everything needed to build an MLLMSeg without its weights.

    Published values: image 448 px, patch 14 px, so a 32 x 32 grid of width 1024 and 16 x 16 image
    tokens for the language model.
    """

    name: str
    vision: InternVLVisionConfig
    language: Qwen2Config | LlamaConfig
    image_size_px: int = 448
    downsample_ratio: float = 0.5
    lora_rank: int = 0  # 0: merged; r: the language model is stored with an unmerged rank-r LoRA
    lora_alpha: int = 0
    decoder_hidden_size: int = 0  # of the mask decoder's feed-forward layers; 0: the vision width
    prompt: str = PUBLISHED_PROMPT
    can_reject: bool = False  # trained to answer [REJ]
    synthetic_only: bool = False  # trained on simulated scenes only
    known_words: frozenset[str] = frozenset()  # trained on, lower case; empty: no restriction
    quantize: str = ""  # kind in which the language model's linear layers are stored; "": none

    @property
    def patch_size_px(self) -> int:
        """Side of a vision patch in pixels."""
        return int(self.vision.patch_size[0])

    @property
    def grid(self) -> int:
        """Vision tokens along one side of the image."""
        return self.image_size_px // self.patch_size_px

    @property
    def image_token_grid(self) -> int:
        """Image tokens of the language model along one side."""
        return int(self.grid * self.downsample_ratio)

    @property
    def n_image_tokens(self) -> int:
        """Image tokens in a prompt (256 in the published models)."""
        return self.image_token_grid**2


def read_config(folder: Path, name: str = "") -> MLLMSegConfig:
    """Read ``config.json`` of a checkpoint folder.

    Args:
        folder: of the checkpoint.
        name: of the model if the file has none; the folder's name by default.

    Raises:
        ValueError: if the file is missing, not valid JSON, or of another kind of model.
    """
    path = folder / "config.json"
    if is_missing(path):
        raise ValueError(f"{path}: not found; a checkpoint folder needs config.json")
    fields = read_json(path, max_bytes=MAX_CONFIG_BYTES)
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: expected an object, found {type(fields).__name__}")
    try:
        return parse_config(fields, name=name or folder.resolve().name, origin=str(path))
    except ValueError:
        raise
    except Exception as error:  # transformers has its own exceptions for wrong types
        raise ValueError(
            f"{path}: a field has a value that cannot be used ({one_line(error, max_chars=300)})"
        ) from error


def parse_config(fields: dict[str, Any], *, name: str, origin: str) -> MLLMSegConfig:
    """Parse the published schema.

    Args:
        fields: content of ``config.json``.
        name: of the model if the fields have none.
        origin: of the fields, for error messages.

    Raises:
        ValueError: if a field is missing or not supported, with its name.
    """
    if fields.get("model_type") != "internvl_chat":
        raise ValueError(
            f"{origin}: model_type is {fields.get('model_type')!r}, expected 'internvl_chat'"
        )
    for section in ("vision_config", "llm_config"):
        if not isinstance(fields.get(section), dict):
            raise ValueError(f"{origin}: section {section!r} is missing")
    extension = fields.get("mllmseg", {})
    if not isinstance(extension, dict):
        raise ValueError(f"{origin}: section 'mllmseg' is not an object")
    for each in (fields, fields["vision_config"], fields["llm_config"], extension):
        _check_limits(each, origin)
    for field, accepted in (("select_layer", -1), ("ps_version", "v2"), ("downsample_ratio", 0.5)):
        if fields.get(field, accepted) != accepted:
            raise ValueError(
                f"{origin}: {field} is {fields[field]!r}, only {accepted!r} is supported"
            )
    image_size_px = int(
        fields.get("force_image_size") or fields["vision_config"].get("image_size", 448)
    )
    lora_rank = int(fields.get("use_llm_lora", 0))
    known_words = [str(word) for word in extension.get("known_words", ())]
    if len(known_words) > MAX_KNOWN_WORDS:
        raise ValueError(
            f"{origin}: {len(known_words)} known_words, accepted are up to {MAX_KNOWN_WORDS}"
        )
    return MLLMSegConfig(
        name=_text(extension, "name", name, MAX_NAME_CHARS, origin),
        vision=_vision_config(fields["vision_config"], image_size_px, origin),
        language=_language_config(fields["llm_config"], origin),
        image_size_px=image_size_px,
        downsample_ratio=float(fields.get("downsample_ratio", 0.5)),
        lora_rank=lora_rank,
        lora_alpha=2 * lora_rank,
        decoder_hidden_size=int(extension.get("decoder_hidden_size", 0)),
        prompt=_text(extension, "prompt", PUBLISHED_PROMPT, MAX_PROMPT_CHARS, origin),
        can_reject=bool(extension.get("can_reject", name in _PUBLISHED_REJECTING)),
        synthetic_only=bool(extension.get("synthetic_only", False)),
        known_words=frozenset(known_words),
        quantize=_quantize(extension, lora_rank, origin),
    )


def _quantize(extension: Mapping[str, Any], lora_rank: int, origin: str) -> str:
    kind = extension.get("quantize", "")
    if kind not in ("", *KINDS):
        raise ValueError(f"{origin}: quantize is {str(kind)[:64]!r}, accepted: {', '.join(KINDS)}")
    if kind and lora_rank:
        raise ValueError(f"{origin}: quantize {kind} with an unmerged LoRA (use_llm_lora)")
    return str(kind)


def _check_limits(section: Mapping[str, Any], origin: str) -> None:
    for field, limit in _LIMITS.items():
        value = section.get(field)
        if value is None or (field in ("force_image_size", "decoder_hidden_size") and not value):
            continue
        if type(value) is not int or not 0 < value <= limit:
            raise ValueError(f"{origin}: {field} is {str(value)[:64]}, accepted are 1 to {limit}")


def _text(section: Mapping[str, Any], field: str, default: str, limit: int, origin: str) -> str:
    value = section.get(field, default)
    if not isinstance(value, str) or len(value) > limit:
        raise ValueError(
            f"{origin}: {field} is {str(value)[:64]!r}, expected up to {limit} letters"
        )
    return value


def _number(
    section: Mapping[str, Any], field: str, default: float, origin: str, least: float = 0.0
) -> float:
    value = section.get(field, default)
    if type(value) not in (int, float) or not least <= value <= MAX_NUMBER:
        raise ValueError(
            f"{origin}: {field} is {str(value)[:64]}, accepted are {least:g} to {MAX_NUMBER:g}"
        )
    return float(value)


def _activation(section: Mapping[str, Any], default: str, origin: str) -> str:
    value = section.get("hidden_act", default)
    if value not in ACTIVATIONS:
        raise ValueError(
            f"{origin}: hidden_act is {str(value)[:64]!r}, accepted: {', '.join(ACTIVATIONS)}"
        )
    return str(value)


def _vision_config(fields: dict[str, Any], image_size_px: int, origin: str) -> InternVLVisionConfig:
    patch = int(fields.get("patch_size", 14))
    if image_size_px % (2 * patch):
        raise ValueError(
            f"{origin}: image size {image_size_px} is not a multiple of two patches of {patch} px"
        )
    if fields.get("qk_normalization", False) or fields.get("norm_type", "layer_norm") != (
        "layer_norm"
    ):
        raise ValueError(
            f"{origin}: vision towers with qk_normalization or norm_type other than 'layer_norm' "
            "(InternViT-6B) are not supported; the published models use InternViT-300M"
        )
    return InternVLVisionConfig(
        hidden_size=fields.get("hidden_size", 1024),
        num_hidden_layers=fields.get("num_hidden_layers", 24),
        num_attention_heads=fields.get("num_attention_heads", 16),
        intermediate_size=fields.get("intermediate_size", 4096),
        attention_bias=fields.get("qkv_bias", True),
        hidden_act=_activation(fields, "gelu", origin),
        layer_norm_eps=_number(fields, "layer_norm_eps", 1e-6, origin),
        initializer_range=_number(fields, "initializer_range", 0.02, origin),
        layer_scale_init_value=_number(fields, "initializer_factor", 0.1, origin),
        image_size=image_size_px,
        patch_size=patch,
        use_mean_pooling=True,  # no LayerNorm after the last block
    )


def _language_config(fields: dict[str, Any], origin: str) -> Qwen2Config | LlamaConfig:
    if fields.get("tie_word_embeddings", False):
        raise ValueError(f"{origin}: llm_config.tie_word_embeddings is true; MLLMSeg never ties")
    shared: dict[str, Any] = {
        key: fields[key]
        for key in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "max_position_embeddings",
        )
        if key in fields
    }
    shared["hidden_act"] = _activation(fields, "silu", origin)
    shared["rms_norm_eps"] = _number(fields, "rms_norm_eps", 1e-6, origin)
    shared["initializer_range"] = _number(fields, "initializer_range", 0.02, origin)
    # InternLM2's dynamic NTK scaling only applies beyond max_position_embeddings, which no accepted
    # prompt reaches: plain rotary positions are exact.
    shared["rope_parameters"] = {
        "rope_type": "default",
        "rope_theta": _number(fields, "rope_theta", 1e6, origin, least=1.0),
    }
    shared["tie_word_embeddings"] = False
    architecture = (fields.get("architectures") or ["?"])[0]
    scaling = fields.get("rope_scaling")
    if scaling and architecture != "InternLM2ForCausalLM":
        raise ValueError(f"{origin}: llm_config.rope_scaling is {scaling}; Qwen2.5's has none")
    if architecture == "Qwen2ForCausalLM":
        return Qwen2Config(**shared, use_sliding_window=False)
    if architecture == "InternLM2ForCausalLM":
        if fields.get("bias", False):
            raise ValueError(f"{origin}: llm_config.bias is true; published InternLM2.5 has none")
        return LlamaConfig(**shared, attention_bias=False, mlp_bias=False, pad_token_id=None)
    raise ValueError(
        f"{origin}: llm_config.architectures[0] is {architecture!r}, "
        "supported are 'Qwen2ForCausalLM' and 'InternLM2ForCausalLM'"
    )
