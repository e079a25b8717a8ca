# SPDX-License-Identifier: Apache-2.0
"""Train the embedded model on the simulated tabletop.

First vision alone, then words and masks, then the same on varied scenes and on wide ones.

The run folder holds ``recipe.json`` (settings and seed), ``log.jsonl``, ``tensorboard/``,
``curve.png``, ``state.safetensors`` (the last checkpoint, written atomically) and ``model/`` (the
same weights, or the averages that the recipe asks for, as a checkpoint folder that
``Segmenter.from_pretrained`` loads). The same command resumes the run.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from mllmseg_ros.checkpoints.loading import load_model, save_model
from mllmseg_ros.drawing.image_file import write_image
from mllmseg_ros.files import replaced_folder
from mllmseg_ros.language.vocabulary import get_vocabulary
from mllmseg_ros.model.precision import has_native_bfloat16
from mllmseg_ros.model.prompt import PromptBuilder
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.sim.dataset import SceneCache
from mllmseg_ros.sim.expressions import draw_expressions
from mllmseg_ros.train.run_state import RunState
from mllmseg_ros.train.tabletop.averaging import add_to_mean, keep_start
from mllmseg_ros.train.tabletop.batches import Scenes, TabletopBatches
from mllmseg_ros.train.tabletop.curve import draw_curve
from mllmseg_ros.train.tabletop.embedded import add_known_words, new_checkpoint
from mllmseg_ros.train.tabletop.optimisers import muon_and_adamw
from mllmseg_ros.train.tabletop.recipe import TabletopRecipe
from mllmseg_ros.train.tabletop.step import Learner
from mllmseg_ros.train.trainer import STATE_FILE, Trainer, read_terms

__all__ = ["train_tabletop"]

_EASY_FORMS = ("color", "kind", "color_kind")


def train_tabletop(
    run: Path,
    scenes: Path,
    recipe: TabletopRecipe,
    *,
    start: Path | None = None,
    threads: int = 0,
) -> Path:
    """Train, or resume a training.

    Args:
        run: the run's folder; a run found there is resumed from its last checkpoint.
        scenes: folder with the rendered splits ``train`` and ``validation`` of the recipe's
            worlds.
        recipe: the settings.
        start: checkpoint folder to start from instead of new weights.
        threads: CPU threads, 0 for torch's choice.

    Returns:
        The folder of the trained model.

    Raises:
        ValueError: if the run there has another recipe, scenes are missing, or the recipe keeps
            weights of a start that there is not.
    """
    if start is None and (recipe.keep_vision or recipe.keep_language):
        raise ValueError("the recipe keeps weights of the start: name its checkpoint by --from")
    if threads:
        torch.set_num_threads(threads)
    _keep_freed_memory()
    worlds = recipe.worlds
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
    check_run(run, recipe, start)
    model_folder = run / "model"
    if not model_folder.is_dir():
        with replaced_folder(model_folder) as partial:  # a kill leaves no half of a model
            if start is not None:
                shutil.copytree(start, partial, dirs_exist_ok=True)
                add_known_words(partial, _corpus(splits["train"]))
            else:
                new_checkpoint(partial, _corpus(splits["train"]), recipe.seed)
    model = load_model(model_folder, torch.device("cpu"), torch.float32).requires_grad_(True)
    prompts = PromptBuilder(
        Tokenizer.from_folder(model_folder), model.config.prompt, model.config.n_image_tokens
    )
    torch.manual_seed(recipe.seed)
    learner = Learner(model, prompts.seg_id, prompts.rej_id)
    batches = {
        split: TabletopBatches(scenes, prompts, model.config.patch_size_px, recipe.seed)
        for split, scenes in splits.items()
    }
    start_weights = (
        None if start is None else load_model(start, model.device, model.dtype).state_dict()
    )
    TabletopTrainer(run, learner, batches, recipe, worlds, start_weights).train()
    return model_folder


def check_run(run: Path, recipe: TabletopRecipe, start: Path | None) -> None:
    """Check that a run folder is new or holds a run with this recipe and start.

    Raises:
        ValueError: naming the fields that differ.
    """
    recipe.check_run(run, start=str(start or ""))


class TabletopTrainer(Trainer):
    """Dense, joint, varied and wide stages; validation scores; a checkpoint by time."""

    evaluate_every = 400
    save_every_s = 180.0

    def __init__(
        self,
        run: Path,
        learner: Learner,
        batches: Mapping[str, TabletopBatches],
        recipe: TabletopRecipe,
        worlds: Sequence[str],
        start: Mapping[str, Tensor] | None,
    ) -> None:
        optimisers = muon_and_adamw(learner.named_parameters())
        weights = learner.state_dict()
        self._mean: dict[str, Tensor] = {}  # of the network's weights in the wide stage
        if recipe.averaged:
            self._mean = {name: t.clone() for name, t in learner.model.state_dict().items()}
            weights |= {f"mean.{name}": tensor for name, tensor in self._mean.items()}
        super().__init__(
            run,
            recipe.steps,
            list(learner.parameters()),
            optimisers,
            RunState(run / STATE_FILE, weights, optimisers, "learner."),
        )
        self._run = run
        self._learner = learner
        self._batches = batches
        self._recipe = recipe
        self._worlds = worlds
        self._start = start

    def learning_rate_at(self, step: int) -> float:
        return self._recipe.learning_rate_at(step)

    def compute_gradients(self, step: int) -> dict[str, float]:
        learner, recipe = self._learner, self._recipe
        learner.train()
        # Dropout too is a function of (seed, step), so that a resumed run repeats an unbroken one.
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        stage, first = recipe.stage(step)
        shares = recipe.shares(step)
        if stage == "dense":
            batch = self._batches["train"].draw(step, recipe.dense_images, shares=shares)
        else:
            easy = stage == "joint" and step < first + recipe.easy_steps
            batch = self._batches["train"].draw(
                step,
                recipe.joint_images,
                recipe.expressions,
                recipe.drawn,
                recipe.no_target_share,
                forms=_EASY_FORMS if easy else None,
                shares=shares,
                augmented=stage == "wide",
            )
        # On a CPU the backward pass of plain matrix products beats that of fused attention.
        with sdpa_kernel(SDPBackend.MATH):
            with _autocast():
                if stage == "dense":
                    losses = learner.dense_losses(batch)
                elif stage == "heads":
                    losses = learner.head_losses(batch)
                else:
                    losses = learner.joint_losses(batch)
            losses.total.backward()
        return read_terms({"loss": losses.total.detach(), **losses.terms})

    def evaluate(self, done: int) -> None:
        for index, world in enumerate(self._worlds):
            shares = [float(index == other) for other in range(len(self._worlds))]
            scores = validate(
                self._learner, self._batches["validation"], self._recipe, done, shares
            )
            self.log.write({"step": done - 1, f"{world}validation": scores}, done - 1)
            text = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
            tqdm.write(f"step {done}: {world}{text}")

    def save(self, done: int) -> None:
        _write_curve(self._run)
        super().save(done)
        model, recipe = self._learner.model, self._recipe
        weights = self._mean or model.state_dict()
        if self._start is not None:
            weights = keep_start(weights, self._start, recipe.keep_vision, recipe.keep_language)
        save_model(model, self._run / "model", torch.float16, weights)

    def _step(self, step: int) -> dict[str, float]:
        terms = super()._step(step)
        if self._mean:
            stage, first = self._recipe.stage(step)
            done = step - first if stage == "wide" else 0  # 0: the mean is the weights themselves
            add_to_mean(self._mean, self._learner.model.state_dict(), done)
        return terms


@torch.inference_mode()
def validate(
    learner: Learner,
    batches: TabletopBatches,
    recipe: TabletopRecipe,
    done: int,
    shares: Sequence[float] = (1.0,),
    n_batches: int = 12,
) -> dict[str, float]:
    """Score the validation batches, which have the same scenes and expressions each time.

    Args:
        learner: what is trained.
        batches: of the validation splits.
        recipe: for the number of images.
        done: steps so far.
        shares: of the splits in the images.
        n_batches: how many batches.

    Returns:
        Dense accuracies, and after the dense stage cIoU, mean IoU of targets, N-acc and T-acc.
    """
    learner.eval()
    scores: dict[str, list[float]] = {"color_acc": [], "kind_acc": [], "size_acc": [], "off": []}
    overlap, union, ious = 0, 0, []
    rejected, accepted = [], []
    for number in range(n_batches):
        batch = batches.draw(number, recipe.joint_images, 8, shares=shares)
        with _autocast():
            terms = learner.dense_losses(batch).terms
            for name, values in scores.items():
                values.append(float(terms[name]))
            if recipe.stage(done - 1)[0] == "dense":
                continue
            predictions = learner.predict(batch)
            mask_logits = learner.model.mask_decoder.predict_logits(predictions.attended)
        masks = mask_logits > 0
        intersections = (masks & batch.target).sum((1, 2))
        unions = (masks | batch.target).sum((1, 2))
        overlap, union = overlap + int(intersections.sum()), union + int(unions.sum())
        ious += (intersections / unions.clamp(min=1)).tolist()
        accepts = predictions.answer_logits[:, 0] >= predictions.answer_logits[:, 1]
        accepted += accepts[batch.has_target].tolist()
        rejected += (~accepts[~batch.has_target]).tolist()
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    if ious:
        means |= {
            "cIoU": overlap / max(union, 1),
            "mIoU": float(np.mean(ious)),
            "N_acc": float(np.mean(rejected)),
            "T_acc": float(np.mean(accepted)),
        }
    return means


def _autocast() -> torch.autocast:
    """Compute in bfloat16 where the CPU does so itself, else in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_native_bfloat16(torch.device("cpu")))


def _corpus(splits: Sequence[Scenes]) -> Iterator[str]:
    """Yield expressions over rendered scenes, for the vocabulary."""
    rng = np.random.default_rng(0)
    for scenes in splits:
        for index in range(min(len(scenes.cache), 3000)):
            objects = scenes.cache.objects(index)
            for expression in draw_expressions(objects, rng, 8, language=scenes.language):
                yield expression.text.lower() + ":"


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory: each step frees and allocates the same hundreds of MB.

    Returning and zeroing them costs a quarter of a step. No effect with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def _write_curve(run: Path) -> None:
    try:
        curve = draw_curve(run / "log.jsonl")
    except ValueError:  # nothing was validated yet
        return
    write_image(run / "curve.png", curve)
