# SPDX-License-Identifier: Apache-2.0
"""Train MLLMSeg as the paper does: LoRA on the language model, the mask decoder whole.

One process by default, several by ``torchrun`` or ``accelerate launch``. The run folder holds
``recipe.json``, ``log.jsonl``, ``tensorboard/``, ``state.safetensors`` (the last checkpoint) and,
at the end, ``model/``: the merged model in the published layout. The same command resumes; on a CPU
with the same number of threads bit for bit: data and dropout are functions of (seed, step).

Source: docs/reference.md, section 11.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from mllmseg_ros.checkpoints.hub import checkpoint_name
from mllmseg_ros.checkpoints.loading import load_model
from mllmseg_ros.data.sample import Sample, fingerprint
from mllmseg_ros.files import FolderLock
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.pixels import to_pixel_values
from mllmseg_ros.model.prompt import PromptBuilder
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.train.feature_cache import FeatureCache
from mllmseg_ros.train.lora import Trained, choose_trained, merged_state
from mllmseg_ros.train.optimisers import Optimisers
from mllmseg_ros.train.paper.batches import PaperBatch, PaperBatches
from mllmseg_ros.train.paper.dialog_ids import DialogEncoder
from mllmseg_ros.train.paper.recipe import PaperRecipe
from mllmseg_ros.train.paper.step import paper_losses
from mllmseg_ros.train.run_state import RunState
from mllmseg_ros.train.trainer import STATE_FILE, Trainer, read_terms
from mllmseg_ros.train.write_model import ModelMetadata, write_model

__all__ = ["train_as_in_paper"]


def train_as_in_paper(
    run: Path,
    start: Path,
    data_sets: Sequence[Sequence[Sample]],
    recipe: PaperRecipe,
    features: Path | None = None,
) -> Path:
    """Train, or resume a training.

    Args:
        run: the run's folder; a run found there is resumed from its last checkpoint.
        start: checkpoint folder to start from.
        data_sets: samples of each data set; all are drawn from equally often.
        recipe: the settings.
        features: folder to keep the frozen vision side's outputs in, so that later epochs skip it;
            None computes them anew. Images must then stay as they are: the recipe must have
            ``recompress`` off.

    Returns:
        The folder of the trained, merged model.

    Raises:
        ValueError: if the run there has another recipe or is in use, a field of the recipe does
            not fit, or data cannot be read.
    """
    if features is not None and recipe.recompress:
        raise ValueError(
            "features are kept per image, but recompress changes each image every time; set "
            "recompress to false in the recipe"
        )
    AcceleratorState._reset_state()  # of an earlier run in this process, whose precision may differ
    accelerator = Accelerator(
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        # The query and key weights of a cross-attention to a single token have no effect.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    with ExitStack() as stack:
        if accelerator.is_main_process:
            run.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FolderLock(run))
            recipe.check_run(run, start=str(start), data=fingerprint(*data_sets))
        accelerator.wait_for_everyone()
        model, batches = _prepare(start, data_sets, recipe, accelerator.device)
        cache = None
        if features is not None:
            half = recipe.precision == "bf16"
            cache = FeatureCache(features, model, torch.bfloat16 if half else torch.float32)
            accelerator.print(f"vision features are kept in {features}; images are not augmented")
        _PaperTrainer(run, model, batches, recipe, accelerator, cache).train()
        if accelerator.is_main_process:
            # A whole head or trained rows can tell [REJ] from [SEG]; frozen ones stay equal.
            split_inputs = recipe.answer_rows or model.lm_head.weight.requires_grad
            absent = any(t.region is None for each in data_sets for s in each for t in s.targets)
            metadata = ModelMetadata(
                name=f"{model.config.name}-{run.name}",
                can_reject=model.config.can_reject or (absent and split_inputs),
                synthetic_only=False,
            )
            write_model(run / "model", start, model, merged_state(model), metadata)
        accelerator.wait_for_everyone()
    return run / "model"


class _PaperTrainer(Trainer):
    """Gradient accumulation in one or more processes; a checkpoint every ``save_every`` steps."""

    def __init__(
        self,
        run: Path,
        model: MLLMSeg,
        batches: PaperBatches,
        recipe: PaperRecipe,
        accelerator: Accelerator,
        cache: FeatureCache | None,
    ) -> None:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        adamw = torch.optim.AdamW(
            trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        optimisers = Optimisers({"": (adamw, 1.0)})
        super().__init__(
            run,
            recipe.steps,
            trained,
            optimisers,
            RunState(run / STATE_FILE, _trained_tensors(model), optimisers),
            is_main=accelerator.is_main_process,
        )
        self.save_every = recipe.save_every
        self._learner = accelerator.prepare(_Learner(model, recipe.published_focal))
        self._batches = batches
        self._recipe = recipe
        self._accelerator = accelerator
        self._cache = cache
        self._n_expressions, self._started_s = 0.0, time.monotonic()

    def learning_rate_at(self, step: int) -> float:
        return self._recipe.learning_rate_at(step)

    def compute_gradients(self, step: int) -> dict[str, float]:
        accelerator, recipe = self._accelerator, self._recipe
        self._learner.train()
        sums: dict[str, Tensor] = {}
        n_expressions = 0
        for index in range(recipe.accumulation):
            # The number of this pass over all steps, passes and processes.
            number = (step * recipe.accumulation + index) * accelerator.num_processes
            number += accelerator.process_index
            batch = self._batches.draw(number, recipe.images).to(accelerator.device)
            torch.manual_seed(recipe.seed * 1_000_003 + number)  # of dropout
            last = index == recipe.accumulation - 1
            encoded = self._cache.encode_vision(batch.squares) if self._cache else None
            with nullcontext() if last else accelerator.no_sync(self._learner):
                with accelerator.autocast():
                    terms = self._learner(batch, encoded)
                accelerator.backward(terms["loss"] / recipe.accumulation)
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.detach() / recipe.accumulation
            n_expressions += len(batch.expressions)
        self._n_expressions += n_expressions
        elapsed_s = max(1e-9, time.monotonic() - self._started_s)
        return {
            **read_terms(sums),
            "expressions": float(n_expressions),
            "learning_rate": recipe.learning_rate_at(step),
            "expressions_per_s": self._n_expressions / elapsed_s,
        }


class _Learner(nn.Module):
    """The network with its loss as forward pass: the module that several processes share."""

    def __init__(self, model: MLLMSeg, published_focal: bool) -> None:
        super().__init__()
        self.model = model
        self._published_focal = published_focal

    def forward(
        self, batch: PaperBatch, encoded: tuple[Tensor, Tensor] | None
    ) -> dict[str, Tensor]:
        losses = paper_losses(
            self.model,
            encoded or self.model.encode_vision(to_pixel_values(batch.squares)),
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
    # Frozen weights are kept in half precision on a GPU, trained ones in 32 bits everywhere.
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
    keep_trained_in_float32(model)
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


def keep_trained_in_float32(model: MLLMSeg) -> None:
    """Convert what training changes, in place: half precision would lose small steps."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for module in model.modules():  # its statistics are no parameters
        if isinstance(module, nn.BatchNorm2d):
            module.float()


def _trained_tensors(model: MLLMSeg) -> dict[str, Tensor]:
    """The tensors that training changes: trained parameters, statistics of the decoder's norm."""
    tensors: dict[str, Tensor] = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    buffers = model.mask_decoder.named_buffers(prefix="mask_decoder")
    return tensors | {name: buffer for name, buffer in buffers if "init_pos" not in name}
