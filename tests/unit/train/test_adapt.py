# SPDX-License-Identifier: Apache-2.0
"""An adaptation: it learns what it is shown, keeps what it must, resumes, and reports both."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("peft", reason="needs requirements/train.txt")
pytest.importorskip("pycocotools", reason="needs requirements/train.txt")

from mllmseg_ros.cli import main
from mllmseg_ros.data.dataset import load_samples
from mllmseg_ros.data.region import encode
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.eval.dataset_report import ProtocolScores
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.train.adapt import adapt as adapting
from mllmseg_ros.train.adapt import rehearsal
from mllmseg_ros.train.adapt.adapt import adapt
from mllmseg_ros.train.adapt.batches import AdaptBatches
from mllmseg_ros.train.adapt.evaluation import BestCheckpoint, Evaluator, Scores
from mllmseg_ros.train.adapt.recipe import AdaptRecipe
from mllmseg_ros.train.adapt.rehearsal import RehearsalSet, split_train_val
from mllmseg_ros.train.adapt.report import AdaptReport
from mllmseg_ros.train.adapt.step import read_batch
from mllmseg_ros.train.augment import jitter_colors, random_window
from mllmseg_ros.train.feature_cache import StateCache
from mllmseg_ros.train.recipe import RECIPES, read_recipe
from mllmseg_ros.train.training_log import TrainingLog

TINY = read_recipe(
    AdaptRecipe, "adapt", steps=4, images=3, expressions=2, evaluate_every=2, precision="fp32"
)
LEFT, RIGHT = "the bar on the left", "the bar on the right"


def write_images(folder: Path, n: int, first: int = 0) -> list[Sample]:
    """Two bars on each image, one a side."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for index in range(first, first + n):
        image = np.full((40, 60, 3), 40 + 20 * (index % 5), np.uint8)
        image[8:32, 6 + index % 4 : 18 + index % 4] = (0, 0, 220)
        image[8:32, 40:52] = (220, 0, 0)
        cv2.imwrite(str(folder / f"{index}.png"), image)
        red, blue = (image == (0, 0, 220)).all(axis=2), (image == (220, 0, 0)).all(axis=2)
        for said, mask in ((["the gizmo", LEFT], red), ([RIGHT], blue), (["the moon"], None)):
            region = None if mask is None else encode(mask)
            entries.append({"image": f"{index}.png", "expressions": said, "mask": region})
    text = "".join(json.dumps(each) + "\n" for each in entries)
    (folder / "annotations.jsonl").write_text(text, encoding="utf-8")
    return load_samples(folder)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_images(tmp_path_factory.mktemp("new"), 6)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> RehearsalSet:
    samples = write_images(tmp_path_factory.mktemp("known"), 3, first=20)
    return RehearsalSet(train=tuple(samples[:2]), val=tuple(samples[2:]))


@pytest.fixture(scope="module")
def adapted(
    random_checkpoint: Path,
    new: list[Sample],
    known: RehearsalSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, AdaptReport]:
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("adapted") / "run"
    return run, adapt(run, random_checkpoint, new, known, TINY, device="cpu", accept_worse=True)


def test_a_run_gives_a_model_a_report_and_images(
    adapted: tuple[Path, AdaptReport], random_checkpoint: Path
) -> None:
    run, report = adapted
    segmenter = Segmenter.from_pretrained(run / "model", device="cpu")
    assert len(segmenter(np.zeros((40, 60, 3), np.uint8), ["the gizmo"])) == 1
    fields = json.loads((run / "model" / "config.json").read_text())["mllmseg"]
    assert fields["name"].endswith("-run")
    assert fields["can_reject"]  # it was shown the moon, which is not there
    assert not fields["synthetic_only"]
    assert not (run / "model" / "recipe.json").exists()
    assert report.trained == "all"
    assert report.n_images == 5
    assert report.step in (2, 4)
    assert report.share in (1.0, 0.9, 0.8, 0.7)
    start, best, kept = (
        load_file(folder / "model.safetensors")["res_decoder.text_down.weight"].float()
        for folder in (random_checkpoint, run / "best", run / "model")
    )
    torch.testing.assert_close(kept, torch.lerp(start, best, report.share), atol=1e-3, rtol=1e-2)
    assert report.new[0].n == report.new[1].n == 4  # one image is held out
    assert report.known is not None
    fields = json.loads((run / "report.json").read_text())
    assert fields["new"][1]["g_iou"] == pytest.approx(report.new[1].g_iou)
    drawn = sorted((run / "before_after").glob("*.png"))
    assert drawn[0].name == "0000_the_gizmo.png"
    assert len(drawn) == 4
    height, width, _ = cv2.imread(str(drawn[0])).shape
    assert height > 40
    assert width > 2 * 60  # before and after, with captions
    assert cv2.imread(str(run / "before_after.png")) is not None
    assert "known before, after" in str(report)


