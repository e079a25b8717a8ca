# SPDX-License-Identifier: Apache-2.0
"""Teach a model one's own things from tens to hundreds of pictures.

The run folder holds ``recipe.json``, ``log.jsonl``, ``state.safetensors`` (the last checkpoint),
``best/`` (the best one so far) and at the end ``model/`` (for ``model:=``), ``report.json``,
``before_after.png`` and ``before_after/``. The same command resumes.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from mllmseg_ros.checkpoints.hub import checkpoint_name
from mllmseg_ros.checkpoints.loading import load_model
from mllmseg_ros.data.run_folder import check_resume_config, write_atomically
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.eval.dataset import ProtocolScores, evaluate_samples
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.precision import choose_device_and_dtype
from mllmseg_ros.model.prompt import PromptBuilder
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.train.adapt.batches import AdaptBatches
from mllmseg_ros.train.adapt.known import RehearsalSet, split_train_val
from mllmseg_ros.train.adapt.recipe import AdaptRecipe
from mllmseg_ros.train.adapt.report import AdaptReport, draw_before_after
from mllmseg_ros.train.adapt.step import adapt_losses, read_batch
from mllmseg_ros.train.feature_cache import FeatureCache, StateCache
from mllmseg_ros.train.lora import Trained, choose_trained, merged_state
from mllmseg_ros.train.run_state import fingerprint_of, read_training, write_training
from mllmseg_ros.train.write_model import Written, write_model

__all__ = ["adapt"]

_SMALL = 50_000_000  # parameters, up to which everything may be trained
_LARGEST_GRADIENT = 1.0
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)  # of the way from the start to the best checkpoint


def adapt(
    run: Path,
    start: Path,
    samples: Sequence[Sample],
    known: RehearsalSet | None,
    recipe: AdaptRecipe,
    features: Path | None = None,
    device: torch.device | str | None = None,
) -> AdaptReport:
    """Adapt, or go on adapting.

    Args:
        run: the run's folder; a run found there is resumed from its last checkpoint.
        start: checkpoint folder to start from.
        samples: one's own pictures; part of them is held out.
        known: what the model knows already; None where nothing is rehearsed or asked.
        recipe: the settings.
        features: folder to keep frozen outputs in, so that later epochs skip them: of the vision
            side where adapters are trained, of the language model too where the decoder alone is.
            Pictures are then not augmented. None computes them anew, but for the decoder alone,
            which keeps them in the run.
        device: for the model; None is the best there is.

    Raises:
        ValueError: if the run there has another recipe, everything is trained and outputs shall be
            kept, or data cannot be read.
    """
    began = time.monotonic()
    chosen_device, deployed = choose_device_and_dtype(device, None)
    model = load_model(start, chosen_device, torch.float32, checkpoint_name(start))
    trained = recipe.trained
    if trained == "auto":
        small = sum(each.numel() for each in model.parameters()) <= _SMALL
        trained = "all" if small else "lora"
    if features is not None and trained == "all":
        raise ValueError(
            "features are kept of what is frozen, and this recipe trains everything; set trained "
            "to lora or decoder"
        )
    told = {
        "start": str(start),
        "data": fingerprint_of(samples),
        "known": fingerprint_of(known.rehearsed, known.asked) if known else "none",
        "features": features is not None,
    }
    check_resume_config(run, {**asdict(recipe), **told})
    learnt, held_out = split_train_val(samples, recipe.held_out_share, recipe.seed)
    # What is shown things that are not there learns to say so.
    absent = any(target.region is None for sample in samples for target in sample.targets)
    judge = _Evaluator(start, chosen_device, deployed, held_out, known, can_reject=absent)
    before = judge.scores(None)
    tokenizer = Tokenizer.from_folder(start)
    prompts = PromptBuilder(tokenizer, model.config.prompt, model.config.n_image_tokens)
    answer_ids = (prompts.seg_id, prompts.rej_id)
    torch.manual_seed(recipe.seed)
    _choose(model, trained, recipe, answer_ids)
    half = recipe.precision == "bf16"
    kept = _kept(features or run / "features", trained, model, half, asked=features is not None)
    batches = AdaptBatches(
        learnt,
        known.rehearsed if known else (),
        prompts,
        model.config.image_size_px,
        recipe.seed,
        augment=kept is None,
        flip=recipe.flip,
    )
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    optimiser = torch.optim.AdamW(
        parameters.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    progress = _Progress(run, before, began)
    written = Written(
        name=f"{model.config.name}-{run.name}",
        can_reject=judge.segmenter.can_reject,
        synthetic_only=False,
    )
    first = progress.restore(parameters, optimiser)
    if kept is not None:
        states = isinstance(kept, StateCache)
        tqdm.write(
            f"frozen outputs are kept in {kept.folder}: pictures are not augmented"
            + (", questions keep the deployed prompt's wording" if states else "")
        )
    bar = tqdm(range(first, recipe.steps), initial=first, total=recipe.steps, mininterval=5)
    for step in bar:
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate_at(step)
        batch = batches.draw(step, recipe.pictures, recipe.expressions, recipe.rehearsal_share)
        # On a CPU the backward pass of plain matrix products beats that of fused attention.
        on_cpu = chosen_device.type == "cpu"
        with sdpa_kernel(SDPBackend.MATH) if on_cpu else nullcontext():
            with torch.autocast(chosen_device.type, torch.bfloat16, enabled=half):
                read = read_batch(model, batch, kept, chosen_device)
                losses = adapt_losses(model, batch, read, answer_ids)
            losses.total.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), _LARGEST_GRADIENT)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        bar.set_postfix({k: f"{v:.3f}" for k, v in losses.terms.items()}, refresh=False)
        progress.note({"step": step, **losses.terms})
        done = step + 1
        if done % recipe.evaluate_every == 0 or done == recipe.steps:
            after = judge.scores(model)
            if progress.looked(done, after, recipe.max_forgetting):
                write_model(run / "best", start, judge.model, judge.model.state_dict(), written)
            progress.save(done, parameters, optimiser)
    return _finish(run, start, judge, progress, trained, len(learnt), recipe, written)


@dataclass(frozen=True, kw_only=True)
class _Scores:
    new: ProtocolScores
    known: ProtocolScores | None


class _Evaluator:
    """Measures a model as it would be deployed: merged, in the number format of inference."""

    def __init__(
        self,
        start: Path,
        device: torch.device,
        dtype: torch.dtype,
        held_out: Sequence[Sample],
        known: RehearsalSet | None,
        *,
        can_reject: bool,
    ) -> None:
        self.model = load_model(start, device, dtype, checkpoint_name(start))
        self.segmenter = Segmenter(self.model, Tokenizer.from_folder(start))
        if can_reject:
            self.segmenter.can_reject = True
        self.held_out, self._known = held_out, known

    def scores(self, model: MLLMSeg | None) -> _Scores:
        """Of a model in training; None for the one that it started from."""
        if model is not None:
            self.model.load_state_dict(merged_state(model))
        return _Scores(
            new=self._asked(self.held_out),
            known=self._asked(self._known.asked) if self._known else None,
        )

    def _asked(self, samples: Sequence[Sample]) -> ProtocolScores:
        return evaluate_samples(self.segmenter, samples, ("deployment",)).scores[0]


class _Progress:
    """What a run has reached: its log, its state, its best checkpoint."""

    def __init__(self, run: Path, before: _Scores, began: float) -> None:
        self.before = before
        self.best: dict[str, Any] = {}
        self._state, self._log = run / "state.safetensors", run / "log.jsonl"
        self._seen = run / "best.json"
        self._spent_s, self._began = 0.0, began

    def restore(
        self, parameters: dict[str, torch.nn.Parameter], optimiser: torch.optim.Optimizer
    ) -> int:
        step = read_training(self._state, dict(parameters), optimiser)
        if not step:
            return 0
        fields = json.loads(self._seen.read_text(encoding="utf-8"))
        self.best, self._spent_s = fields["best"], fields["spent_s"]
        return step

    def save(
        self,
        done: int,
        parameters: dict[str, torch.nn.Parameter],
        optimiser: torch.optim.Optimizer,
    ) -> None:
        fields = {"best": self.best, "spent_s": self.spent_s}
        # Before the state: a resumed run then repeats at most a look, with the same outcome.
        write_atomically(self._seen, json.dumps(fields))
        write_training(self._state, done, dict(parameters), optimiser)

    def note(self, fields: dict[str, Any]) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(fields) + "\n")

    def looked(self, done: int, after: _Scores, max_forgetting: float) -> bool:
        """Take note of a checkpoint's scores; True where it is the best so far."""
        worth = self.worth(after, max_forgetting)
        lost = self._gained_on_known(after)
        fields = {"step": done, "new": after.new.g_iou, "known": None, "worth": worth}
        if after.known:
            fields["known"] = after.known.g_iou
        self.note({"looked": fields})
        tqdm.write(
            f"step {done}: gIoU {after.new.g_iou:.1f} on held-out pictures (before "
            f"{self.before.new.g_iou:.1f})"
            + (f", {lost:+.1f} on what the model knew" if after.known else "")
        )
        if self.best and worth <= self.best["worth"]:
            return False
        self.best = fields
        return True

    def worth(self, after: _Scores, max_forgetting: float) -> list[float]:
        """What a model is judged by, the greater the better.

        One that forgets too much comes after all that do not, by how much it forgets.
        """
        too_much = max(0.0, -self._gained_on_known(after) - max_forgetting)
        return [-too_much, after.new.g_iou]

    def _gained_on_known(self, after: _Scores) -> float:
        known = self.before.known
        return after.known.g_iou - known.g_iou if after.known and known else 0.0

    @property
    def spent_s(self) -> float:
        """Seconds, of a resumed run too."""
        return self._spent_s + time.monotonic() - self._began


