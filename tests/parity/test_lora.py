# SPDX-License-Identifier: Apache-2.0
"""A checkpoint with unmerged LoRA, merged while it is loaded, against its adapters at run time.

The original's own outputs with adapters are not recorded: without adapters they are, and here the
same network gets adapters as separate matrix products.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from named_weights import make_tensor
from recorded_model import RecordedModel, load_segmenter, relative
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mllmseg_ros.checkpoints.layout import checkpoint_layout
from mllmseg_ros.segmenter import Segmenter

RANK = 8
CASE = "c0_one"


def make_adapter(name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Make random factors for a weight (out, in): A (rank, in) and B (out, rank).

    2 B A is about half as large as the weight. Larger ones sharpen the attention, which then
    enlarges differences of rounding.
    """
    down = make_tensor(f"{name}.lora_A", (RANK, weight.shape[1]))
    return down, make_tensor(f"{name}.lora_B", (weight.shape[0], RANK)) / 4


def is_adapted(name: str, weight: Tensor) -> bool:
    """Adapters are on every linear layer of the language model's blocks."""
    return name.startswith("language_model.model.layers.") and weight.ndim == 2


def unmerge(folder: Path) -> None:
    """Add adapters to a checkpoint, in the published layout (docs/reference.md, section 12)."""
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.startswith("language_model."):
            tensors[name] = tensor
            continue
        stem, leaf = name.replace("language_model.", "language_model.base_model.model.", 1).rsplit(
            ".", 1
        )
        if is_adapted(name, tensor):
            down, up = make_adapter(name, tensor)
            tensors[f"{stem}.lora_A.default.weight"] = down
            tensors[f"{stem}.lora_B.default.weight"] = up
            tensors[f"{stem}.base_layer.{leaf}"] = tensor
        elif leaf == "bias":  # of q, k and v: adapted layers, too
            tensors[f"{stem}.base_layer.{leaf}"] = tensor
        else:
            tensors[f"{stem}.{leaf}"] = tensor
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "use_llm_lora": RANK}), "utf-8")


def attach_adapters(segmenter: Segmenter) -> None:
    """Add the same adapters to a merged network: y = W x + 2 B (A x), A x computed on its own."""
    network = segmenter.model
    state = network.state_dict()
    for entry in checkpoint_layout(network.config, []):
        fused = entry.fuse([state[name] for name in entry.ours])
        if not is_adapted(entry.published, fused):
            continue
        down, up = (factor.float() for factor in make_adapter(entry.published, fused))
        for name, part in zip(entry.ours, entry.split(up), strict=True):

            def add(
                _: nn.Module,
                inputs: tuple[Tensor],
                output: Tensor,
                down: Tensor = down,
                up: Tensor = part,
            ) -> Tensor:
                return output + 2 * (inputs[0] @ down.T) @ up.T

            network.get_submodule(name.removesuffix(".weight")).register_forward_hook(add)


@pytest.mark.parametrize("name", ["tiny-qwen2", "tiny-internlm2"])
def test_unmerged_adapters_equal_adapters_at_run_time(
    name: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    model = RecordedModel(name, load_segmenter(checkpoint(name)))
    attach_adapters(model.segmenter)
    expected = model.result(CASE, False)
    folder = shutil.copytree(checkpoint(name), tmp_path / name)
    unmerge(folder)
    loaded = RecordedModel(name, load_segmenter(folder))
    ours = loaded.result(CASE, False)
    # Two ways to the same float32 numbers, as between the original and this engine.
    assert relative(ours.hidden, expected.hidden) < 2e-5
    assert relative(ours.decision_logits, expected.decision_logits) < 2e-5
    assert (ours.probability - expected.probability).abs().max() < 1e-4
    # The adapters change a lot: a loader that ignored them would be found.
    plain = model.tensors[f"{CASE}.hidden_last_slice"]
    assert relative(ours.hidden[::7], plain) > 0.1
