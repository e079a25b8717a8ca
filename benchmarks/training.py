# SPDX-License-Identifier: Apache-2.0
"""Measure the time that cached frozen outputs save: seconds per epoch at 1B dimensions.

    python benchmarks/training.py                 # --threads 1 --rounds 3

Random weights. An epoch is a few images with three expressions each: forward pass, backward pass,
optimiser step. The first epoch fills the cache and is not counted. Compare ratios, not times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from mllmseg_ros.benchmark.random_model import random_segmenter
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.train.adapt.adapt import set_trained
from mllmseg_ros.train.adapt.batches import AdaptBatch
from mllmseg_ros.train.adapt.recipe import AdaptRecipe
from mllmseg_ros.train.adapt.step import adapt_losses, read_batch
from mllmseg_ros.train.feature_cache import FeatureCache, StateCache
from mllmseg_ros.train.recipe import read_recipe

EXPRESSIONS = ("the red mug", "the ball left of the can", "all the books")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    rows = {}
    for trained in ("decoder", "lora"):
        rows[trained] = measure(trained, device, arguments.images, arguments.rounds)
        base = rows[trained]["nothing"]
        for name, seconds in rows[trained].items():
            print(f"{trained:<8} kept: {name:<8} {seconds:8.2f} s  {base / seconds:6.2f} x")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def measure(trained: str, device: torch.device, n_images: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of an epoch, by what is cached."""
    segmenter = random_segmenter("1B", device, torch.float32)
    model, prompts = segmenter.torch_model, segmenter.prompts
    answer_ids = (prompts.seg_id, prompts.rej_id)
    set_trained(model, trained, read_recipe(AdaptRecipe, "adapt"), answer_ids)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-5)
    side = model.config.image_size_px
    row = tuple(prompts.build([text]) for text in EXPRESSIONS)
    batches = [
        AdaptBatch(
            squares=torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8),
            prompts=(row,),
            has_target=torch.tensor([True, True, False]),
            target=torch.rand(2, side, side) > 0.9,
        )
        for _ in range(n_images)
    ]
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        caches: dict[str, FeatureCache | StateCache | None] = {
            "nothing": None,
            "vision": FeatureCache(Path(folder), model, torch.bfloat16),
        }
        if trained == "decoder":
            caches["vision and language"] = StateCache(Path(folder), model, torch.bfloat16)
        for number in range(rounds + 1):
            for name, cache in caches.items():
                started_s = time.perf_counter()
                for batch in batches:
                    step(model, batch, cache, answer_ids, optimiser)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if number:
                    seconds.setdefault(name, []).append(time.perf_counter() - started_s)
    return {name: statistics.median(each) for name, each in seconds.items()}


def step(
    model: MLLMSeg,
    batch: AdaptBatch,
    cache: FeatureCache | StateCache | None,
    answer_ids: tuple[int, int],
    optimiser: torch.optim.Optimizer,
) -> None:
    """One optimiser step on one image."""
    device = model.lm_head.weight.device
    with torch.autocast(device.type, torch.bfloat16):
        encoded = read_batch(model, batch, cache, device)
        losses = adapt_losses(model, batch, encoded, answer_ids)
    losses.total.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main()