def test_an_interrupted_run_repeats_the_unbroken_one(
    adapted: tuple[Path, AdaptReport],
    random_checkpoint: Path,
    new: list[Sample],
    known: RehearsalSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(1)
    run = tmp_path / "run"
    real, calls = adapting.adapt_losses, []

    def dying(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(adapting, "adapt_losses", dying)
    with pytest.raises(KeyboardInterrupt):
        adapt(run, random_checkpoint, new, known, TINY, device="cpu")
    monkeypatch.setattr(adapting, "adapt_losses", real)
    measured: list[str] = []
    real_evaluate = Evaluator.evaluate

    def evaluate(evaluator: Evaluator, model: Any = None) -> Scores:
        measured.append("start" if model is None else "in training")
        return real_evaluate(evaluator, model)

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    report = adapt(run, random_checkpoint, new, known, TINY, device="cpu", accept_worse=True)
    assert measured == ["in training", *["start"] * 5]  # and the five mixtures: not "before" again
    assert report.new[1].g_iou == adapted[1].new[1].g_iou
    for name in ("state.safetensors", "model/model.safetensors"):
        once, twice = load_file(adapted[0] / name), load_file(run / name)
        assert once.keys() == twice.keys()
        assert all(torch.equal(once[key], tensor) for key, tensor in twice.items()), name
    with pytest.raises(ValueError, match="another recipe"):
        adapt(run, random_checkpoint, new, known, replace(TINY, seed=1), device="cpu")
    with pytest.raises(ValueError, match="another recipe: data "):
        adapt(run, random_checkpoint, new[:-1], known, TINY, device="cpu")


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes 20 s: make slow")
def test_shown_often_it_is_learnt(
    random_checkpoint: Path, new: list[Sample], tmp_path: Path
) -> None:
    recipe = replace(TINY, steps=30, evaluate_every=30, images=4, expressions=4)
    adapt(tmp_path / "run", random_checkpoint, new, None, recipe, device="cpu")
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = [each["loss"] for each in map(json.loads, lines) if "loss" in each]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:3])


