# SPDX-License-Identifier: Apache-2.0
"""Weights as a function of tensor names, and checkpoints in the published layout made of them.

The original implementation ran on the same weights when its numbers were recorded, so they need not
be stored. recorded/README.md describes the rule.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from mllmseg_ros.checkpoints.layout import checkpoint_layout
from mllmseg_ros.model.config import MLLMSegConfig, read_config
from mllmseg_ros.model.mllmseg import MLLMSeg

RECORDED = Path(__file__).parent / "recorded"
# The full-size models were recorded with the tokenizer of the tiny model of their family.
_TOKENIZERS = {"1b": "tiny-qwen2", "2b": "tiny-internlm2"}

_STEP = np.uint64(0x9E3779B97F4A7C15)
_CHUNK = 1 << 18  # values; its temporaries stay in the processor's cache
# Pattern (first match counts), offset, scale, and whether the scale is divided by the square root
# of the number of values per output row.
_RULES: tuple[tuple[str, float, float, bool], ...] = (
    (r"\.running_mean$", 0.0, 0.3, False),
    (r"\.running_var$", 1.0, 0.25, False),
    (r"(norm\w*|norm)\.weight$|^mlp1\.0\.weight$|^res_decoder\.conv1\.1\.weight$", 1.0, 0.2, False),
    (r"\.ls[12]$", 0.4, 0.15, False),
    (r"(position|class)_embedding$", 0.0, 0.3, False),
    (r"^res_decoder\.conv2\.bias$", -0.07, 0.0, False),
    (r"bias$", 0.0, 0.1, False),
    (r"(embed_tokens|tok_embeddings)\.weight$", 0.0, 0.7, False),
    (r"upsample_adapter_l\.offset\.weight$", 0.0, 0.6, True),
    (r"^res_decoder\.conv2\.weight$", 0.0, 0.25, False),
    (r"text_down\.weight$", 0.0, 3.45, True),
    (r"", 0.0, 1.15, True),
)
_DTYPES = {np.dtype("float16"): "F16", np.dtype("float32"): "F32", np.dtype("int64"): "I64"}


@dataclass(frozen=True, kw_only=True)
class NamedTensor:
    """A tensor of a checkpoint file, its values computed when they are written."""

    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: Callable[[], Iterator[NDArray]]  # its values in row-major order


def make_values(name: str, shape: tuple[int, ...]) -> Iterator[NDArray[np.float16]]:
    """Compute the values of a tensor from its published name, in row-major chunks."""
    (offset, scale, per_row) = next(rule[1:] for rule in _RULES if re.search(rule[0], name))
    count = math.prod(shape)
    if per_row:
        scale /= math.sqrt(count / shape[0])
    seed = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    for start in range(0, count, _CHUNK):
        index = np.arange(start + 1, min(start + _CHUNK, count) + 1, dtype=np.uint64)
        bits = _splitmix64(seed + index * _STEP) >> np.uint64(40)
        uniform = (bits.astype(np.float64) / 2**23 - 1) * math.sqrt(3)
        # Rounded to float32 before it is scaled, as when the numbers were recorded: without that,
        # a few weights differ in their last bit, and outputs by up to 1e-4.
        uniform = uniform.astype(np.float32).astype(np.float64)
        yield (offset + scale * uniform).astype(np.float16)


def make_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Compute a whole tensor from its name, float16."""
    return torch.from_numpy(np.concatenate(list(make_values(name, shape))).reshape(shape))


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def write_checkpoint(model: str, folder: Path) -> Path:
    """Write the checkpoint that a model was recorded with, tensor by tensor.

    Args:
        model: name of a folder below ``recorded``.
        folder: where to; created.
    """
    folder.mkdir(parents=True)
    tokenizer = RECORDED / _TOKENIZERS.get(model, model)
    for file in tokenizer.iterdir():
        if "token" in file.name or file.name in ("vocab.json", "merges.txt"):
            shutil.copy(file, folder)
    shutil.copy(RECORDED / model / "config.json", folder)
    write_safetensors(folder / "model.safetensors", named_tensors(model, read_config(folder)))
    return folder


def named_tensors(model: str, config: MLLMSegConfig) -> dict[str, NamedTensor]:
    """List the tensors of a merged checkpoint by their published names."""
    with torch.device("meta"):
        network = MLLMSeg(config)
    state = network.state_dict()
    facts = json.loads((RECORDED / model / "cases.json").read_text(encoding="utf-8"))
    head_rows = load_file(RECORDED / model / "head_rows.safetensors")
    rows = {
        facts["token_ids"][f"[{token.upper()}]"]: row.numpy() for token, row in head_rows.items()
    }
    tensors = {}
    for entry in checkpoint_layout(config, list(network.mask_decoder.state_dict())):
        shape = tuple(entry.fuse([state[name] for name in entry.ours]).shape)
        tensors[entry.published] = _named_tensor(entry.published, shape, rows)
    return tensors


def _named_tensor(
    name: str, shape: tuple[int, ...], head_rows: Mapping[int, NDArray[np.float16]]
) -> NamedTensor:
    if name.endswith("num_batches_tracked"):
        zero = np.zeros(1, np.int64)
        return NamedTensor(shape=shape, dtype=zero.dtype, chunks=lambda: iter([zero]))
    if name.endswith("init_pos"):
        # Sub-cell centres; channel order: (x or y, group, sub-row, sub-column).
        y, x = np.meshgrid([-0.25, 0.25], [-0.25, 0.25], indexing="ij")
        start = np.stack([np.tile(x.ravel(), 4), np.tile(y.ravel(), 4)]).astype(np.float32)
        return NamedTensor(shape=shape, dtype=start.dtype, chunks=lambda: iter([start]))

    def chunks() -> Iterator[NDArray[np.float16]]:
        if not name.endswith(("lm_head.weight", "language_model.output.weight")):
            yield from make_values(name, shape)
            return
        begin = 0
        for values in make_values(name, shape):
            for row, stored in head_rows.items():
                # The part of this row that lies in this chunk.
                first, last = max(row * shape[1], begin), (row + 1) * shape[1]
                last = min(last, begin + len(values))
                if first < last:
                    part = slice(first - row * shape[1], last - row * shape[1])
                    values[first - begin : last - begin] = stored[part]
            begin += len(values)
            yield values

    return NamedTensor(shape=shape, dtype=np.dtype(np.float16), chunks=chunks)


def write_safetensors(path: Path, tensors: Mapping[str, NamedTensor]) -> None:
    """Write a safetensors file without ever holding a whole tensor."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + math.prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors.values():
            for values in tensor.chunks():
                file.write(values.tobytes())
