# SPDX-License-Identifier: Apache-2.0
"""The training run: it learns, resumes exactly, and refuses what does not fit."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mllmseg_ros.language.vocabulary import COLORS, KINDS
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.dataset import SceneCache
from mllmseg_ros.sim.view import VisibleObject
from mllmseg_ros.train.recipe import read_recipe
from mllmseg_ros.train.tabletop import scenes as scenes_module
from mllmseg_ros.train.tabletop.curve import draw_curve
from mllmseg_ros.train.tabletop.recipe import TabletopRecipe
from mllmseg_ros.train.tabletop.training import TabletopTrainer, train_tabletop

TINY = TabletopRecipe(
    scenes=6,
    validation_scenes=3,
    head_steps=0,
    dense_steps=2,
    joint_steps=2,
    easy_steps=1,
    varied_steps=1,
    varied_share=0.5,
    wide_steps=1,
    wide_share=0.5,
    no_target_share=0.2,
    joint_rate=0.6,
    averaged=False,
    keep_vision=0.0,
    keep_language=0.0,
    seed=0,
    dense_images=2,
    joint_images=2,
    expressions=3,
    drawn=2,
)
SIDE = 224


def write_scenes(folder: Path, n: int) -> None:
    """A split in the rendered format: coloured rectangles, so that no OpenGL is needed."""
    shard = folder / "00000"
    shard.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder)))
    rgb = rng.integers(60, 90, (n, SIDE, SIDE, 3), dtype=np.uint8)
    instances = np.zeros((n, SIDE, SIDE), np.uint8)
    lines = []
    for scene in range(n):
        objects = []
        for k in range(1, 5):
            u, v = 20 + 50 * (k - 1), int(rng.integers(20, 150))
            instances[scene, v : v + 45, u : u + 40] = k
            rgb[scene, v : v + 45, u : u + 40] = rng.integers(0, 256, 3)
            color, kind = COLORS[int(rng.integers(len(COLORS)))], KINDS[int(rng.integers(11))]
            objects.append(
                VisibleObject(
                    instance_id=k,
                    kind=kind,
                    color=color,
                    size_name="small",
                    scale=0.8,
                    centroid_uv=((u + 20) / SIDE, (v + 22) / SIDE),
                    area_share=40 * 45 / SIDE**2,
                    visible_share=1.0,
                    depth_m=0.5 + 0.1 * k,
                    position_m=(0.0, 0.0, 0.5 + 0.1 * k),
                    nameable=True,
                ).to_dict()
            )
        lines.append(json.dumps({"split": "train", "seed": scene, "objects": objects}) + "\n")
    np.save(shard / "rgb.npy", rgb)
    np.save(shard / "instances.npy", instances)
    (shard / "scenes.jsonl").write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder / "train", 6)
    write_scenes(folder / "validation", 3)
    write_scenes(folder / "varied_train", 6)
    write_scenes(folder / "varied_validation", 3)
    write_scenes(folder / "wide_train", 6)
    write_scenes(folder / "wide_validation", 3)
    assert len(SceneCache(folder / "train")) == 6
    return folder


@pytest.fixture(scope="module")
def unbroken(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "unbroken"
    train_tabletop(run, scenes, TINY, threads=1)
    return run


def test_a_run_gives_a_model_that_answers(unbroken: Path) -> None:
    segmenter = Segmenter.from_pretrained(unbroken / "model", device="cpu")
    assert segmenter.can_reject
    assert segmenter.synthetic_only
    (answer,) = segmenter(np.zeros((48, 64, 3), np.uint8), ["the red mug"])
    assert 0 < answer.score < 1
    log = [json.loads(line) for line in (unbroken / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [0, 1, 2, 3, 4, 5]
    assert {"cIoU", "N_acc", "T_acc", "kind_acc"} <= set(log[-3]["validation"])
    assert log[-2]["varied_validation"].keys() == log[-3]["validation"].keys()
    assert log[-1]["wide_validation"].keys() == log[-3]["validation"].keys()
    assert cv2.imread(str(unbroken / "curve.png")).shape[0] > 900  # three plots


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes two minutes: make slow")
def test_an_interrupted_run_repeats_the_unbroken_one(
    unbroken: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "interrupted"
    monkeypatch.setattr(TabletopTrainer, "save_every_s", 0.0)
    real_step, calls = TabletopTrainer.compute_gradients, []

    def dying_step(trainer: TabletopTrainer, step: int) -> dict[str, float]:
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real_step(trainer, step)

    monkeypatch.setattr(TabletopTrainer, "compute_gradients", dying_step)
    with pytest.raises(KeyboardInterrupt):
        train_tabletop(run, scenes, TINY, threads=1)
    monkeypatch.setattr(TabletopTrainer, "compute_gradients", real_step)
    train_tabletop(run, scenes, TINY, threads=1)
    once, twice = (load_file(folder / "state.safetensors") for folder in (unbroken, run))
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[name], tensor) for name, tensor in twice.items())


def test_a_run_from_a_checkpoint_begins_with_the_heads_alone(
    unbroken: Path, scenes: Path, tmp_path: Path
) -> None:
    start = unbroken / "model"
    recipe = replace(TINY, head_steps=2, dense_steps=0, joint_steps=0, varied_steps=0, wide_steps=0)
    model = train_tabletop(tmp_path / "run", scenes, recipe, start=start, threads=1)
    before, after = (load_file(folder / "model.safetensors") for folder in (start, model))
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    losses = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert losses[1]["dense"] < losses[0]["dense"]


def test_a_short_run_writes_the_mean_of_its_weights_mixed_with_the_start(
    unbroken: Path, scenes: Path, tmp_path: Path
) -> None:
    start = unbroken / "model"
    recipe = replace(
        TINY,
        dense_steps=0,
        joint_steps=0,
        varied_steps=0,
        wide_steps=2,
        averaged=True,
        keep_vision=0.75,
        keep_language=1.0,
    )
    model = train_tabletop(tmp_path / "run", scenes, recipe, start=start, threads=1)
    before, after = (load_file(folder / "model.safetensors") for folder in (start, model))
    state = load_file(tmp_path / "run" / "state.safetensors")
    name = "res_decoder.text_down.weight"
    last, mean = (
        state[f"learner.{part}.mask_decoder.text_down.weight"] for part in ("model", "mean")
    )
    assert not torch.equal(last, mean)
    mixed = 0.75 * before[name].float() + 0.25 * mean
    torch.testing.assert_close(after[name].float(), mixed, atol=1e-3, rtol=0)  # float16 there
    assert not torch.equal(after[name], before[name])
    head = "language_model.lm_head.weight"
    assert torch.equal(after[head], before[head])


def test_a_recipe_that_keeps_weights_of_the_start_needs_one(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name its checkpoint by --from"):
        train_tabletop(tmp_path / "run", scenes, replace(TINY, keep_vision=0.5))
    assert not (tmp_path / "run").exists()


def test_another_recipe_is_refused(unbroken: Path, scenes: Path) -> None:
    with pytest.raises(ValueError, match="another recipe: seed 0 there, 1 here"):
        train_tabletop(unbroken, scenes, replace(TINY, seed=1))


def test_missing_scenes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rendered scenes"):
        train_tabletop(tmp_path / "run", tmp_path, TINY)
    assert not (tmp_path / "run").exists()


def test_a_curve_needs_scores_and_draws_them(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 0, "loss": 1.0}\n')
    with pytest.raises(ValueError, match="nothing was validated yet"):
        draw_curve(log)
    scores = {"cIoU": 0.5, "kind_acc": 0.9}
    lines = [{"step": step, "validation": scores} for step in (399, 799)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    blue = (draw_curve(log) == (30, 110, 220)).all(axis=2)
    assert blue.any(axis=0).sum() > 300  # a line from half of the plot to its end
    assert blue[: blue.shape[0] // 2 + 5].any()


def test_scenes_are_rendered_where_none_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        scenes_module, "render_dataset", lambda *a, **k: asked.append((*a[1:], *k.values()))
    )
    scenes_module.render_scenes(tmp_path, replace(TINY, scenes=2500))
    assert [each[0] for each in asked] == [
        "train",
        "validation",
        "varied_train",
        "varied_validation",
        "wide_train",
        "wide_validation",
    ]
    assert asked[0][1:3] == (0, 2500)
    assert asked[1][1:] == (0, 3, 1)


def test_learning_rate_factor() -> None:
    recipe = replace(TINY, dense_steps=100, joint_steps=200, varied_steps=300, wide_steps=400)
    assert recipe.learning_rate_at(0) == pytest.approx(1 / 20)
    assert recipe.learning_rate_at(99) == 1.0
    assert recipe.learning_rate_at(100) == pytest.approx(0.6 / 50)
    assert recipe.learning_rate_at(200) == pytest.approx(0.6)
    assert 0 < recipe.learning_rate_at(299) < 0.02
    assert recipe.learning_rate_at(300) == pytest.approx(0.6 / 50)
    assert recipe.learning_rate_at(400) == pytest.approx(0.6)
    assert 0 < recipe.learning_rate_at(599) < 0.02
    assert recipe.learning_rate_at(600) == pytest.approx(0.6 / 50)
    assert recipe.learning_rate_at(700) == pytest.approx(0.6)
    assert 0 < recipe.learning_rate_at(999) < 0.02
    assert replace(recipe, averaged=True).learning_rate_at(999) == pytest.approx(0.6)


def test_shipped_recipe_is_read_and_checked() -> None:
    assert read_recipe(TabletopRecipe, "tabletop_wide").averaged
    recipe = read_recipe(TabletopRecipe, "tabletop")
    assert recipe.shares(0) == (1.0,)
    assert recipe.shares(recipe.steps - recipe.wide_steps - 1) == (0.25, 0.75)
    assert recipe.shares(recipe.steps - 1) == pytest.approx((0.2, 0.2, 0.6))
    with pytest.raises(ValueError, match="varied_share is 2, accepted: 0 to 1"):
        read_recipe(TabletopRecipe, "tabletop", varied_share=2)