@pytest.mark.parametrize("trained", ["lora", "decoder"])
def test_what_is_frozen_stays(
    random_checkpoint: Path, new: list[Sample], tmp_path: Path, trained: str
) -> None:
    recipe = replace(TINY, trained=trained, lora_rank=2, steps=2)
    features = tmp_path / "features"
    run = tmp_path / "run"
    report = adapt(run, random_checkpoint, new, None, recipe, features, "cpu", accept_worse=True)
    assert report.trained == trained
    assert "not measured: name a data set with --keep" in str(report)
    assert list(features.rglob("*.safetensors"))
    before = load_file(random_checkpoint / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {
        name
        for name, tensor in before.items()
        if not torch.equal(tensor.to(torch.bfloat16), after[name].to(torch.bfloat16))
    }
    groups = {
        "language_model.lm_head.weight": "head",
        "language_model.model.embed_tokens.weight": "embeddings",
    }
    parts = {groups.get(name, name.split(".")[0]) for name in changed}
    assert "res_decoder" in parts
    assert "vision_model" not in parts
    assert "mlp1" not in parts
    assert ("language_model" in parts) == (trained == "lora")
    head = "language_model.lm_head.weight"
    rows = (before[head].to(torch.bfloat16) != after[head].to(torch.bfloat16)).any(dim=1)
    segmenter = Segmenter.from_pretrained(random_checkpoint, device="cpu")
    answers = {segmenter.prompts.seg_id, segmenter.prompts.rej_id}
    assert set(rows.nonzero().flatten().tolist()) == answers


def batches_of(segmenter: Segmenter, samples: list[Sample], **settings: bool) -> AdaptBatches:
    return AdaptBatches(samples, (), segmenter.prompts, 224, 0, **settings)


def test_kept_states_are_what_is_computed(
    random_segmenter: Segmenter, new: list[Sample], tmp_path: Path
) -> None:
    model, cpu = random_segmenter.model, torch.device("cpu")
    batch = batches_of(random_segmenter, new, augment=False).draw(0, 3, 3, 0.0)
    first = StateCache(tmp_path, model, torch.float32)
    fresh = read_batch(model, batch, first, cpu)
    n_questions = len({(id(row), p.input_ids) for row in batch.prompts for p in row})
    assert 3 <= first.n_computed <= 3 + n_questions
    second = StateCache(tmp_path, model, torch.float32)
    again = read_batch(model, batch, second, cpu)
    assert second.n_computed == 0
    for name in ("tokens", "image_states", "states"):
        assert torch.equal(getattr(fresh, name), getattr(again, name)), name
    # One pass over all expressions of an image says the same as one pass each.
    with torch.inference_mode():
        packed = read_batch(model, batch, None, cpu)
    torch.testing.assert_close(packed.states, fresh.states, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed.image_states, fresh.image_states, atol=1e-4, rtol=1e-4)
    half = StateCache(tmp_path, model, torch.bfloat16)
    assert read_batch(model, batch, half, cpu).states.dtype == torch.bfloat16


def test_two_processes_may_keep_the_same(
    random_segmenter: Segmenter, new: list[Sample], tmp_path: Path
) -> None:
    model = random_segmenter.model
    batch = batches_of(random_segmenter, new, augment=False).draw(0, 1, 1, 0.0)
    one, other = (StateCache(tmp_path, model, torch.float32) for _ in range(2))
    wanted = one.read(batch.squares, batch.prompts)
    for path in tmp_path.rglob("*.safetensors"):  # as if the other had not seen it yet
        path.with_suffix(".1.partial").write_bytes(b"half")
        path.unlink()
    got = other.read(batch.squares, batch.prompts)
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


def test_batches_are_of_step_and_seed_and_mirror_what_names_no_side(
    random_segmenter: Segmenter, new: list[Sample], known: RehearsalSet
) -> None:
    def draw(step: int, **settings: bool) -> object:
        return batches_of(random_segmenter, new, **settings).draw(step, 4, 4, 0.0)

    assert torch.equal(draw(1).squares, draw(1).squares)  # type: ignore[attr-defined]
    assert not torch.equal(draw(1).squares, draw(2).squares)  # type: ignore[attr-defined]
    # Half of the images of which nothing names a side are mirrored, masks with them.
    plain = [
        replace(
            sample,
            targets=tuple(
                replace(t, expressions=t.expressions[:1])
                for t in sample.targets
                if t.expressions[0] == "the gizmo"
            ),
        )
        for sample in new
    ]
    sides = []
    for step in range(12):
        batch = AdaptBatches(plain, (), random_segmenter.prompts, 224, 0).draw(step, 2, 1, 0.0)
        for square, target in zip(batch.squares, batch.target, strict=True):
            red = square[..., 0].float() - square[..., 2].float() > 60
            assert (red & target).sum() > 0.6 * (red | target).sum()
            sides.append(bool(target[:, :112].sum() > target[:, 112:].sum()))
    assert 4 < sum(sides) < 20
    for words in ("leftmost gizmo", "Right-hand one.", "is it on the left?"):
        named = [
            replace(sample, targets=tuple(replace(t, expressions=(words,)) for t in sample.targets))
            for sample in plain
        ]
        batches = AdaptBatches(named, (), random_segmenter.prompts, 224, 0)
        drawn = [batches.draw(step, 2, 1, 0.0).target for step in range(6)]
        assert all((each[..., :112].sum() > each[..., 112:].sum()) for each in drawn), words
    everything = draw(3)  # all expressions of an image, sides among them: never mirrored
    middle = everything.target.float().mean(dim=1)  # type: ignore[attr-defined]
    texts = [p.expressions[0] for row in everything.prompts for p in row]  # type: ignore[attr-defined]
    there = everything.has_target.tolist()  # type: ignore[attr-defined]
    named = [text for text, yes in zip(texts, there, strict=True) if yes]
    for text, columns in zip(named, middle, strict=True):
        on_left = columns[:112].sum() > columns[112:].sum()
        assert bool(on_left) == (text != RIGHT), text
    assert there == [text != "the moon" for text in texts]
    rehearsing = AdaptBatches(new, known.train, random_segmenter.prompts, 224, 0)
    assert len(rehearsing.draw(0, 4, 1, 0.5).prompts) == 4


def test_augmentation_keeps_what_must_stay() -> None:
    rng = np.random.default_rng(0)
    kept = np.zeros((50, 80), np.bool_)
    kept[20:30, 60:79] = True
    for _ in range(50):
        top, bottom, left, right = random_window(kept, rng)
        assert kept[top:bottom, left:right].sum() == kept.sum()
        assert bottom - top >= 0.6 * 50
        assert right - left >= 0.6 * 80
    grey = np.full((20, 20, 3), 120, np.uint8)
    means = [jitter_colors(grey, rng).mean() for _ in range(40)]
    assert min(means) < 105
    assert max(means) > 130


def test_simulated_scenes_are_rendered_once_and_again_where_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "_TRAIN", (("train", 2, 3), ("varied_train", 1, 3)))
    monkeypatch.setattr(rehearsal, "_VAL", (("test", 1, 3),))
    first = rehearsal.render_rehearsal_set(tmp_path)
    if first is None:
        pytest.skip("no simulator or no off-screen OpenGL")
    assert (len(first.train), len(first.val)) == (3, 1)
    before = (tmp_path / "train" / "annotations.jsonl").stat().st_mtime_ns
    (tmp_path / "test" / "done").unlink()  # as if that one had been cut off
    again = rehearsal.render_rehearsal_set(tmp_path)
    assert again == first
    assert (tmp_path / "train" / "annotations.jsonl").stat().st_mtime_ns == before
    monkeypatch.setattr(rehearsal.importlib.util, "find_spec", lambda name: None)
    assert rehearsal.render_rehearsal_set(tmp_path) is None


