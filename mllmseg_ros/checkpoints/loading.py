# SPDX-License-Identifier: Apache-2.0
"""Load and save checkpoint folders. Safetensors only.

A folder has ``config.json``, tokenizer files and ``model.safetensors`` (or shards with
``model.safetensors.index.json``) in the published layout. Weights go to their device one by one: an
unmerged LoRA of the language model is merged, and a weight cast or quantised, on the way. Nothing
in a checkpoint is executed.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.checkpoints.integrity import read_header, weight_files
from mllmseg_ros.checkpoints.layout import HEAD, Entry, checkpoint_layout
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import check_regular_file, make_folder, replaced_file
from mllmseg_ros.model.config import MLLMSegConfig, read_config
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.quantization import (
    GROUP,
    QuantizedWeight,
    check_quantization,
    check_size,
    dequantize_weight,
    is_language_weight,
    is_vision_weight,
    quantize_weight,
    resolve_quantization,
    to_dynamic_int8,
    to_parameter,
)

__all__ = ["LoadingCancelled", "check_names", "load_model", "save_model"]

_LANGUAGE = "language_model."
_LORA_LANGUAGE = "language_model.base_model.model."
_DECODER = "res_decoder."
_FLOATS, _INTEGERS = ("F16", "BF16", "F32", "F64"), ("I64", "I32")
SCALE, ZERO = "_scale", "_zero"  # after the name of a quantised weight
_CODES = {"int8": "I8", "int4": "U8", "fp8": "F8_E4M3"}


class LoadingCancelled(Exception):
    """Loading was given up because ``cancelled`` was set."""


def load_model(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    name: str = "",
    cancelled: threading.Event | None = None,
    *,
    head_tokens: Sequence[int] = (),
    quantize: str = "none",
) -> MLLMSeg:
    """Build the model of a checkpoint folder and load its weights.

    The configuration is compared with the headers of the weight files before memory is allocated.

    Args:
        folder: of the checkpoint.
        device: for the weights.
        dtype: of the weights that are not quantised.
        name: of the model if its configuration has none; the folder's name by default.
        cancelled: set by another thread to give up; heard between two tensors.
        head_tokens: tokens whose rows of ``lm_head`` are loaded; none: all, which training and the
            naive pass need.
        quantize: a kind of :mod:`mllmseg_ros.model.quantization`, "auto" for the kind in which the
            checkpoint is stored, or "none", which training needs.

    Raises:
        ValueError: if tensors are missing, unexpected or of the wrong shape, or a file is missing,
            truncated or of a refused kind; or if the device cannot compute with such weights.
        LoadingCancelled: if ``cancelled`` was set.
    """
    config = read_config(folder, name)
    _check_head_tokens(folder, config, head_tokens)
    kind = resolve_quantization(quantize, config.quantize)
    if kind:
        check_quantization(kind, device, dtype)
    model = _build_on_meta(folder, config, head_tokens)
    state: dict[str, Tensor] = {}
    for entry, parts in read_entries(folder, config, kind, device, head_tokens):
        if cancelled is not None and cancelled.is_set():
            raise LoadingCancelled(f"loading {folder} was given up")
        for name, part in zip(entry.ours, parts, strict=True):
            state[name] = _to_parameter(name, part, kind, dtype)
        if kind and device.type == "cpu":
            _trim_heap()
    model.load_state_dict(state, strict=True, assign=True)
    model.quantization = kind
    # Rotary frequencies are computed, not stored: build them on the device of the weights.
    rotary = type(model.language_model.rotary_emb)
    model.language_model.rotary_emb = rotary(config=config.language).to(device)
    return model.eval().requires_grad_(False)


def _trim_heap() -> None:
    """Return to the system what quantising a weight took for a moment.

    glibc keeps it in pieces that no later weight fits into: gigabytes for the 1B model, measured by
    benchmarks/loading.py. Does nothing with another C library.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def read_entries(
    folder: Path,
    config: MLLMSegConfig,
    kind: str,
    device: torch.device,
    head_tokens: Sequence[int] = (),
) -> Iterator[tuple[Entry, Sequence[Tensor | QuantizedWeight]]]:
    """Compare a checkpoint with its configuration, then read it one tensor of the layout at a time.

    Args:
        folder: of the checkpoint.
        config: its configuration.
        kind: to which linear layers will be quantised; "" for none.
        device: of the tensors.
        head_tokens: tokens whose rows of ``lm_head`` are read; none: all.

    Yields:
        An entry of the layout and its parts in the dtype of the file, an unmerged LoRA merged in
        float32. On the CPU, a part may be a mapping of the file.

    Raises:
        ValueError: as :func:`load_model`.
    """
    headers: dict[str, Mapping[str, Any]] = {}
    for path in weight_files(folder):
        headers.update(read_header(path))
    check_names(folder, config, headers)
    network = _build_on_meta(folder, config)
    entries = checkpoint_layout(config, list(network.mask_decoder.state_dict()))
    expected = network.state_dict()
    sources = [_find_source(entry, headers, config) for entry in entries]
    compared = (
        _compare(entry, source, headers, config, expected, kind)
        for entry, source in zip(entries, sources, strict=True)
    )
    _refuse(folder, [problem for problem in compared if problem])
    with open_tensors(folder) as (_, read):
        for entry, source in zip(entries, sources, strict=True):
            rows = head_tokens if entry.ours == (HEAD,) and head_tokens else None
            tensors = [read(name, rows).to(device) for name in source.names]
            yield entry, _split(entry, source, tensors, config)


