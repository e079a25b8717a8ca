# SPDX-License-Identifier: Apache-2.0
"""Load and save checkpoint folders. Safetensors only.

A folder has ``config.json``, tokenizer files and ``model.safetensors`` (or shards with
``model.safetensors.index.json``) in the published layout. An unmerged LoRA of the language model is
merged while it is read. Nothing in a checkpoint is executed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.checkpoints.integrity import read_header, weight_files
from mllmseg_ros.checkpoints.layout import Entry, checkpoint_layout
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import check_regular_file, make_folder, replaced_file
from mllmseg_ros.model.config import MLLMSegConfig, read_config
from mllmseg_ros.model.mllmseg import MLLMSeg

__all__ = ["LoadingCancelled", "check_names", "load_model", "save_model"]

_LANGUAGE = "language_model."
_LORA_LANGUAGE = "language_model.base_model.model."
_DECODER = "res_decoder."
_FLOATS, _INTEGERS = ("F16", "BF16", "F32", "F64"), ("I64", "I32")


class LoadingCancelled(Exception):
    """Loading was given up because ``cancelled`` was set."""


def load_model(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    name: str = "",
    cancelled: threading.Event | None = None,
) -> MLLMSeg:
    """Build the model of a checkpoint folder and load all its weights.

    The configuration is compared with the headers of the weight files before memory is allocated.

    Args:
        folder: of the checkpoint.
        device: for the weights.
        dtype: of the weights.
        name: of the model if its configuration has none; the folder's name by default.
        cancelled: set by another thread to give up; heard between two tensors.

    Raises:
        ValueError: if tensors are missing, unexpected or of the wrong shape, or a file is missing,
            truncated or of a refused kind.
        LoadingCancelled: if ``cancelled`` was set.
    """
    config = read_config(folder, name)
    headers: dict[str, Mapping[str, Any]] = {}
    for path in weight_files(folder):
        headers.update(read_header(path))
    check_names(folder, config, headers)
    model = _build_on_meta(folder, config)
    entries = checkpoint_layout(config, list(model.mask_decoder.state_dict()))
    expected = model.state_dict()
    sources = [_find_sources(entry.published, headers, config) for entry in entries]
    compared = (
        _compare(entry, names, headers, config, expected)
        for entry, names in zip(entries, sources, strict=True)
    )
    _refuse(folder, [problem for problem in compared if problem])
    state: dict[str, Tensor] = {}
    with open_tensors(folder) as (_, read):
        for entry, names in zip(entries, sources, strict=True):
            if cancelled is not None and cancelled.is_set():
                raise LoadingCancelled(f"loading {folder} was given up")
            parts = [read(source) for source in names]
            tensor = _merge_lora(parts, config) if len(parts) == 3 else parts[0]
            for ours, part in zip(entry.ours, entry.split(tensor), strict=True):
                to_dtype = dtype if part.is_floating_point() else None
                state[ours] = part.contiguous().to(device, to_dtype)
    model.load_state_dict(state, strict=True, assign=True)
    # Rotary frequencies are computed, not stored: build them on the device of the weights.
    rotary = type(model.language_model.rotary_emb)
    model.language_model.rotary_emb = rotary(config=config.language).to(device)
    return model.eval().requires_grad_(False)


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
    problems, used = [], set()
    for entry in checkpoint_layout(config, decoder_keys):
        found = _find_sources(entry.published, names, config)
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


def _build_on_meta(folder: Path, config: MLLMSegConfig) -> MLLMSeg:
    """Build the network without memory for its weights.

    Raises:
        ValueError: if the values of the configuration do not fit together.
    """
    try:
        with torch.device("meta"):
            return MLLMSeg(config)
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
    """
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


def _find_sources(published: str, names: Collection[str], config: MLLMSegConfig) -> list[str]:
    """Find the tensors that one is made of: itself, or the base and the two LoRA factors."""
    if not config.lora_rank or not published.startswith(_LANGUAGE):
        return [published] if published in names else []
    wrapped = published.replace(_LANGUAGE, _LORA_LANGUAGE, 1)
    if wrapped in names:
        return [wrapped]
    stem, leaf = wrapped.rsplit(".", 1)
    parts = [f"{stem}.base_layer.{leaf}"]
    if leaf == "weight":
        parts += [f"{stem}.lora_A.default.weight", f"{stem}.lora_B.default.weight"]
    return parts if all(part in names for part in parts) else []


def _compare(
    entry: Entry,
    sources: Sequence[str],
    headers: Mapping[str, Mapping[str, Any]],
    config: MLLMSegConfig,
    expected: Mapping[str, Tensor],
) -> str:
    """Compare shape and kind of a tensor with the network; "" if they fit, else what does not."""
    if not sources:
        return f"missing {entry.published}"
    targets = [expected[name] for name in entry.ours]
    first = targets[0]
    wanted = (sum(each.shape[0] for each in targets), *first.shape[1:]) if first.ndim else ()
    shapes = [tuple(headers[name]["shape"]) for name in sources]
    if shapes[0] != wanted:
        return f"{entry.published} has shape {shapes[0]}, expected {wanted}"
    rank = config.lora_rank
    if len(sources) == 3 and shapes[1:] != [(rank, wanted[1]), (wanted[0], rank)]:
        return (
            f"{entry.published}: LoRA factors have shapes {shapes[1]} and {shapes[2]}, "
            f"expected rank {rank}"
        )
    for name in sources:
        dtype = headers[name]["dtype"]
        if dtype not in (_FLOATS if first.is_floating_point() else _INTEGERS):
            return f"{name} is {dtype}"
    return ""


def _merge_lora(parts: Sequence[Tensor], config: MLLMSegConfig) -> Tensor:
    base, down, up = (part.float() for part in parts)
    return base + (config.lora_alpha / config.lora_rank) * (up @ down)


@contextmanager
def open_tensors(folder: Path) -> Iterator[tuple[set[str], Callable[[str], Tensor]]]:
    """Open a folder's safetensors lazily: the set of names, and a function from name to tensor."""
    with ExitStack() as stack:
        files = {}
        for path in weight_files(folder):
            check_regular_file(path)
            try:
                file = stack.enter_context(safe_open(path, framework="pt", device="cpu"))
            except SafetensorError as error:
                raise ValueError(
                    f"{path}: not a complete safetensors file ({error}); download it again"
                ) from error
            files.update(dict.fromkeys(file.keys(), file))
        yield set(files), lambda name: files[name].get_tensor(name)
