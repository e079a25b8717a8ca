# SPDX-License-Identifier: Apache-2.0
"""Memory and time of loading, against loading whole state dicts, in the same run.

    python benchmarks/loading.py                     # published 1B dimensions, random weights
    python benchmarks/loading.py --dtype float32 --folder /data/tmp

Writes a checkpoint in the published layout, and the same one with an unmerged LoRA, into a
temporary folder. Each way of loading runs in a process of its own: its memory is the peak of the
resident memory above that of the imports.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mllmseg_ros.benchmark.random_model import config_fields
from mllmseg_ros.checkpoints.hub import EMBEDDED
from mllmseg_ros.checkpoints.layout import checkpoint_layout
from mllmseg_ros.model.config import parse_config, read_config
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.quantization import check_torchao
from mllmseg_ros.segmenter import Segmenter

_RANK = 128
_ADAPTED = "language_model.model.layers."


def write_checkpoint(folder: Path, rank: int) -> None:
    """Write a checkpoint of random weights in bfloat16; rank > 0: with an unmerged LoRA."""
    embedded = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))
    fields = {
        **config_fields("1B"),
        "use_llm_lora": rank,
        # The embedded vocabulary, which the embedded model's prompt needs.
        "mllmseg": {"prompt": embedded["mllmseg"]["prompt"]},
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    for path in EMBEDDED.glob("tokenizer*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    config = parse_config(fields, name="random-1b", origin="benchmark")
    with torch.device("meta"):
        model = MLLMSeg(config)
    shapes = model.state_dict()
    torch.manual_seed(0)
    tensors = {}
    for entry in checkpoint_layout(config, list(model.mask_decoder.state_dict())):
        parts = [shapes[name] for name in entry.ours]
        size = (sum(part.shape[0] for part in parts), *parts[0].shape[1:]) if parts[0].ndim else ()
        if not parts[0].is_floating_point():
            value = torch.zeros(size, dtype=parts[0].dtype)
        elif len(size) == 1 and entry.published.endswith(("weight", "running_var")):
            value = torch.ones(size, dtype=torch.bfloat16)  # of normalisations
        else:
            value = torch.randn(size, dtype=torch.bfloat16) * 0.02
        tensors.update(
            _unmerged(entry.published, value, rank) if rank else {entry.published: value}
        )
    save_file(tensors, folder / "model.safetensors")


def _unmerged(name: str, tensor: torch.Tensor, rank: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a tensor as peft stores it: the base of an adapted one, and its two factors."""
    if not name.startswith("language_model."):
        yield name, tensor
        return
    stem, leaf = name.replace("language_model.", "language_model.base_model.model.", 1).rsplit(
        ".", 1
    )
    is_linear = name.startswith(_ADAPTED) and (tensor.ndim == 2 or leaf == "bias")
    if not is_linear:
        yield f"{stem}.{leaf}", tensor
        return
    yield f"{stem}.base_layer.{leaf}", tensor
    if tensor.ndim == 2:
        rows, columns = tensor.shape
        down, up = torch.randn(rank, columns), torch.randn(rows, rank) * 1e-3
        yield f"{stem}.lora_A.default.weight", down.bfloat16()
        yield f"{stem}.lora_B.default.weight", up.bfloat16()


def load_whole(folder: Path, dtype: torch.dtype) -> MLLMSeg:
    """Load every tensor, then merge, then cast: what is simplest to write."""
    config = read_config(folder)
    tensors = load_file(folder / "model.safetensors")
    model = MLLMSeg(config)
    state = {}
    for entry in checkpoint_layout(config, list(model.mask_decoder.state_dict())):
        wrapped = entry.published.replace("language_model.", "language_model.base_model.model.", 1)
        stem, _, leaf = wrapped.rpartition(".")
        if entry.published in tensors:
            tensor = tensors[entry.published]
        elif wrapped in tensors:
            tensor = tensors[wrapped]
        else:
            tensor = tensors[f"{stem}.base_layer.{leaf}"]
            if leaf == "weight":
                down, up = (tensors[f"{stem}.lora_{each}.default.weight"] for each in "AB")
                tensor = tensor.float() + 2 * (up.float() @ down.float())
        state.update(zip(entry.ours, entry.split(tensor), strict=True))
    model.load_state_dict(state)
    return model.to(dtype).eval()


def measure(folder: Path, dtype: str, way: str) -> dict[str, float]:
    """Load in this process, by :func:`load_whole` or by the package with a quantisation."""
    if way not in ("whole", "none"):
        check_torchao(way)  # imported before the memory is measured
    before = _status("VmRSS")
    began = time.perf_counter()
    if way == "whole":
        held: Any = load_whole(folder, getattr(torch, dtype))
    else:
        held = Segmenter.from_pretrained(folder, device="cpu", dtype=dtype, quantize=way)
    seconds = time.perf_counter() - began
    peak = _status("VmHWM") - before
    ctypes.CDLL(None).malloc_trim(0)  # as the node does: what was freed goes back to the system
    after = _status("VmRSS") - before
    del held
    return {"seconds": seconds, "peak_bytes": peak, "held_bytes": after}


def _status(field: str) -> float:
    """Bytes of a field of this process's status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--folder", type=Path, help="for the checkpoints (default: temporary)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(measure(Path(asked.child[0]), asked.dtype, asked.child[1])))
        return
    report = {}
    with tempfile.TemporaryDirectory(dir=asked.folder) as temporary:
        for name, rank in (("merged", 0), ("unmerged LoRA", _RANK)):
            folder = Path(temporary) / f"rank{rank}"
            write_checkpoint(folder, rank)
            file_bytes = (folder / "model.safetensors").stat().st_size
            ways = {way: measure_in_child(folder, asked.dtype, way) for way in ("whole", "none")}
            report[name] = {"file_bytes": file_bytes, **ways}
            _print_row(name, report[name])
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure_in_child(folder: Path, dtype: str, way: str) -> dict[str, float]:
    """Run :func:`measure` in a process of its own."""
    command = [sys.executable, __file__, "--dtype", dtype, "--child", str(folder), way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _print_row(name: str, row: dict[str, Any]) -> None:
    whole, loader = row["whole"], row["none"]
    print(f"{name}: file {row['file_bytes'] / 1e9:.2f} GB")
    for way, each in (("whole state dict", whole), ("loader", loader)):
        print(
            f"  {way:18} {each['seconds']:6.1f} s   peak {each['peak_bytes'] / 1e9:5.2f} GB   "
            f"held {each['held_bytes'] / 1e9:5.2f} GB"
        )
    ratio = whole["peak_bytes"] / loader["peak_bytes"]
    print(f"  memory 1/{ratio:.2f}, time 1/{whole['seconds'] / loader['seconds']:.2f}")


if __name__ == "__main__":
    main()
