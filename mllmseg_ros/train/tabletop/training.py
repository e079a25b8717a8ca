# SPDX-License-Identifier: Apache-2.0
"""Train the embedded model on the simulated tabletop.

First what there is to see, then words and masks, then the same on varied scenes.

The run folder holds ``recipe.json`` (settings and seed), ``log.jsonl``, ``curve.png``,
``state.safetensors`` (the last checkpoint, written atomically) and ``model/`` (the same weights as
a checkpoint folder that ``Segmenter.from_pretrained`` loads). Running the same command again
resumes.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from mllmseg_ros.checkpoints.loading import load_model, save_model
from mllmseg_ros.data.run_folder import check_resume_config
from mllmseg_ros.language.vocabulary import get_vocabulary
from mllmseg_ros.model.prompt import PromptBuilder
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.sim.dataset import SceneCache
from mllmseg_ros.sim.expressions import draw_expressions
from mllmseg_ros.train.run_state import read_state, under, write_state
from mllmseg_ros.train.tabletop.batches import Scenes, TabletopBatches
from mllmseg_ros.train.tabletop.curve import draw_curve
from mllmseg_ros.train.tabletop.embedded import new_checkpoint
from mllmseg_ros.train.tabletop.optimisers import Optimisers
from mllmseg_ros.train.tabletop.recipe import TabletopRecipe
from mllmseg_ros.train.tabletop.step import Learner

__all__ = ["train_tabletop"]

_STATE = "state.safetensors"
_SAVE_EVERY_S = 180.0
_VALIDATE_EVERY = 400
_EASY_FORMS = ("color", "kind", "color_kind")


def train_tabletop(
    run: Path,
    scenes: Path,
    recipe: TabletopRecipe,
    *,
    start: Path | None = None,
    threads: int = 0,
) -> Path:
    """Train, or go on training.

    Args:
        run: the run's folder; a run found there is resumed from its last checkpoint.
        scenes: folder with the rendered splits ``train`` and ``validation``, and their varied
            ones where the recipe has varied steps.
        recipe: the settings.
        start: checkpoint folder to start from instead of new weights.
        threads: CPU threads, 0 for torch's choice.

    Returns:
        The folder of the trained model.

    Raises:
        ValueError: if the run there has another recipe, or scenes are missing.
    """
    if threads:
        torch.set_num_threads(threads)
    _keep_freed_memory()
    worlds = ("", "varied_") if recipe.varied_steps else ("",)
    splits = {
        split: [
            Scenes(cache=SceneCache(scenes / name, n_scenes), language=get_vocabulary(name))
            for name in (world + split for world in worlds)
        ]
        for split, n_scenes in (
            ("train", recipe.scenes),
            ("validation", recipe.validation_scenes),
        )
    }
    check_resume_config(run, run_settings(recipe, start))
    model_folder = run / "model"
    if not model_folder.is_dir():
        partial = run / "model.partial"  # a kill leaves no half of a model
        shutil.rmtree(partial, ignore_errors=True)
        if start is not None:
            shutil.copytree(start, partial)
        else:
            new_checkpoint(partial, _corpus(splits["train"]), recipe.seed)
        partial.rename(model_folder)
    model = load_model(model_folder, torch.device("cpu"), torch.float32).requires_grad_(True)
    prompts = PromptBuilder(
        Tokenizer.from_folder(model_folder), model.config.prompt, model.config.n_image_tokens
    )
    torch.manual_seed(recipe.seed)
    learner = Learner(model, prompts.seg_id, prompts.rej_id)
    optimisers = Optimisers(learner.named_parameters())
    batches = {
        split: TabletopBatches(each, prompts, model.config.patch_size_px, recipe.seed)
        for split, each in splits.items()
    }
    first = _restore(run, learner, optimisers)
    total = recipe.steps
    saved = time.monotonic()
    with (run / "log.jsonl").open("a", encoding="utf-8") as log:
        bar = tqdm(range(first, total), initial=first, total=total, unit="step", mininterval=10)
        for step in bar:
            started = time.monotonic()
            learner.train()
            terms = _train_step(learner, optimisers, batches["train"], recipe, step)
            terms["seconds"] = time.monotonic() - started
            bar.set_postfix({name: f"{value:.3f}" for name, value in terms.items()}, refresh=False)
            log.write(json.dumps({"step": step, **terms}) + "\n")
            done = step + 1
            if done % _VALIDATE_EVERY == 0 or done == total:
                for index, world in enumerate(worlds):
                    shares = [float(index == other) for other in range(len(worlds))]
                    scores = validate(learner, batches["validation"], recipe, done, shares)
                    log.write(json.dumps({"step": step, f"{world}validation": scores}) + "\n")
                    said = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
                    tqdm.write(f"step {done}: {world}{said}")
            if time.monotonic() - saved > _SAVE_EVERY_S or done == total:
                log.flush()
                _draw(run)
                _save(run, learner, optimisers, done)
                saved = time.monotonic()
    return model_folder


def run_settings(recipe: TabletopRecipe, start: Path | None) -> dict[str, Any]:
    """What a run is known by."""
    return {**asdict(recipe), "start": str(start or "")}


def _train_step(
    learner: Learner,
    optimisers: Optimisers,
    batches: TabletopBatches,
    recipe: TabletopRecipe,
    step: int,
) -> dict[str, float]:
    # Dropout too is a function of (seed, step), so that a resumed run repeats an unbroken one.
    torch.manual_seed(recipe.seed * 1_000_003 + step)
    dense = step < recipe.dense_steps
    shares = recipe.shares(step)
    if dense:
        batch = batches.draw(step, recipe.dense_images, shares=shares)
    else:
        easy = step < recipe.dense_steps + recipe.easy_steps
        batch = batches.draw(
            step,
            recipe.joint_images,
            recipe.expressions,
            recipe.drawn,
            recipe.no_target_share,
            forms=_EASY_FORMS if easy else None,
            shares=shares,
        )
    # On a CPU the backward pass of plain matrix products beats that of fused attention.
    with sdpa_kernel(SDPBackend.MATH):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = learner.dense_losses(batch) if dense else learner.joint_losses(batch)
        losses.total.backward()
    torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
    optimisers.step(recipe.factor(step))
    return {"loss": float(losses.total.detach()), **losses.terms}


@torch.inference_mode()
def validate(
    learner: Learner,
    batches: TabletopBatches,
    recipe: TabletopRecipe,
    done: int,
    shares: Sequence[float] = (1.0,),
    n_batches: int = 12,
) -> dict[str, float]:
    """Score fixed validation batches: the same scenes and expressions each time.

    Args:
        learner: what is trained.
        batches: of the validation splits.
        recipe: for the number of pictures.
        done: steps so far.
        shares: of the splits.
        n_batches: so many.

    Returns:
        Dense accuracies, and after the dense stage cIoU, mean IoU of targets, N-acc and T-acc.
    """
    learner.eval()
    scores: dict[str, list[float]] = {"color_acc": [], "kind_acc": [], "size_acc": [], "off": []}
    overlap, union, ious = 0, 0, []
    rejected, accepted = [], []
    for number in range(n_batches):
        batch = batches.draw(number, recipe.joint_images, 8, shares=shares)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = learner.dense_losses(batch).terms
            for name, values in scores.items():
                values.append(terms[name])
            if done <= recipe.dense_steps:
                continue
            said = learner.answers(batch)
            masks, answers = learner.model.mask_decoder.predict_logits(said.met), said.answer_logits
        there = masks > 0
        both = (there & batch.target).sum((1, 2))
        either = (there | batch.target).sum((1, 2))
        overlap, union = overlap + int(both.sum()), union + int(either.sum())
        ious += (both / either.clamp(min=1)).tolist()
        said_there = answers[:, 0] >= answers[:, 1]
        accepted += said_there[batch.has_target].tolist()
        rejected += (~said_there[~batch.has_target]).tolist()
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    if ious:
        means |= {
            "cIoU": overlap / max(union, 1),
            "mIoU": float(np.mean(ious)),
            "N_acc": float(np.mean(rejected)),
            "T_acc": float(np.mean(accepted)),
        }
    return means


def _corpus(splits: Sequence[Scenes]) -> Iterator[str]:
    """Expressions over rendered scenes, for the vocabulary."""
    rng = np.random.default_rng(0)
    for scenes in splits:
        for index in range(min(len(scenes.cache), 3000)):
            objects = scenes.cache.objects(index)
            for expression in draw_expressions(objects, rng, 8, language=scenes.language):
                yield expression.text.lower() + ":"


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed: a step frees and asks for the same hundreds of MB again.

    Giving them back and having them zeroed anew costs a quarter of a step. No effect elsewhere.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def _draw(run: Path) -> None:
    try:
        curve = draw_curve(run / "log.jsonl")
    except ValueError:  # too early
        return
    cv2.imwrite(str(run / "curve.png"), cv2.cvtColor(curve, cv2.COLOR_RGB2BGR))


def _save(run: Path, learner: Learner, optimisers: Optimisers, done: int) -> None:
    tensors: dict[str, Tensor] = {
        f"learner.{name}": tensor for name, tensor in learner.state_dict().items()
    }
    tensors |= {f"optimiser.{name}": tensor for name, tensor in optimisers.tensors().items()}
    write_state(run / _STATE, done, tensors)
    save_model(learner.model, run / "model", torch.float16)


def _restore(run: Path, learner: Learner, optimisers: Optimisers) -> int:
    step, tensors = read_state(run / _STATE)
    if tensors:
        learner.load_state_dict(under(tensors, "learner."))
        optimisers.load(under(tensors, "optimiser."))
    return step
