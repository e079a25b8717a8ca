# SPDX-License-Identifier: Apache-2.0
"""Create an untrained MLLMSeg from InternVL2.5: two new tokens and a new mask decoder.

Source: docs/reference.md, sections 2 and 11.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mllmseg_ros.checkpoints.layout import checkpoint_layout
from mllmseg_ros.checkpoints.loading import open_tensors
from mllmseg_ros.files import (
    read_bytes,
    read_json,
    replaced_file,
    replaced_folder,
    write_file,
)
from mllmseg_ros.model.config import parse_config
from mllmseg_ros.model.mask_decoder import MaskDecoder
from mllmseg_ros.model.prompt import REJ, SEG
from mllmseg_ros.model.tokenizer import Tokenizer

__all__ = ["start_from_internvl"]

_DECODER = "res_decoder."
_EMBEDDING_STD = 0.02
_MAX_BYTES = 64 << 20  # of a file of the tokenizer


def start_from_internvl(source: Path, out: Path, seed: int = 0) -> Path:
    """Write a checkpoint folder that training can start from.

    Args:
        source: InternVL2.5's folder, safetensors.
        out: where to; new or empty.
        seed: of the new weights.

    Returns:
        ``out``.

    Raises:
        ValueError: if the source has a mask decoder already or is not complete, or ``out`` is not
            empty.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; name another folder, or --overwrite")
    with replaced_folder(out) as partial:
        _write_start(source, partial, out.name, seed)
    return out


def _write_start(source: Path, out: Path, name: str, seed: int) -> None:
    fields = _read(source / "config.json")
    n_tokens = _next_token_id(Tokenizer.from_folder(source))
    n_rows = max(int(fields.get("llm_config", {}).get("vocab_size", 0)), n_tokens + 2)
    fields["llm_config"] = {**fields.get("llm_config", {}), "vocab_size": n_rows}
    fields |= {"use_llm_lora": 0, "hidden_size": fields["llm_config"].get("hidden_size")}
    config = parse_config(fields, name=name, origin=str(source / "config.json"))
    torch.manual_seed(seed)
    decoder = MaskDecoder(
        config.vision.hidden_size,
        config.language.hidden_size,
        config.grid,
        config.patch_size_px,
        config.decoder_hidden_size or config.vision.hidden_size,
    )
    published = {
        entry.ours[0]: entry.published
        for entry in checkpoint_layout(config, list(decoder.state_dict()))
    }
    tensors: dict[str, Tensor] = {}
    with open_tensors(source) as (names, read):
        if any(name.startswith(_DECODER) for name in names):
            raise ValueError(f"{source} has a mask decoder; it is an MLLMSeg already")
        for name in names:
            tensors[name] = read(name)
    for ours, start in (
        ("language_model.embed_tokens.weight", "random"),
        ("lm_head.weight", "mean"),
    ):
        name = published[ours]
        if name not in tensors:
            raise ValueError(f"{source}: missing {name}")
        tensors[name] = _add_rows(tensors[name], n_tokens, n_rows, start)
    dtype = tensors[published["lm_head.weight"]].dtype
    for key, tensor in decoder.state_dict().items():
        floating = tensor.is_floating_point()
        tensors[_DECODER + key] = tensor.to(dtype) if floating else tensor
    _write_tokenizer(source, out, n_tokens)
    _write(out / "config.json", fields)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replaced_file(out / "model.safetensors") as partial:
        save_file(whole, partial, metadata={"format": "pt"})


def _next_token_id(tokenizer: Tokenizer) -> int:
    known = {SEG, REJ} & set(tokenizer.special_ids)
    if known:
        raise ValueError(f"the tokenizer has {', '.join(sorted(known))} already")
    return max(tokenizer.vocabulary_size, 1 + max(tokenizer.special_ids.values(), default=-1))


def _add_rows(table: Tensor, n_tokens: int, n_rows: int, start: str) -> Tensor:
    """Add rows of two tokens: random (embeddings), or the mean of the old rows (head)."""
    grown = torch.empty(n_rows, table.shape[1], dtype=table.dtype)
    grown[: table.shape[0]] = table
    new = grown[n_tokens : n_tokens + 2]
    if start == "mean":
        new[:] = table[:n_tokens].float().mean(dim=0).to(table.dtype)
    else:
        drawn = torch.empty(2, table.shape[1])
        nn.init.normal_(drawn, std=_EMBEDDING_STD)
        new[:] = drawn.to(table.dtype)
    return grown


def _write_tokenizer(source: Path, out: Path, first_id: int) -> None:
    """Copy the tokenizer's files, and add the two tokens to those that list tokens."""
    for file in source.iterdir():
        named = "token" in file.name or file.name in ("vocab.json", "merges.txt")
        if file.is_file() and named:
            write_file(out / file.name, read_bytes(file, max_bytes=_MAX_BYTES))
    new = {SEG: first_id, REJ: first_id + 1}
    added = _read(out / "added_tokens.json") if (out / "added_tokens.json").is_file() else {}
    _write(out / "added_tokens.json", {**added, **new})
    token = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    token["special"] = True
    settings = _read(out / "tokenizer_config.json")
    decoder = settings.setdefault("added_tokens_decoder", {})
    decoder |= {str(number): {"content": name, **token} for name, number in new.items()}
    _write(out / "tokenizer_config.json", settings)
    fast = out / "tokenizer.json"
    if fast.is_file():
        content = _read(fast)
        content["added_tokens"] = content.get("added_tokens", []) + [
            {"id": number, "content": name, **token} for name, number in new.items()
        ]
        _write(fast, content)


def _read(path: Path) -> dict[str, Any]:
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: cannot be read as a JSON object")
    return fields


def _write(path: Path, content: dict[str, Any]) -> None:
    write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