def _between(old: dict[str, Tensor], new: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights that share of the way from the old to the new ones.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models": most of what is new is kept
    on the way, and more of what was known.
    """
    return {
        name: torch.lerp(old[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in new.items()
    }


def _choose(model: MLLMSeg, trained: str, recipe: AdaptRecipe, answer_ids: tuple[int, int]) -> None:
    """Set what is trained. The model stays in evaluation mode: no dropout, statistics kept."""
    if trained == "all":
        model.requires_grad_(True)
        return
    lora = recipe.lora_rank if trained == "lora" else 0
    choose_trained(model, Trained(lora_rank=lora, lora_dropout=0.0, answer_rows=True), answer_ids)
    model.eval()
    if trained == "decoder":
        model.language_model.requires_grad_(False)


def _kept(
    folder: Path, trained: str, model: MLLMSeg, half: bool, *, asked: bool
) -> FeatureCache | StateCache | None:
    dtype = torch.bfloat16 if half else torch.float32
    if trained == "decoder":
        return StateCache(folder, model, dtype)
    return FeatureCache(folder, model, dtype) if asked else None


def _finish(
    run: Path,
    start: Path,
    judge: _Evaluator,
    progress: _Progress,
    trained: str,
    n_learnt: int,
    recipe: AdaptRecipe,
    written: Written,
) -> AdaptReport:
    """Mix the best checkpoint with the start, put the best mixture in its place, draw it."""
    dtype, device = judge.segmenter.dtype, judge.segmenter.device
    old = load_model(start, device, torch.float32).state_dict()
    new = load_model(run / "best", device, torch.float32).state_dict()
    looks = []
    for share in _SHARES:
        judge.model.load_state_dict(_between(old, new, share))
        looks.append((share, judge.scores(None)))
    # Where two are worth the same, the one nearer to what was trained comes first.
    share, after = max(looks, key=lambda look: progress.worth(look[1], recipe.max_forgetting))
    progress.note({"share": share, "new": after.new.g_iou})
    shutil.rmtree(run / "model", ignore_errors=True)
    mixed = _between(old, new, share)
    write_model(run / "model.partial", start, judge.model, mixed, written)
    (run / "model.partial").rename(run / "model")
    judge.model.load_state_dict(mixed)
    spent_s = progress.spent_s
    before = progress.before
    report = AdaptReport(
        trained=trained,
        n_pictures=n_learnt,
        step=progress.best["step"],
        share=share,
        minutes=spent_s / 60,
        new=(before.new, after.new),
        known=(before.known, after.known) if before.known and after.known else None,
        max_forgetting=recipe.max_forgetting,
    )
    text = json.dumps(report.to_dict(), indent=2)
    (run / "report.json").write_text(text.replace("NaN", "null") + "\n", encoding="utf-8")
    as_it_was = Segmenter.from_pretrained(start, device=device, dtype=dtype)
    sheet = draw_before_after(as_it_was, judge.segmenter, judge.held_out, run / "before_after")
    cv2.imwrite(str(run / "before_after.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return report