def _split(
    entry: Entry, source: _Source, tensors: Sequence[Tensor], config: MLLMSegConfig
) -> Sequence[Tensor | QuantizedWeight]:
    """Merge what the files have of an entry, and split it into the parts that our modules have."""
    if source.quantized:
        # clone: on the CPU, a tensor is a mapping of the file
        parts = [entry.split(tensor.clone()) for tensor in tensors]
        return [
            QuantizedWeight(kind=source.quantized, codes=codes, scale=scale, zero=(*zero, None)[0])
            for codes, scale, *zero in zip(*parts, strict=True)
        ]
    if len(tensors) == 1:
        return entry.split(tensors[0])
    base, down, up = (tensor.float() for tensor in tensors)
    return entry.split(torch.addmm(base, up, down, alpha=config.lora_alpha / config.lora_rank))


def _to_parameter(
    name: str, weight: Tensor | QuantizedWeight, kind: str, dtype: torch.dtype
) -> Tensor:
    """Cast or quantise one parameter, on the device where it is."""
    wanted = kind if is_language_weight(name) else ""
    if isinstance(weight, QuantizedWeight):
        if weight.kind == wanted:
            return to_parameter(weight, dtype)
        weight = dequantize_weight(weight, torch.float32)
    if wanted:
        return to_parameter(quantize_weight(weight, wanted), dtype)
    if not weight.is_floating_point():
        return weight.clone()
    # A copy even of the same dtype on the CPU: the original is a mapping of the file.
    weight = weight.to(dtype, copy=True, memory_format=torch.contiguous_format)
    is_dynamic = kind == "int8" and weight.device.type == "cpu" and is_vision_weight(name)
    return to_dynamic_int8(weight) if is_dynamic else weight


def count_values(folder: Path) -> tuple[int, int]:
    """Count the weights that inference loads, by the configuration alone.

    Returns:
        Their number, and how many of them can be quantised.

    Raises:
        ValueError: if the configuration cannot be used.
    """
    network = _build_on_meta(folder, read_config(folder), head_tokens=(0, 1))
    counts = {name: tensor.numel() for name, tensor in network.state_dict().items()}
    quantizable = (count for name, count in counts.items() if is_language_weight(name))
    return sum(counts.values()), sum(quantizable)