def scores(g_iou: float) -> ProtocolScores:
    return ProtocolScores(
        protocol="deployment",
        task="GRES",
        n=4,
        n_empty=1,
        c_iou=g_iou,
        g_iou=g_iou,
        precision_at_half=50.0,
        n_acc=100.0,
        t_acc=float("nan"),
        presence=float("nan"),
        ms_per_expression=1.0,
    )


def test_the_best_checkpoint_is_good_and_forgets_little(tmp_path: Path) -> None:
    def both(new: float, known: float) -> Scores:
        return Scores(new=scores(new), known=scores(known))

    best = BestCheckpoint(both(20, 80), 2.0, TrainingLog(tmp_path))
    assert best.record_evaluation(1, both(60, 70))  # forgets, but is the first
    assert best.record_evaluation(2, both(40, 79))
    assert not best.record_evaluation(3, both(70, 75))
    assert best.record_evaluation(4, both(50, 78.5))
    assert best.fields["step"] == 4
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert first == {"looked": {"step": 1, "new": 60, "known": 70, "worth": [-8.0, 60]}}


def test_a_worse_model_is_not_written(
    random_checkpoint: Path,
    new: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.set_num_threads(1)
    levels = iter([50.0, 40.0, *[40.0] * 5, *[40.0] * 5])
    monkeypatch.setattr(
        Evaluator, "evaluate", lambda *_: Scores(new=scores(next(levels)), known=None)
    )
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(new[0].image.parent, data)
    monkeypatch.setattr(rehearsal, "render_rehearsal_set", lambda folder: None)
    command = ["adapt", str(data), str(run), "--model", str(random_checkpoint), "--device", "cpu"]
    (run / "model").mkdir(parents=True)
    (run / "model" / "of_before").write_text("")
    assert main([*command, "--steps", "1"]) == 3
    out, err = capsys.readouterr()
    assert "WARNING: worse than before: gIoU 40.0 on held-out images, 50.0 before" in out
    assert f"{random_checkpoint} stays in use, {run / 'model'} is not written" in err
    assert [each.name for each in (run / "model").iterdir()] == ["of_before"]
    assert json.loads((run / "report.json").read_text())["new"][1]["g_iou"] == 40.0
    assert main([*command, "--steps", "1", "--accept-worse"]) == 0  # "before" is not measured again
    assert (run / "model" / "model.safetensors").is_file()
    assert str(run / "model") in capsys.readouterr().out


def test_words_that_were_taught_are_known_beside_the_old_ones(
    random_checkpoint: Path, new: list[Sample], tmp_path: Path
) -> None:
    start = tmp_path / "start"
    shutil.copytree(random_checkpoint, start)
    fields = json.loads((start / "config.json").read_text())
    fields["mllmseg"] = {**fields.get("mllmseg", {}), "known_words": ["the", "mug"]}
    (start / "config.json").write_text(json.dumps(fields))
    recipe = replace(TINY, steps=1, evaluate_every=1)
    run = tmp_path / "run"
    adapt(run, start, new, None, recipe, device="cpu", accept_worse=True)
    for folder in ("model", "best"):
        words = json.loads((run / folder / "config.json").read_text())["mllmseg"]["known_words"]
        assert words == sorted({"the", "mug", "gizmo", "bar", "on", "left", "right", "moon"})
    segmenter = Segmenter.from_pretrained(run / "model", device="cpu")
    assert segmenter.unknown_words("the mug and the gizmo") == ["and"]


def test_forgetting_is_warned_of() -> None:
    report = AdaptReport(
        trained="all",
        n_images=40,
        step=80,
        share=0.9,
        minutes=1.0,
        new=(scores(20), scores(60)),
        known=(scores(80), scores(70)),
        max_forgetting=2.0,
    )
    assert "WARNING: 10.0 points of gIoU lost" in str(report)
    assert report.is_worse
    assert not replace(report, known=None).is_worse
    assert replace(report, known=None, new=(scores(60), scores(59))).is_worse
    assert "WARNING" not in str(replace(report, known=(scores(80), scores(79))))


def test_bad_use_is_named(random_checkpoint: Path, new: list[Sample], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ValueError, match="this recipe trains everything"):
        adapt(run, random_checkpoint, new, None, TINY, tmp_path / "features", "cpu")
    with pytest.raises(ValueError, match="1 image: at least 2"):
        adapt(run, random_checkpoint, new[:1], None, TINY, device="cpu")
    with pytest.raises(ValueError, match="trained is 'some', accepted: auto, all, lora, decoder"):
        replace(TINY, trained="some")
    learnt, held = split_train_val(new, 0.3, 0)
    assert len(learnt) == 4
    assert len(held) == 2
    assert not {each.image for each in learnt} & {each.image for each in held}


def test_command(
    random_checkpoint: Path,
    new: list[Sample],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep = tmp_path / "keep"
    write_images(keep, 2, first=30)
    data = tmp_path / "data"
    shutil.copytree(new[0].image.parent, data)
    arguments = ["adapt", str(data), str(tmp_path / "run"), "--keep", str(keep), "--steps", "1"]
    arguments += ["--accept-worse"]
    assert main([*arguments, "--model", str(random_checkpoint), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "new, held out, before" in out
    assert str(tmp_path / "run" / "model") in out


def test_a_recipe_and_a_run_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    text = (RECIPES / "adapt.yaml").read_text(encoding="utf-8")
    former = tmp_path / "former.yaml"
    former.write_text(text.replace("max_forgetting: 2.0", "forget_at_most: 3.5"))
    with pytest.warns(FutureWarning, match="forget_at_most is max_forgetting now"):
        recipe = read_recipe(AdaptRecipe, str(former))
    assert recipe.max_forgetting == 3.5
    former.write_text(text + "forget_at_most: 3.5\n")
    with pytest.raises(ValueError, match="forget_at_most is not a field"):
        read_recipe(AdaptRecipe, str(former))
    TINY.check_run(tmp_path / "run", start="a")
    path = tmp_path / "run" / "recipe.json"
    path.write_text(path.read_text().replace("max_forgetting", "forget_at_most"))
    TINY.check_run(tmp_path / "run", start="a")
    with pytest.raises(ValueError, match=r"max_forgetting 2\.0 there, 3\.0 here"):
        replace(TINY, max_forgetting=3.0).check_run(tmp_path / "run", start="a")
