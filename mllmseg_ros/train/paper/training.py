# SPDX-License-Identifier: Apache-2.0
"""Train MLLMSeg as the paper does: LoRA on the language model, the mask decoder whole.

One process by default, several by ``torchrun`` or ``accelerate launch``. The run folder holds
``recipe.json``, ``log.jsonl``, ``tensorboard/``, ``state.safetensors`` (the last checkpoint) and,
at the end, ``model/``: the merged model in the published layout. The same command resumes; on a CPU
with the same number of threads bit by bit: data and dropout are functions of (seed, step).

Source: docs/reference.md, section 11.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mllmseg_ros.checkpoints.hub import checkpoint_name
from mllmseg_ros.checkpoints.loading import load_model
from mllmseg_ros.data.run_folder import check_resume_config
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.pixels import to_pixel_values
from mllmseg_ros.model.prompt import PromptBuilder
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.train.feature_cache import FeatureCache
from mllmseg_ros.train.lora import Trained, choose_trained, merged_state
from mllmseg_ros.train.paper.batches import PaperBatch, PaperBatches
from mllmseg_ros.train.paper.dialog_ids import DialogEncoder
from mllmseg_ros.train.paper.recipe import PaperRecipe
from mllmseg_ros.train.paper.step import paper_losses
from mllmseg_ros.train.run_state import fingerprint_of, read_training, write_training
from mllmseg_ros.train.write_model import Written, write_model

__all__ = ["train_as_in_paper"]

_STATE = "state.safetensors"
_LARGEST_GRADIENT = 1.0


def train_as_in_paper(
    run: Path,
    start: Path,
    data_sets: Sequence[Sequence[Sample]],
    recipe: PaperRecipe,
    features: Path | None = None,
) -> Path:
    """Train, or go on training.

    Args:
        run: the run's folder; a run found there is resumed from its last checkpoint.
        start: checkpoint folder to start from.
        data_sets: samples of each data set; each is drawn from as often as the others.
        recipe: the settings.
        features: folder to keep the frozen vision side's outputs in, so that later epochs skip it;
            None computes them anew. Pictures then have to stay as they are: the recipe must have
            ``recompress`` off.

    Returns:
        The folder of the trained, merged model.

    Raises:
        ValueError: if the run there has another recipe, a field of the recipe does not fit, or
            data cannot be read.
    """
    if features is not None and recipe.recompress:
        raise ValueError(
            "features are kept per picture, but recompress changes each picture at every turn; set "
            "recompress to false in the recipe"
        )
    accelerator = Accelerator(
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        # The query and key weights of a cross-attention to a single token have no effect.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.is_main_process:
        told = {"start": str(start), "data": fingerprint_of(*data_sets)}
        check_resume_config(run, {**asdict(recipe), **told})
    accelerator.wait_for_everyone()
    model, batches = _prepare(start, data_sets, recipe, accelerator.device)
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    optimiser = torch.optim.AdamW(
        trained.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    first = read_training(run / _STATE, _trained_tensors(model), optimiser)
    cache = None
    if features is not None:
        half = recipe.precision == "bf16"
        cache = FeatureCache(features, model, torch.bfloat16 if half else torch.float32)
        accelerator.print(f"vision features are kept in {features}; pictures are not augmented")
    learner = accelerator.prepare(_Learner(model, recipe.published_focal))
    with _Log(run, recipe, first, enabled=accelerator.is_main_process) as log:
        for step in range(first, recipe.steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate_at(step)
            terms = _step(accelerator, learner, optimiser, batches, cache, recipe, step)
            log.write(step, {**terms, "learning_rate": recipe.learning_rate_at(step)})
            done = step + 1
            if accelerator.is_main_process and (
                done % recipe.save_every == 0 or done == recipe.steps
            ):
                write_training(run / _STATE, done, _trained_tensors(model), optimiser)
    if accelerator.is_main_process:
        # A whole head or trained rows can tell [REJ] from [SEG]; frozen ones stay equal.
        split_inputs = recipe.answer_rows or model.lm_head.weight.requires_grad
        absent = any(t.region is None for each in data_sets for s in each for t in s.targets)
        written = Written(
            name=f"{model.config.name}-{run.name}",
            can_reject=model.config.can_reject or (absent and split_inputs),
            synthetic_only=False,
        )
        write_model(run / "model", start, model, merged_state(model), written)
    accelerator.wait_for_everyone()
    return run / "model"


class _Learner(nn.Module):
    """The network with its loss as forward pass, which is what is spread over processes."""

    def __init__(self, model: MLLMSeg, published_focal: bool) -> None:
        super().__init__()
        self.model = model
        self._published_focal = published_focal

    def forward(self, batch: PaperBatch, seen: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
        losses = paper_losses(
            self.model,
            self.model.encode_vision(to_pixel_values(batch.squares)) if seen is None else seen,
            batch.dialogs,
            batch.targets,
            published_focal=self._published_focal,
        )
        return {
            "loss": losses.total,
            "text": losses.text,
            "focal": losses.focal,
            "dice": losses.dice,
            "soft_iou": losses.soft_iou,
        }


def _prepare(
    start: Path, data_sets: Sequence[Sequence[Sample]], recipe: PaperRecipe, device: torch.device
) -> tuple[MLLMSeg, PaperBatches]:
    # What is frozen rests in half precision on a GPU; what is trained keeps 32 bits everywhere.
    half = recipe.precision == "bf16" and device.type == "cuda"
    model = load_model(
        start, device, torch.bfloat16 if half else torch.float32, checkpoint_name(start)
    )
    tokenizer = Tokenizer.from_folder(start)
    prompts = PromptBuilder(tokenizer, model.config.prompt, model.config.n_image_tokens)
    torch.manual_seed(recipe.seed)
    choose_trained(
        model,
        Trained(
            lora_rank=recipe.lora_rank,
            lora_dropout=recipe.lora_dropout,
            vision_lora=recipe.vision_lora,
            answer_rows=recipe.answer_rows,
        ),
        (prompts.seg_id, prompts.rej_id),
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if recipe.gradient_checkpointing:
        model.language_model.gradient_checkpointing_enable({"use_reentrant": False})
        if recipe.vision_lora:
            model.vision_tower.gradient_checkpointing_enable({"use_reentrant": False})
    batches = PaperBatches(
        data_sets,
        DialogEncoder(tokenizer, model.config.n_image_tokens),
        model.config.image_size_px,
        recipe.seed,
        recompress=recipe.recompress,
        learn_padding=recipe.learn_padding,
    )
    return model, batches


def _step(
    accelerator: Accelerator,
    learner: nn.Module,
    optimiser: torch.optim.Optimizer,
    batches: PaperBatches,
    cache: FeatureCache | None,
    recipe: PaperRecipe,
    step: int,
) -> dict[str, float]:
    learner.train()
    sums: dict[str, float] = {}
    for index in range(recipe.accumulation):
        # The number of this pass over all steps, passes and processes.
        number = (step * recipe.accumulation + index) * accelerator.num_processes
        number += accelerator.process_index
        batch = batches.draw(number, recipe.pictures).to(accelerator.device)
        torch.manual_seed(recipe.seed * 1_000_003 + number)  # of dropout
        last = index == recipe.accumulation - 1
        seen = cache.encode_vision(batch.squares) if cache else None
        with nullcontext() if last else accelerator.no_sync(learner):
            with accelerator.autocast():
                terms = learner(batch, seen)
            accelerator.backward(terms["loss"] / recipe.accumulation)
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach()) / recipe.accumulation
        sums["expressions"] = sums.get("expressions", 0.0) + len(batch.expressions)
    accelerator.clip_grad_norm_(learner.parameters(), _LARGEST_GRADIENT)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return sums


def _trained_tensors(model: MLLMSeg) -> dict[str, Tensor]:
    """What training changes: trained parameters, and the statistics of the decoder's norm."""
    tensors: dict[str, Tensor] = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    buffers = model.mask_decoder.named_buffers(prefix="mask_decoder")
    return tensors | {name: buffer for name, buffer in buffers if "init_pos" not in name}


class _Log:
    """Progress bar, ``log.jsonl`` and TensorBoard."""

    def __init__(self, run: Path, recipe: PaperRecipe, first: int, *, enabled: bool) -> None:
        self._enabled = enabled
        self._began, self._expressions = time.monotonic(), 0.0
        if enabled:
            self._bar = tqdm(initial=first, total=recipe.steps, unit="step", mininterval=5)
            self._lines = (run / "log.jsonl").open("a", encoding="utf-8")
            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=first)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._enabled:
            self._bar.close()
            self._lines.close()
            self._board.close()

    def write(self, step: int, terms: dict[str, float]) -> None:
        """Note one step."""
        if not self._enabled:
            return
        self._expressions += terms["expressions"]
        rate = self._expressions / max(1e-9, time.monotonic() - self._began)
        terms = {**terms, "expressions_per_s": rate}
        shown = {name: f"{value:.4g}" for name, value in terms.items() if name != "expressions"}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()
        self._lines.write(json.dumps({"step": step, **terms}) + "\n")
        self._lines.flush()
        for name, value in terms.items():
            self._board.add_scalar(name, value, step)
