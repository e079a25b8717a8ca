# SPDX-License-Identifier: Apache-2.0
"""Training steps on a fake GPU, under CUDA's rules of autocast, which differ from the CPU's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from fake_cuda import (
    MODELS,
    FakeCuda,
    cuda_autocast,
    fake_cuda,
    make_model,
    move_to_gpu,
    run_backward,
)
from torch import nn

from mllmseg_ros.model.config import read_config
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.pixels import to_pixel_values
from mllmseg_ros.model.prompt import PromptBuilder
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.train.adapt.batches import AdaptBatch
from mllmseg_ros.train.adapt.step import adapt_losses, read_batch
from mllmseg_ros.train.lora import Trained, choose_trained
from mllmseg_ros.train.paper.dialog_ids import DialogEncoder
from mllmseg_ros.train.paper.dialog_ids import pad as pad_dialogs
from mllmseg_ros.train.paper.step import paper_losses
from mllmseg_ros.train.paper.templates import draw_dialog
from mllmseg_ros.train.paper.training import keep_trained_in_float32
from mllmseg_ros.train.tabletop.batches import CELLS, PLACE, Batch
from mllmseg_ros.train.tabletop.step import Learner

CUDA = torch.device("cuda")
TEXTS = ["the red mug", "the bowl", "a can"]
HAS_TARGET = [True, False, True]


@pytest.fixture
def gpu() -> Iterator[FakeCuda]:
    with fake_cuda() as gpu:
        yield gpu


def prompts_of(name: str) -> PromptBuilder:
    config = read_config(MODELS[name])
    return PromptBuilder(Tokenizer.from_folder(MODELS[name]), config.prompt, config.n_image_tokens)


def with_adapters(name: str, answer_rows: bool) -> Callable[[MLLMSeg], None]:
    prompts = prompts_of(name)

    def prepare(model: MLLMSeg) -> None:
        trained = Trained(lora_rank=4, vision_lora=True, answer_rows=answer_rows)
        choose_trained(model, trained, (prompts.seg_id, prompts.rej_id))
        keep_trained_in_float32(model)
        model.train()

    return prepare


def check_gradients(model: MLLMSeg) -> None:
    trained = [each for each in model.parameters() if each.requires_grad]
    assert trained
    with_gradient = [each for each in trained if each.grad is not None]
    assert len(with_gradient) > len(trained) / 2  # some parts of the decoder have no effect
    assert all(each.grad.device.type == "cuda" for each in with_gradient)
    assert all(each.grad.dtype == torch.float32 for each in with_gradient)


@pytest.mark.parametrize("published_focal", [True, False])
@pytest.mark.parametrize("name", ["qwen2", "internlm2"])
def test_the_papers_step(name: str, published_focal: bool) -> None:
    encoder = DialogEncoder(Tokenizer.from_folder(MODELS[name]), 256)
    rng = np.random.default_rng(0)
    dialogs = pad_dialogs(
        [
            encoder.encode(draw_dialog(TEXTS, HAS_TARGET, rng)),
            encoder.encode(draw_dialog(TEXTS[:1], [False], rng)),
        ]
    )
    with fake_cuda():
        model = make_model(MODELS[name], torch.bfloat16, with_adapters(name, answer_rows=True))
        squares = torch.empty(2, 448, 448, 3, dtype=torch.uint8, device=CUDA)
        targets = [torch.empty(n, 50, 70, dtype=torch.bool, device=CUDA) for n in (3, 1)]
        with cuda_autocast(torch.bfloat16):
            losses = paper_losses(
                model,
                model.encode_vision(to_pixel_values(squares)),
                dialogs.to(CUDA),
                targets,
                published_focal=published_focal,
            )
        run_backward(losses.total)
        assert losses.total.dtype == torch.float32
        check_gradients(model)


@pytest.mark.parametrize("name", ["embedded", "qwen2"])
def test_a_step_of_an_adaptation(name: str) -> None:
    prompts, side = prompts_of(name), read_config(MODELS[name]).image_size_px
    batch = AdaptBatch(
        squares=torch.zeros(2, side, side, 3, dtype=torch.uint8),
        prompts=tuple(tuple(prompts.build([text]) for text in TEXTS) for _ in range(2)),
        has_target=torch.tensor(HAS_TARGET * 2),
        target=torch.zeros(4, side, side, dtype=torch.bool),
    )
    answer_ids = (prompts.seg_id, prompts.rej_id)
    with fake_cuda():
        model = make_model(MODELS[name], torch.float32, with_adapters(name, answer_rows=True))
        with cuda_autocast(torch.bfloat16):
            encoded = read_batch(model, batch, None, CUDA)
            losses = adapt_losses(model, batch, encoded, answer_ids)
        run_backward(losses.total)
        assert set(losses.terms) == {"loss", "answer", "dice", "focal"}
        check_gradients(model)


@pytest.mark.parametrize("step", ["dense", "heads", "joint"])
def test_a_step_of_the_embedded_models_training(step: str) -> None:
    prompts, config = prompts_of("embedded"), read_config(MODELS["embedded"])
    packed = pack([[prompts.build([text]) for text in TEXTS]] * 2)
    with torch.device("meta"):
        learner = Learner(MLLMSeg(config), prompts.seg_id, prompts.rej_id)
    side, cells = config.image_size_px, CELLS * config.grid
    with fake_cuda():
        move_to_gpu(learner)

        def empty(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device=CUDA)

        batch = Batch(
            pixel_values=empty(2, 3, side, side, dtype=torch.float32),
            color=empty(2, cells, cells),
            kind=empty(2, cells, cells),
            size=empty(2, cells, cells),
            place=empty(2, PLACE, cells, cells, dtype=torch.float32),
            prompts=packed.to(CUDA),
            has_target=empty(6, dtype=torch.bool),
            cell_target=empty(4, cells, cells, dtype=torch.bool),
            drawn=empty(2),
            target=empty(2, side, side, dtype=torch.bool),
        )
        with cuda_autocast(torch.bfloat16):
            losses = {
                "dense": lambda: learner.dense_losses(batch),
                "heads": lambda: learner.head_losses(batch),
                "joint": lambda: learner.joint_losses(batch),
            }[step]()
        run_backward(losses.total)
        assert all(each.device.type == "cuda" for each in losses.terms.values())
        gradients = [each.grad for each in learner.parameters() if each.grad is not None]
        assert gradients
        assert all(each.device.type == "cuda" for each in gradients)


def test_statistics_are_kept_as_precisely_as_weights() -> None:
    """cuDNN refuses a normalisation that has them in another type."""
    with torch.device("meta"):
        model = MLLMSeg(read_config(MODELS["embedded"])).to(torch.bfloat16)
    with_adapters("embedded", answer_rows=True)(model)
    norms = [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        types = {norm.weight.dtype, norm.running_mean.dtype, norm.running_var.dtype}
        assert types == {torch.float32}


def test_cudas_autocast_has_its_own_rules(gpu: FakeCuda) -> None:
    half = torch.zeros(3, 3, device=CUDA)
    with cuda_autocast(torch.bfloat16):
        assert (half @ half).dtype == torch.bfloat16
        with pytest.raises(RuntimeError, match="autocast"):
            nn.functional.binary_cross_entropy(half.sigmoid(), half)
    assert (half @ half).dtype == torch.float32
