# SPDX-License-Identifier: Apache-2.0
"""Load and save checkpoint folders. Safetensors only.

A folder has ``config.json``, tokenizer files and ``model.safetensors`` (or shards with
``model.safetensors.index.json``) in the published layout. An unmerged LoRA of the language model is
merged while it is read. Nothing in a checkpoint is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.checkpoints.integrity import weight_files
from mllmseg_ros.checkpoints.layout import Entry, checkpoint_layout
from mllmseg_ros.files import make_folder, replaced_file
from mllmseg_ros.model.config import MLLMSegConfig, read_config
from mllmseg_ros.model.mllmseg import MLLMSeg

__all__ = ["load_model", "save_model"]

_LANGUAGE = "language_model."
_LORA_LANGUAGE = "language_model.base_model.model."


def load_model(folder: Path, device: torch.device, dtype: torch.dtype, name: str = "") -> MLLMSeg:
    """Build the model of a checkpoint folder and load all its weights.

    Args:
        folder: of the checkpoint.
        device: for the weights.
        dtype: of the weights.
        name: of the model if its configuration has none; the folder's name by default.

    Raises:
        ValueError: if tensors are missing, unexpected or of the wrong shape, or a file is missing,
            truncated or of a refused kind.
    """
    config = read_config(folder, name)
    with torch.device("meta"):
        model = MLLMSeg(config)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    problems: list[str] = []
    used: set[str] = set()
    with open_tensors(folder) as (names, read):
        for entry in checkpoint_layout(config, list(model.mask_decoder.state_dict())):
            sources = _find_sources(entry.published, names, config)
            if not sources:
                problems.append(f"missing {entry.published}")
                continue
            used.update(sources)
            problem = _fill_parameters(
                entry, [read(name) for name in sources], config, expected, state
            )
            if problem:
                problems.append(problem)
        problems += [f"unexpected {name}" for name in sorted(names - used)]
    if problems:
        shown = "; ".join(problems[:8]) + ("; …" if len(problems) > 8 else "")
        raise ValueError(f"{folder}: {len(problems)} tensors do not fit config.json: {shown}")
    placed = {
        name: tensor.to(device, dtype if tensor.is_floating_point() else None)
        for name, tensor in state.items()
    }
    model.load_state_dict(placed, strict=True, assign=True)
    # Rotary frequencies are computed, not stored: build them on the device of the weights.
    rotary = type(model.language_model.rotary_emb)
    model.language_model.rotary_emb = rotary(config=config.language).to(device)
    return model.eval().requires_grad_(False)


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


def _find_sources(published: str, names: set[str], config: MLLMSegConfig) -> list[str]:
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
    return parts if names.issuperset(parts) else []


def _fill_parameters(
    entry: Entry,
    parts: list[Tensor],
    config: MLLMSegConfig,
    expected: dict[str, torch.Size],
    state: dict[str, Tensor],
) -> str | None:
    tensor = parts[0]
    shapes = [expected[name] for name in entry.ours]
    wanted = (
        torch.Size((sum(shape[0] for shape in shapes), *shapes[0][1:]))
        if shapes[0]
        else (shapes[0])
    )
    if tensor.shape != wanted:
        return f"{entry.published} has shape {tuple(tensor.shape)}, expected {tuple(wanted)}"
    if len(parts) == 3:
        down, up = parts[1].float(), parts[2].float()
        rank = config.lora_rank
        if down.shape != (rank, wanted[1]) or up.shape != (wanted[0], rank):
            return (
                f"{entry.published}: LoRA factors have shapes {tuple(down.shape)} and "
                f"{tuple(up.shape)}, expected rank {rank}"
            )
        tensor = tensor.float() + (config.lora_alpha / rank) * (up @ down)
    for name, part in zip(entry.ours, entry.split(tensor), strict=True):
        state[name] = part.contiguous()
    return None


@contextmanager
def open_tensors(folder: Path) -> Iterator[tuple[set[str], Callable[[str], Tensor]]]:
    """Open a folder's safetensors lazily: the set of names, and a function from name to tensor."""
    with ExitStack() as stack:
        files = {}
        for path in weight_files(folder):
            try:
                file = stack.enter_context(safe_open(path, framework="pt", device="cpu"))
            except SafetensorError as error:
                raise ValueError(
                    f"{path}: not a complete safetensors file ({error}); download it again"
                ) from error
            files.update(dict.fromkeys(file.keys(), file))
        yield set(files), lambda name: files[name].get_tensor(name)