def check_names(folder: Path, config: MLLMSegConfig, names: Collection[str]) -> None:
    """Compare the names of the tensors with the configuration, without building its modules.

    Args:
        folder: of the checkpoint.
        config: its configuration.
        names: of the tensors in its weight files.

    Raises:
        ValueError: if one is missing or unexpected, with the first names.
    """
    n_layers = config.vision.num_hidden_layers + config.language.num_hidden_layers
    if n_layers > len(names):  # a layer has several tensors
        raise ValueError(
            f"{folder}: config.json has {n_layers} layers (num_hidden_layers), the weight files "
            f"have {len(names)} tensors in all"
        )
    decoder_keys = [name.removeprefix(_DECODER) for name in names if name.startswith(_DECODER)]
    problems: list[str] = []
    used: set[str] = set()
    for entry in checkpoint_layout(config, decoder_keys):
        found = _find_source(entry, names, config).names
        used.update(found)
        if not found:
            problems.append(f"missing {entry.published}")
    problems += [f"unexpected {name}" for name in sorted(set(names) - used)]
    _refuse(folder, problems)


def _refuse(folder: Path, problems: Sequence[str]) -> None:
    if problems:
        shown = "; ".join(problem[:300] for problem in problems[:8])
        more = "; …" if len(problems) > 8 else ""
        raise ValueError(f"{folder}: {len(problems)} tensors do not fit config.json: {shown}{more}")


def _check_head_tokens(folder: Path, config: MLLMSegConfig, head_tokens: Sequence[int]) -> None:
    n_rows = config.language.vocab_size
    if not all(0 <= token < n_rows for token in head_tokens):
        raise ValueError(
            f"{folder}: lm_head has {n_rows} rows, asked for are those of tokens "
            f"{list(head_tokens)}"
        )


def _build_on_meta(folder: Path, config: MLLMSegConfig, head_tokens: Sequence[int] = ()) -> MLLMSeg:
    """Build the network without memory for its weights.

    Raises:
        ValueError: if the values of the configuration do not fit together.
    """
    try:
        with torch.device("meta"):
            return MLLMSeg(config, head_tokens)
    except Exception as error:  # torch and transformers raise all kinds for wrong widths
        raise ValueError(
            f"{folder / 'config.json'}: no model can be built of it "
            f"({one_line(error, max_chars=300)})"
        ) from error


