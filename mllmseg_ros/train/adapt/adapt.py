# SPDX-License-Identifier: Apache-2.0
"""Adapt a model to a user's own objects with tens to hundreds of images.

The run folder holds ``recipe.json``, ``log.jsonl``, ``tensorboard/``, ``state.safetensors`` (the
last checkpoint), ``before.json`` (scores of the start), ``best/`` and ``best.json`` (the best one
so far) and at the end ``report.json``, ``before_after.png``, ``before_after/`` and, unless it is
worse than the start, ``model/`` (for ``model:=``). The same command resumes the run.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from mllmseg_ros.checkpoints.hub import checkpoint_name
from mllmseg_ros.checkpoints.loading import load_model
from mllmseg_ros.data.sample import Sample, fingerprint
from mllmseg_ros.drawing.image_file import write_image
from mllmseg_ros.files import FolderLock, is_missing, read_json, replaced_folder, write_file
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.precision import choose_device_and_dtype, has_native_bfloat16
from mllmseg_ros.model.prompt import PromptBuilder
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.train.adapt.batches import AdaptBatches
from mllmseg_ros.train.adapt.evaluation import BestCheckpoint, Evaluator, Scores
from mllmseg_ros.train.adapt.recipe import AdaptRecipe
from mllmseg_ros.train.adapt.rehearsal import RehearsalSet, split_train_val
from mllmseg_ros.train.adapt.report import AdaptReport, draw_before_after
from mllmseg_ros.train.adapt.step import adapt_losses, read_batch
from mllmseg_ros.train.feature_cache import FeatureCache, StateCache
from mllmseg_ros.train.lora import Trained, choose_trained
from mllmseg_ros.train.optimisers import Optimisers
from mllmseg_ros.train.run_state import RunState
from mllmseg_ros.train.trainer import STATE_FILE, Trainer, read_terms
from mllmseg_ros.train.write_model import ModelMetadata, write_model

__all__ = ["adapt", "set_trained"]

_BEST, _BEFORE = "best.json", "before.json"
_SMALL = 50_000_000  # parameters, up to which everything may be trained
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)  # of the best checkpoint in its mixture with the start


def adapt(
    run: Path,
    start: Path,
    samples: Sequence[Sample],
    rehearsal: RehearsalSet | None,
    recipe: AdaptRecipe,
    features: Path | None = None,
    device: torch.device | str | None = None,
    *,
    accept_worse: bool = False,
) -> AdaptReport:
    """Adapt, or resume an adaptation.

    Args:
        run: the run's folder; a run found there is resumed from its last checkpoint.
        start: checkpoint folder to start from.
        samples: the user's images; part of them is held out.
        rehearsal: what the model knows already; None to neither rehearse nor measure it.
        recipe: the settings.
        features: folder to keep frozen outputs in, so that later epochs skip them: of the vision
            side where adapters are trained, of the language model too where the decoder alone is.
            Images are then not augmented. None computes them anew, except for the decoder alone,
            which keeps them in the run folder.
        device: for the model; None for the best available.
        accept_worse: write ``model/`` even if it is worse than the start
            (:attr:`~mllmseg_ros.train.adapt.report.AdaptReport.is_worse`); by default there is none
            then, and one of an earlier run stays.

    Raises:
        ValueError: if the run there has another recipe or is in use, features are to be kept but
            everything is trained, or data cannot be read.
    """
    started_s = time.monotonic()
    chosen_device, dtype = choose_device_and_dtype(device, None)
    model = load_model(start, chosen_device, torch.float32, checkpoint_name(start))
    trained = recipe.trained
    if trained == "auto":
        small = sum(parameter.numel() for parameter in model.parameters()) <= _SMALL
        trained = "all" if small else "lora"
    if features is not None and trained == "all":
        raise ValueError(
            "features are kept of what is frozen, and this recipe trains everything; set trained "
            "to lora or decoder"
        )
    run.mkdir(parents=True, exist_ok=True)
    with FolderLock(run):
        recipe.check_run(
            run,
            start=str(start),
            data=fingerprint(samples),
            known=fingerprint(rehearsal.train, rehearsal.val) if rehearsal else "none",
            features=features is not None,
        )
        train_samples, held_out = split_train_val(samples, recipe.held_out_share, recipe.seed)
        # A model that is shown absent targets learns to reject.
        absent = any(target.region is None for sample in samples for target in sample.targets)
        evaluator = Evaluator(start, chosen_device, dtype, held_out, rehearsal, can_reject=absent)
        before = _measure_before(run / _BEFORE, evaluator)
        prompts = PromptBuilder(
            Tokenizer.from_folder(start), model.config.prompt, model.config.n_image_tokens
        )
        answer_ids = (prompts.seg_id, prompts.rej_id)
        torch.manual_seed(recipe.seed)
        set_trained(model, trained, recipe, answer_ids)
        cache = _open_cache(features, run, trained, model, recipe)
        batches = AdaptBatches(
            train_samples,
            rehearsal.train if rehearsal else (),
            prompts,
            model.config.image_size_px,
            recipe.seed,
            augment=cache is None,
            flip=recipe.flip,
        )
        trainer = _AdaptTrainer(
            run, start, recipe, model, batches, cache, evaluator, before, answer_ids, started_s
        )
        trainer.train()
        return _finish(trainer, trained, len(train_samples), accept_worse=accept_worse)


def _measure_before(path: Path, evaluator: Evaluator) -> Scores:
    """Read the scores of the start checkpoint, or measure them, once per run."""
    if not is_missing(path):
        return Scores.from_json(read_json(path), path)
    before = evaluator.evaluate()
    write_file(path, json.dumps(before.to_json(), indent=2) + "\n")
    return before


class _AdaptTrainer(Trainer):
    """Evaluates and saves every ``evaluate_every`` steps, and keeps the best checkpoint."""

    def __init__(
        self,
        run: Path,
        start: Path,
        recipe: AdaptRecipe,
        model: MLLMSeg,
        batches: AdaptBatches,
        cache: FeatureCache | StateCache | None,
        evaluator: Evaluator,
        before: Scores,
        answer_ids: tuple[int, int],
        started_s: float,
    ) -> None:
        parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
        adamw = torch.optim.AdamW(
            parameters.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        optimisers = Optimisers({"": (adamw, 1.0)})
        super().__init__(
            run,
            recipe.steps,
            list(parameters.values()),
            optimisers,
            RunState(run / STATE_FILE, dict(parameters), optimisers),
        )
        self.evaluate_every = self.save_every = recipe.evaluate_every
        self.run, self.start, self.recipe = run, start, recipe
        self.evaluator = evaluator
        self.best = BestCheckpoint(before, recipe.max_forgetting, self.log)
        self.metadata = ModelMetadata(
            name=f"{model.config.name}-{run.name}",
            can_reject=evaluator.segmenter.can_reject,
            synthetic_only=False,
        )
        self._model, self._batches, self._cache = model, batches, cache
        self.taught = batches.expressions
        self._answer_ids = answer_ids
        self._spent_before_s, self._started_s = 0.0, started_s

    @property
    def spent_s(self) -> float:
        """Seconds of the run so far, those before it was resumed included."""
        return self._spent_before_s + time.monotonic() - self._started_s

    def learning_rate_at(self, step: int) -> float:
        return self.recipe.learning_rate_at(step)

    def compute_gradients(self, step: int) -> dict[str, float]:
        model, recipe = self._model, self.recipe
        device = self.evaluator.segmenter.device
        batch = self._batches.draw(step, recipe.images, recipe.expressions, recipe.rehearsal_share)
        # On a CPU the backward pass of plain matrix products beats that of fused attention.
        with sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext():
            # Emulated, it takes ten times as long.
            half = recipe.precision == "bf16" and has_native_bfloat16(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                encoded = read_batch(model, batch, self._cache, device)
                losses = adapt_losses(model, batch, encoded, self._answer_ids)
            losses.total.backward()
        return read_terms(losses.terms)

    def evaluate(self, done: int) -> None:
        scores = self.evaluator.evaluate(self._model)
        if self.best.record_evaluation(done, scores):
            merged = self.evaluator.model
            state = merged.state_dict()
            write_model(self.run / "best", self.start, merged, state, self.metadata, self.taught)

    def save(self, done: int) -> None:
        fields = {"best": self.best.fields, "spent_s": self.spent_s}
        # Before the state: a resumed run then repeats at most one evaluation, with equal scores.
        write_file(self.run / _BEST, json.dumps(fields))
        super().save(done)

    def restore(self) -> int:
        done = super().restore()
        if done:
            path = self.run / _BEST
            try:
                fields = read_json(path)
                self.best.fields = {name: fields["best"][name] for name in ("step", "worth")}
                self._spent_before_s = float(fields["spent_s"])
            except (TypeError, KeyError) as error:
                raise ValueError(f"{path}: not the best checkpoint of a run ({error!r})") from error
        return done


def set_trained(
    model: MLLMSeg, trained: str, recipe: AdaptRecipe, answer_ids: tuple[int, int]
) -> None:
    """Choose what is trained. The model stays in evaluation mode: no dropout, fixed statistics.

    Args:
        model: the network; changed in place.
        trained: "all", "lora" or "decoder".
        recipe: for the rank of the adapters.
        answer_ids: token ids of [SEG] and [REJ].
    """
    if trained == "all":
        model.requires_grad_(True)
        return
    rank = recipe.lora_rank if trained == "lora" else 0
    choose_trained(model, Trained(lora_rank=rank, lora_dropout=0.0, answer_rows=True), answer_ids)
    model.eval()
    if trained == "decoder":
        model.language_model.requires_grad_(False)


def _open_cache(
    features: Path | None, run: Path, trained: str, model: MLLMSeg, recipe: AdaptRecipe
) -> FeatureCache | StateCache | None:
    """Open the cache of frozen outputs; None where they are computed anew."""
    if features is None and trained != "decoder":
        return None
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    folder = features or run / "features"
    cache: FeatureCache | StateCache
    if trained == "decoder":
        cache, note = StateCache(folder, model, dtype), ", prompts keep the deployed wording"
    else:
        cache, note = FeatureCache(folder, model, dtype), ""
    tqdm.write(f"frozen outputs are kept in {cache.folder}: images are not augmented{note}")
    return cache


def _mix(old: dict[str, Tensor], new: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Interpolate weights: a share of the new ones, the rest of the old ones.

    Source: Wortsman et al., WiSE-FT (arXiv 2109.01903): mixtures keep most of what is new
    and more of what was known.
    """
    return {
        name: torch.lerp(old[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in new.items()
    }


def _finish(
    trainer: _AdaptTrainer, trained: str, n_images: int, *, accept_worse: bool
) -> AdaptReport:
    """Mix the best checkpoint with the start, write the best mixture and the report."""
    run, evaluator, best = trainer.run, trainer.evaluator, trainer.best
    device = evaluator.segmenter.device
    old = load_model(trainer.start, device, torch.float32).state_dict()
    new = load_model(run / "best", device, torch.float32).state_dict()
    evaluations = []
    tqdm.write("evaluating mixtures of the best checkpoint and the model before training")
    for share in _SHARES:
        evaluator.model.load_state_dict(_mix(old, new, share))
        evaluations.append((share, evaluator.evaluate()))
    # Of equal scores the first wins, which is nearest to the best checkpoint.
    share, after = max(evaluations, key=lambda evaluation: best.selection_score(evaluation[1]))
    trainer.log.write({"share": share, "new": after.new.g_iou})
    mixed = _mix(old, new, share)
    evaluator.model.load_state_dict(mixed)
    before = best.before
    report = AdaptReport(
        trained=trained,
        n_images=n_images,
        step=best.fields["step"],
        share=share,
        minutes=trainer.spent_s / 60,
        new=(before.new, after.new),
        known=(before.known, after.known) if before.known and after.known else None,
        max_forgetting=trainer.recipe.max_forgetting,
    )
    if accept_worse or not report.is_worse:
        with replaced_folder(run / "model") as partial:
            write_model(
                partial, trainer.start, evaluator.model, mixed, trainer.metadata, trainer.taught
            )
            shutil.rmtree(run / "model", ignore_errors=True)  # the same one, of an ended run
    text = json.dumps(report.to_dict(), indent=2)
    write_file(run / "report.json", text.replace("NaN", "null") + "\n")
    start = Segmenter.from_pretrained(trainer.start, device=device, dtype=evaluator.segmenter.dtype)
    sheet = draw_before_after(start, evaluator.segmenter, evaluator.held_out, run / "before_after")
    write_image(run / "before_after.png", sheet)
    return report
