# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders: find one, load it strictly, save one. Safetensors only.

A folder holds ``config.json``, tokenizer files and ``model.safetensors`` (or shards with
``model.safetensors.index.json``) in the published layout; a language model with an unmerged LoRA is
merged while it is read. Nothing in a checkpoint is executed.

Entry points: :func:`find_checkpoint`, :func:`checkpoint_name`, :func:`load_model`,
:func:`save_model`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.model.config import MLLMSegConfig, read_config
from mllmseg_ros.model.layout import Entry, checkpoint_layout
from mllmseg_ros.model.mllmseg import MLLMSeg

EMBEDDED = Path(__file__).parent / "assets" / "tabletop"
_LANGUAGE = "language_model."
_LORA_LANGUAGE = "language_model.base_model.model."


def find_checkpoint(path_or_name: str | Path | None) -> Path:
    """Return the folder of a checkpoint.

    Args:
        path_or_name: a local folder; or a Hugging Face repository name ``owner/name``, taken from
            the local cache or downloaded (set ``HF_HUB_OFFLINE=1`` to forbid that); None is the
            embedded model.

    Raises:
        ValueError: if there is no such folder, or the repository cannot be had.
    """
    if path_or_name is None:
        return EMBEDDED
    folder = Path(path_or_name).expanduser()
    if folder.is_dir():
        return folder
    name = str(path_or_name)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ValueError(
            f"no checkpoint folder {name!r}; accepted are a local folder with config.json and "
            "model.safetensors, or a Hugging Face repository name owner/name"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "tokenizer.model"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{name!r} is no local folder and could not be downloaded: {error}"
        ) from error


def checkpoint_name(path_or_name: str | Path | None) -> str:
    """Name that a checkpoint goes by: what the user called it, not where a link or cache keeps it.

    Returns:
        The last part of a path or repository name; "" for the embedded model and for ``.``.
    """
    return "" if path_or_name is None else Path(path_or_name).name


def load_model(folder: Path, device: torch.device, dtype: torch.dtype, name: str = "") -> MLLMSeg:
    """Build the model of a checkpoint folder and fill it, strictly.

    Args:
        folder: of the checkpoint.
        device: for the weights.
        dtype: of the weights.
        name: of the model where its configuration gives none; the folder's by default.

    Raises:
        ValueError: naming each missing, unexpected or wrongly shaped tensor, or the file that is
            missing, truncated or of a refused kind.
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
            sources = _sources(entry.published, names, config)
            if not sources:
                problems.append(f"missing {entry.published}")
                continue
            used.update(sources)
            problem = _fill(entry, [read(name) for name in sources], config, expected, state)
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
    # Rotary frequencies are computed, not stored: build them where the weights are.
    rotary = type(model.language_model.rotary_emb)
    model.language_model.rotary_emb = rotary(config=config.language).to(device)
    return model.eval().requires_grad_(False)


def save_model(
    model: MLLMSeg, folder: Path, dtype: torch.dtype, state: dict[str, Tensor] | None = None
) -> None:
    """Write ``model.safetensors`` in the published (merged) layout.

    Args:
        model: the network.
        folder: where to; created.
        dtype: to store floating-point tensors in.
        state: the network's state dict where it is not its own: with adapters merged.
    """
    state = model.state_dict() if state is None else state
    tensors = {}
    for entry in checkpoint_layout(model.config, list(model.mask_decoder.state_dict())):
        tensor = entry.fuse([state[name] for name in entry.ours]).detach().cpu()
        # clone: safetensors refuses tensors that share memory
        tensors[entry.published] = (
            (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().clone()
        )
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")


def _sources(published: str, names: set[str], config: MLLMSegConfig) -> list[str]:
    """Names in the file that make up one tensor: itself, or base and the two LoRA factors."""
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


def _fill(
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
    """Open a folder's safetensors lazily: (set of names, function name -> tensor)."""
    with ExitStack() as stack:
        where = {}
        for path in _weight_files(folder):
            try:
                file = stack.enter_context(safe_open(path, framework="pt", device="cpu"))
            except SafetensorError as error:
                raise ValueError(
                    f"{path}: not a complete safetensors file ({error}); download it again"
                ) from error
            where.update(dict.fromkeys(file.keys(), file))
        yield set(where), lambda name: where[name].get_tensor(name)


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(weight_map.values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{index}: expected an object with a 'weight_map' of file names "
                f"({type(error).__name__}: {error})"
            ) from error
        # A shard is a file of this very folder, whatever the index says.
        bad = [n for n in names if Path(n).name != n or not n.endswith(".safetensors")]
        if bad:
            raise ValueError(f"{index}: {bad[0]!r} is no name of a safetensors file")
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
    missing = [file for file in files if not file.is_file()]
    if not missing:
        return files
    if list(folder.glob("pytorch_model*.bin")):
        raise ValueError(
            f"{folder} holds pickled weights (pytorch_model.bin), which are not loaded because a "
            f"pickle can run code; convert them once: mllmseg convert {folder}"
        )
    raise ValueError(
        f"{missing[0]}: not found; of a repository that has pytorch_model.bin alone, fetch that "
        "file into a folder of your own and run `mllmseg convert` on it"
    )
