# SPDX-License-Identifier: Apache-2.0
"""From InternVL's layout to a trained MLLMSeg: start, train, kill, resume, load."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("peft", reason="needs requirements/train.txt")
pytest.importorskip("accelerate", reason="needs requirements/train.txt")
pytest.importorskip("tensorboard", reason="needs requirements/train.txt")
pytest.importorskip("pycocotools", reason="needs requirements/train.txt")

from mllmseg_ros.data.dataset import load_samples
from mllmseg_ros.data.region import encode
from mllmseg_ros.model.pixels import to_pixel_values
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.train.feature_cache import FeatureCache
from mllmseg_ros.train.lora import Trained, choose_trained, merged_state
from mllmseg_ros.train.paper.recipe import PaperRecipe
from mllmseg_ros.train.paper.start import start_from_internvl
from mllmseg_ros.train.paper.training import train_as_in_paper
from mllmseg_ros.train.recipe import RECIPES, read_recipe

TINY = read_recipe(
    PaperRecipe, "res", steps=4, precision="fp32", images=1, lora_rank=4, save_every=1
)


@pytest.fixture(scope="module")
def internvl(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as InternVL2.5 has it: chat tokens, no [SEG], no [REJ], no mask decoder."""
    folder = tmp_path_factory.mktemp("internvl") / "base"
    shutil.copytree(random_checkpoint, folder)
    path = folder / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[SEG]", "<|im_start|>").replace("[REJ]", "<|im_end|>"))
    tensors = load_file(folder / "model.safetensors")
    tensors = {k: v for k, v in tensors.items() if not k.startswith("res_decoder.")}
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def start(internvl: Path) -> Path:
    return start_from_internvl(internvl, internvl.parent / "start", seed=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import cv2

    folder = tmp_path_factory.mktemp("data")
    entries = []
    for index in range(3):
        image = np.full((40, 50, 3), 60 * index, np.uint8)
        image[10:20, 5 + 10 * index : 20 + 10 * index] = (0, 0, 255)
        cv2.imwrite(str(folder / f"{index}.png"), image)
        mask = (image == (0, 0, 255)).all(axis=2)
        for expression, there in (("the red bar", True), ("red", True), ("the moon", False)):
            region = encode(mask) if there else None
            entries.append({"image": f"{index}.png", "expression": expression, "mask": region})
    (folder / "annotations.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    return folder


def test_start_adds_two_tokens_and_a_decoder(internvl: Path, start: Path) -> None:
    before = load_file(internvl / "model.safetensors")
    after = load_file(start / "model.safetensors")
    head, table = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"
    n = len(before[head])
    assert len(after[head]) == len(after[table]) == n + 2
    for name, tensor in before.items():
        assert torch.equal(after[name][: len(tensor)] if tensor.ndim else after[name], tensor)
    assert torch.allclose(after[head][n], before[head].mean(dim=0), atol=1e-6)
    assert torch.equal(after[head][n], after[head][n + 1])
    assert after[table][n:].std() == pytest.approx(0.02, rel=0.3)
    segmenter = Segmenter.from_pretrained(start, device="cpu")
    assert (segmenter.prompts.seg_id, segmenter.prompts.rej_id) == (n, n + 1)
    with pytest.raises(ValueError, match="is not empty"):
        start_from_internvl(internvl, start)
    with pytest.raises(ValueError, match=r"has \[REJ\], \[SEG\] already"):
        start_from_internvl(start, internvl.parent / "again")


@pytest.fixture(scope="module")
def unbroken(start: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "unbroken"
    torch.set_num_threads(1)
    train_as_in_paper(run, start, [load_samples(data)], TINY)
    return run


def test_a_run_gives_a_model_in_the_published_layout(unbroken: Path, start: Path) -> None:
    before, after = (load_file(each / "model.safetensors") for each in (start, unbroken / "model"))
    assert before.keys() == after.keys()
    changed = {
        name
        for name, tensor in before.items()
        if not torch.equal(tensor.to(torch.bfloat16), after[name].to(torch.bfloat16))
    }
    assert any("res_decoder.conv1" in name for name in changed)
    assert any("self_attn.q_proj.weight" in name for name in changed)
    assert not any(name.startswith(("vision_model.", "mlp1.")) for name in changed)
    assert "language_model.lm_head.weight" not in changed
    (answer,) = Segmenter.from_pretrained(unbroken / "model", device="cpu")(
        np.zeros((40, 50, 3), np.uint8), ["the red bar"]
    )
    assert answer.mask.shape == (40, 50)
    lines = [json.loads(line) for line in (unbroken / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert {"loss", "text", "focal", "dice", "expressions_per_s"} <= set(lines[0])
    assert list((unbroken / "tensorboard").glob("events.*"))


def test_a_killed_run_repeats_the_unbroken_one(
    unbroken: Path, start: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    code = (
        "import sys, json, torch\n"
        "from pathlib import Path\n"
        "from mllmseg_ros.data.dataset import load_samples\n"
        "from mllmseg_ros.train.paper.training import train_as_in_paper\n"
        "from mllmseg_ros.train.paper.recipe import PaperRecipe\n"
        "torch.set_num_threads(1)\n"
        "run, start, data = map(Path, sys.argv[1:4])\n"
        "recipe = PaperRecipe(**json.loads(sys.argv[4]))\n"
        "train_as_in_paper(run, start, [load_samples(data)], recipe)\n"
    )
    command = [sys.executable, "-c", code, run, start, data, json.dumps(asdict(TINY))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen([str(each) for each in command], env=environment)
    deadline = time.monotonic() + 120
    while not (run / "state.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "model").exists()
    train_as_in_paper(run, start, [load_samples(data)], TINY)
    for name in ("state.safetensors", "model/model.safetensors"):
        once, twice = load_file(unbroken / name), load_file(run / name)
        assert once.keys() == twice.keys()
        assert all(torch.equal(once[key], tensor) for key, tensor in twice.items())


def test_another_recipe_or_start_is_refused(unbroken: Path, start: Path, data: Path) -> None:
    samples = [load_samples(data)]
    with pytest.raises(ValueError, match="another recipe: seed 0 there, 3 here"):
        train_as_in_paper(unbroken, start, samples, replace(TINY, seed=3))
    with pytest.raises(ValueError, match="recipe: start "):
        train_as_in_paper(unbroken, start.parent, samples, TINY)


def load_whole(start: Path) -> Segmenter:
    return Segmenter.from_pretrained(start, device="cpu", dtype="float32", whole_head=True)


@pytest.mark.parametrize("vision_lora", [False, True])
@pytest.mark.parametrize("answer_rows", [False, True])
def test_adapters_merge_into_the_same_network(
    start: Path, vision_lora: bool, answer_rows: bool
) -> None:
    segmenter = load_whole(start)
    model = segmenter.model
    ids = (segmenter.prompts.seg_id, segmenter.prompts.rej_id)
    trained = Trained(lora_rank=4, vision_lora=vision_lora, answer_rows=answer_rows)
    choose_trained(model, trained, ids)
    names = {name for name, each in model.named_parameters() if each.requires_grad}
    assert all("lora_" in n or "token" in n or n.startswith(("mask_d", "lang")) for n in names)
    assert any(n.startswith("vision_tower.") for n in names) == vision_lora
    assert any("trainable_tokens" in n for n in names) == answer_rows
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in names:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    (adapted,) = segmenter(image, ["the red bar"])
    plain = load_whole(start)
    plain.model.load_state_dict(merged_state(model), strict=True)
    (merged,) = plain(image, ["the red bar"])
    np.testing.assert_allclose(merged.probability, adapted.probability, atol=1e-4)
    head = plain.model.lm_head.weight
    assert torch.equal(head[ids[0]], head[ids[1]]) != answer_rows


def test_recipes_are_checked(tmp_path: Path) -> None:
    assert {path.stem for path in RECIPES.glob("*.yaml")} >= {"res", "gres"}
    res, gres = read_recipe(PaperRecipe, "res"), read_recipe(PaperRecipe, "gres")
    assert (res.steps, gres.steps) == (50_000, 20_000)
    assert replace(gres, steps=res.steps) == res
    assert (res.learning_rate, res.lora_rank, res.weight_decay) == (4e-5, 64, 0.05)
    text = (RECIPES / "res.yaml").read_text()
    own = tmp_path / "own.yaml"
    for changed, message in (
        (text.replace("seed: 0", "sead: 0"), "sead is not a field"),
        (text.replace("seed: 0", ""), "seed is missing"),
        (text.replace("steps: 50000", "steps: many"), "steps is 'many', expected int"),
        (text.replace("steps: 50000", "steps: true"), "steps is True, expected int"),
        (text.replace("steps: 50000", "steps: 0"), "steps is 0, accepted: 1 or more"),
        (text.replace("precision: bf16", "precision: fp8"), "precision is 'fp8'"),
        ("[1, 2", "not valid YAML"),
        ("[1, 2]", "expected fields and values"),
    ):
        own.write_text(changed)
        with pytest.raises(ValueError, match=message):
            read_recipe(PaperRecipe, str(own))
    with pytest.raises(ValueError, match="no recipe 'rez'; there are adapt, gres, res, tabletop"):
        read_recipe(PaperRecipe, "rez")


def test_the_schedule_warms_up_and_ends_at_nothing() -> None:
    recipe = read_recipe(PaperRecipe, "res", steps=100)
    rates = [recipe.learning_rate_at(step) for step in range(101)]
    assert rates[0] == 0
    assert rates[3] == max(rates) == pytest.approx(4e-5)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert isinstance(recipe, PaperRecipe)


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes 15 s: make slow")
def test_two_processes_train_one_model(start: Path, data: Path, tmp_path: Path) -> None:
    """Started as on several GPUs, here on the CPU: each draws its own images."""
    own = tmp_path / "own.yaml"
    text = (RECIPES / "res.yaml").read_text()
    for old, new in (
        ("steps: 50000", "steps: 2"),
        ("precision: bf16", "precision: fp32"),
        ("images: 4", "images: 1"),
        ("lora_rank: 64", "lora_rank: 2"),
    ):
        assert old in text
        text = text.replace(old, new)
    own.write_text(text)
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "mllmseg_ros.cli", "train", "res", str(run)]
    command += ["--from", str(start), "--data", str(data), "--recipe", str(own)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (run / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1]
    assert Segmenter.from_pretrained(run / "model", device="cpu").name.endswith("-run")


def test_kept_features_change_nothing_but_the_time(
    start: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(TINY, recompress=False, steps=3)
    samples = [load_samples(data)]
    plain = train_as_in_paper(tmp_path / "plain", start, samples, recipe)
    kept = train_as_in_paper(tmp_path / "kept", start, samples, recipe, tmp_path / "features")
    assert "images are not augmented" in capsys.readouterr().out
    once, twice = (load_file(folder / "model.safetensors") for folder in (plain, kept))
    assert all(torch.equal(once[name], tensor) for name, tensor in twice.items())
    files = list((tmp_path / "features").rglob("*.safetensors"))
    assert 1 <= len(files) <= 3
    assert not list((tmp_path / "features").rglob("*.partial"))
    with pytest.raises(ValueError, match="set recompress to false"):
        train_as_in_paper(tmp_path / "jpeg", start, samples, TINY, tmp_path / "features")
    assert not (tmp_path / "jpeg").exists()
    lora = replace(recipe, vision_lora=True)
    with pytest.raises(ValueError, match=r"cannot be kept: vision_tower\..* is trained"):
        train_as_in_paper(tmp_path / "vision", start, samples, lora, tmp_path / "features")


def test_features_are_of_one_model_one_format_and_one_image(start: Path, tmp_path: Path) -> None:
    model = Segmenter.from_pretrained(start, device="cpu", dtype="float32").model
    squares = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    cache = FeatureCache(tmp_path, model, torch.float32)
    tokens, embeds = cache.encode_vision(squares)
    with torch.inference_mode():
        wanted = model.encode_vision(to_pixel_values(squares[:1]))
    assert torch.equal(tokens[:1], wanted[0])
    assert torch.equal(embeds[:1], wanted[1])
    again = FeatureCache(tmp_path, model, torch.float32)
    assert torch.equal(again.encode_vision(squares)[0], tokens)
    assert (cache.n_computed, again.n_computed) == (2, 0)
    half = FeatureCache(tmp_path, model, torch.bfloat16)
    assert half.encode_vision(squares)[0].dtype == torch.bfloat16
    assert half.n_computed == 2
    with torch.no_grad():
        model.projector[1].bias.add_(1)
    other = FeatureCache(tmp_path, model, torch.float32)
    assert not torch.equal(other.encode_vision(squares)[1], embeds)
