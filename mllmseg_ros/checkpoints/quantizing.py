# SPDX-License-Identifier: Apache-2.0
"""Write a checkpoint with a quantised language model, which any machine then loads directly.

Safetensors in the published layout: after a quantised weight come its scale (``…weight_scale``)
and, in int4, its zero (``…weight_zero``), and section ``mllmseg`` of ``config.json`` says
``"quantize"``. Memory is needed for one file of the result, not for the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.checkpoints.layout import Entry
from mllmseg_ros.checkpoints.loading import SCALE, ZERO, read_entries
from mllmseg_ros.files import read_bytes, read_json, replaced_folder, write_file
from mllmseg_ros.model.config import MLLMSegConfig, read_config
from mllmseg_ros.model.quantization import (
    KINDS,
    QuantizedWeight,
    check_torchao,
    dequantize_weight,
    is_language_weight,
    quantize_weight,
)

__all__ = ["quantize_checkpoint"]

MAX_FILE_BYTES = 2 << 30  # of a weight file; a larger model has several
_MAX_TEXT_BYTES = 64 << 20  # of a file of the tokenizer
_TEXT_ENDINGS = (".json", ".txt", ".model", ".md")


def quantize_checkpoint(
    source: Path,
    out: Path,
    kind: str,
    name: str = "",
    *,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Write a checkpoint whose language model is quantised, with ``SHA256SUMS``.

    Args:
        source: checkpoint folder; an unmerged LoRA is merged.
        out: folder to write, new or empty.
        kind: "int8", "int4" or "fp8"; written on any machine, whatever it can compute.
        name: of the model if its configuration has none.
        report: called with one line per file.

    Raises:
        ValueError: if the checkpoint or the kind cannot be used, ``out`` is not empty, or torchao
            is missing.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; accepted: {', '.join(KINDS)}")
    check_torchao(kind)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; name a new folder, or --overwrite")
    config = read_config(source, name)
    fields = read_json(source / "config.json")
    fields["use_llm_lora"] = 0
    fields["mllmseg"] = {**fields.get("mllmseg", {}), "name": config.name, "quantize": kind}
    with replaced_folder(out) as partial:
        index: dict[str, str] = {}  # tensor -> file
        for number, tensors in enumerate(_group(_quantized_tensors(source, config, kind)), start=1):
            file_name = f"model-{number:05}.safetensors"
            report(f"{file_name}: {_size(tensors) / 1e6:.1f} MB")
            save_file(tensors, partial / file_name, metadata={"format": "pt"})
            index.update(dict.fromkeys(tensors, file_name))
        text = json.dumps({"metadata": {}, "weight_map": index}, indent=1)
        write_file(partial / "model.safetensors.index.json", text)
        for file in source.iterdir():
            is_text = file.suffix in _TEXT_ENDINGS and not file.name.endswith(".index.json")
            if file.is_file() and is_text and file.name != "config.json":
                write_file(partial / file.name, read_bytes(file, max_bytes=_MAX_TEXT_BYTES))
        text = json.dumps(fields, indent=2, ensure_ascii=False)
        write_file(partial / "config.json", text + "\n")
        sums = {file.name: integrity.sha256(file) for file in sorted(partial.iterdir())}
        integrity.write_sums(partial, sums, f"{config.name}, {kind}")


def _quantized_tensors(
    source: Path, config: MLLMSegConfig, kind: str
) -> Iterator[Mapping[str, Tensor]]:
    """Yield what is stored of one tensor of the layout after the other."""
    for entry, parts in read_entries(source, config, kind, torch.device("cpu")):
        yield _stored_tensors(entry, parts, kind)


def _group(stored: Iterable[Mapping[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Group tensors into files of limited size."""
    tensors: dict[str, Tensor] = {}
    for each in stored:
        tensors.update(each)
        if _size(tensors) >= MAX_FILE_BYTES:
            yield tensors
            tensors = {}
    if tensors:
        yield tensors


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(each.nbytes for each in tensors.values())


def _stored_tensors(
    entry: Entry, parts: Sequence[Tensor | QuantizedWeight], kind: str
) -> dict[str, Tensor]:
    """Fuse an entry's parts again, as they are stored."""
    if not is_language_weight(entry.ours[0]):
        # clone: a part may be a mapping of a file, and safetensors refuses shared memory
        plain = [part for part in parts if isinstance(part, Tensor)]
        return {entry.published: entry.fuse(plain).contiguous().clone()}
    quantized = [_quantize(part, kind) for part in parts]
    stored = {
        entry.published: entry.fuse([each.codes for each in quantized]),
        entry.published + SCALE: entry.fuse([each.scale for each in quantized]),
    }
    zeros = [each.zero for each in quantized if each.zero is not None]
    if zeros:
        stored[entry.published + ZERO] = entry.fuse(zeros)
    return {name: tensor.contiguous().clone() for name, tensor in stored.items()}


def _quantize(part: Tensor | QuantizedWeight, kind: str) -> QuantizedWeight:
    if isinstance(part, QuantizedWeight):
        if part.kind == kind:
            return part
        part = dequantize_weight(part, torch.float32)
    return quantize_weight(part, kind)