def save_model(
    model: MLLMSeg, folder: Path, dtype: torch.dtype, state: dict[str, Tensor] | None = None
) -> None:
    """Write ``model.safetensors`` in the published (merged) layout.

    Args:
        model: the network.
        folder: to write to; created.
        dtype: of the stored floating-point tensors.
        state: another state dict of the network, with adapters merged; its own by default.

    Raises:
        ValueError: if the network was loaded for inference only: quantised, or without all rows of
            ``lm_head``.
    """
    if model.head_tokens or model.quantization:
        raise ValueError(
            f"{folder}: a model that was loaded for inference is not saved; load it by load_model"
        )
    state = model.state_dict() if state is None else state
    tensors = {}
    for entry in checkpoint_layout(model.config, list(model.mask_decoder.state_dict())):
        tensor = entry.fuse([state[name] for name in entry.ours]).detach().cpu()
        # clone: safetensors refuses tensors that share memory
        tensors[entry.published] = (
            (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().clone()
        )
    make_folder(folder)
    with replaced_file(folder / "model.safetensors") as partial:
        save_file(tensors, partial, metadata={"format": "pt"})


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The tensors of the weight files that make one of the layout."""

    # None if something is missing; else itself, its base and two LoRA factors, or its codes, scale
    # and, in int4, zero.
    names: tuple[str, ...]
    quantized: str = ""  # the kind that is stored


def _find_source(entry: Entry, names: Collection[str], config: MLLMSegConfig) -> _Source:
    """Find the tensors that one of the layout is made of."""
    published = entry.published
    if config.quantize and is_language_weight(entry.ours[0]):
        endings = ("", SCALE, ZERO) if config.quantize == "int4" else ("", SCALE)
        parts = [published + ending for ending in endings]
        quantized = config.quantize
    elif config.lora_rank and published.startswith(_LANGUAGE):
        parts, quantized = _lora_parts(published, names), ""
    else:
        parts, quantized = [published], ""
    found = tuple(parts) if all(part in names for part in parts) else ()
    return _Source(names=found, quantized=quantized)


def _lora_parts(published: str, names: Collection[str]) -> list[str]:
    wrapped = published.replace(_LANGUAGE, _LORA_LANGUAGE, 1)
    if wrapped in names:
        return [wrapped]
    stem, leaf = wrapped.rsplit(".", 1)
    parts = [f"{stem}.base_layer.{leaf}"]
    if leaf == "weight":
        parts += [f"{stem}.lora_A.default.weight", f"{stem}.lora_B.default.weight"]
    return parts


def _compare(
    entry: Entry,
    source: _Source,
    headers: Mapping[str, Mapping[str, Any]],
    config: MLLMSegConfig,
    expected: Mapping[str, Tensor],
    kind: str,
) -> str:
    """Compare an entry's tensors with the network; "" if they fit, else what does not.

    Args:
        entry: of the layout.
        source: its tensors.
        headers: of the weight files.
        config: of the network.
        expected: parameter of the network -> a tensor of its shape.
        kind: to which linear layers will be quantised; "" for none.
    """
    if not source.names:
        return f"missing {entry.published}"
    targets = [expected[name] for name in entry.ours]
    first = targets[0]
    wanted = (sum(each.shape[0] for each in targets), *first.shape[1:]) if first.ndim else ()
    shapes = [tuple(headers[name]["shape"]) for name in source.names]
    dtypes = [headers[name]["dtype"] for name in source.names]
    if is_language_weight(entry.ours[0]):
        problem = check_size(kind or source.quantized, *wanted)
        if problem:
            return f"{entry.published} {problem}"
    if source.quantized:
        columns = {"int8": 1, "fp8": 1, "int4": wanted[1] // GROUP}[source.quantized]
        codes = (wanted[0], wanted[1] // 2) if source.quantized == "int4" else wanted
        wanted_shapes = [codes] + [(wanted[0], columns)] * (len(shapes) - 1)
        if shapes != wanted_shapes:
            return (
                f"{entry.published} in {source.quantized} has shapes {shapes}, expected "
                f"{wanted_shapes}"
            )
        if dtypes[0] != _CODES[source.quantized] or not set(dtypes[1:]) <= set(_FLOATS):
            return f"{entry.published} in {source.quantized} is {', '.join(dtypes)}"
        return ""
    if shapes[0] != wanted:
        return f"{entry.published} has shape {shapes[0]}, expected {wanted}"
    rank = config.lora_rank
    if len(shapes) == 3 and shapes[1:] != [(rank, wanted[1]), (wanted[0], rank)]:
        return (
            f"{entry.published}: LoRA factors have shapes {shapes[1]} and {shapes[2]}, "
            f"expected rank {rank}"
        )
    accepted = _FLOATS if first.is_floating_point() else _INTEGERS
    for name, dtype in zip(source.names, dtypes, strict=True):
        if dtype not in accepted:
            return f"{name} is {dtype}"
    return ""


# Reads a tensor by its name; with numbers of rows, those rows of it.
ReadTensor = Callable[..., Tensor]


@contextmanager
def open_tensors(folder: Path) -> Iterator[tuple[set[str], ReadTensor]]:
    """Find a folder's tensors: the set of their names, and a function that reads one.

    Files are opened anew for each tensor: an open one stays mapped, and all that was read of it
    counts as memory of the process.
    """
    files: dict[str, Path] = {}
    for path in weight_files(folder):
        check_regular_file(path)
        with _open_safetensors(path) as file:
            files.update(dict.fromkeys(file.keys(), path))

    def read(name: str, rows: Sequence[int] | None = None) -> Tensor:
        with _open_safetensors(files[name]) as file:
            if rows is None:
                tensor: Tensor = file.get_tensor(name)
                return tensor
            table = file.get_slice(name)
            return torch.cat([table[row : row + 1] for row in rows])

    yield set(files), read


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    try:
        file = safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a complete safetensors file ({error}); download it again"
        ) from error
    with file:
        yield file
