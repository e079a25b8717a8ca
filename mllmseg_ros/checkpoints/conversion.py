# SPDX-License-Identifier: Apache-2.0
"""Convert pickled weights to safetensors, once.

The only module that opens a pickle, with ``weights_only=True``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.torch_version import TorchVersion

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import FolderLock, check_regular_file, replaced_file, write_file

__all__ = ["convert_checkpoint"]

# weights_only lets a pickle run code before 2.6 (CVE-2025-32434) and write to memory that it does
# not own before 2.10 (CVE-2026-24747).
MIN_TORCH = "2.10"


def convert_checkpoint(folder: Path) -> list[Path]:
    """Convert each ``pytorch_model*.bin`` of a folder to safetensors, with an index of shards.

    Args:
        folder: checkpoint folder; the pickles are kept.

    Returns:
        The files written.

    Raises:
        ValueError: if there is nothing to convert, a pickle contains anything but tensors, another
            process uses the folder, or this torch cannot read pickles safely.
    """
    sources = sorted(folder.glob("pytorch_model*.bin"))
    if not sources:
        raise ValueError(f"{folder}: no pytorch_model*.bin to convert")
    if TorchVersion(torch.__version__) < MIN_TORCH:
        raise ValueError(
            f"a pickle can run code when torch {torch.__version__} reads it; "
            f"install torch {MIN_TORCH} or newer, or convert on another machine"
        )
    with FolderLock(folder):
        return _convert(folder, sources)


def _convert(folder: Path, sources: Sequence[Path]) -> list[Path]:
    written = []
    weight_map: dict[str, str] = {}
    total = 0
    for source in sources:
        target = folder / (source.stem.replace("pytorch_model", "model") + ".safetensors")
        check_regular_file(source)
        try:
            state = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # broken pickles raise all kinds of exceptions
            raise ValueError(
                f"{source}: refused or unreadable; only plain tensors are accepted "
                f"({one_line(error, max_chars=300)})"
            ) from error
        if not isinstance(state, dict) or not all(
            isinstance(name, str) and isinstance(tensor, torch.Tensor)
            for name, tensor in state.items()
        ):
            raise ValueError(f"{source}: expected a dictionary of tensors")
        tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
        with replaced_file(target) as partial:
            save_file(tensors, partial, metadata={"format": "pt"})
        written.append(target)
        weight_map.update(dict.fromkeys(tensors, target.name))
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if len(sources) > 1:
        index = folder / "model.safetensors.index.json"
        fields = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_file(index, json.dumps(fields, indent=1))
        written.append(index)
    return written
