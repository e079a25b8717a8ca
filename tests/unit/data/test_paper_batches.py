# SPDX-License-Identifier: Apache-2.0
"""Training batches out of real formats, as the paper's code draws them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("pycocotools", reason="needs pycocotools (requirements/train.txt)")

from data_sets import HEIGHT, WIDTH, write_grefcoco, write_own, write_refcoco

from mllmseg_ros.data.dataset import load_samples
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.train.paper.batches import PaperBatches
from mllmseg_ros.train.paper.dialog_ids import DialogEncoder


@pytest.fixture(scope="module")
def encoder(random_checkpoint: Path) -> DialogEncoder:
    tokenizer = Tokenizer.from_folder(random_checkpoint)
    tokenizer.special_ids.update({"<|im_start|>": 900, "<|im_end|>": 901})
    return DialogEncoder(tokenizer, 64)


@pytest.fixture
def samples(tmp_path: Path) -> list[list[Sample]]:
    return [
        load_samples(write_refcoco(tmp_path / "refcoco")),
        load_samples(write_grefcoco(tmp_path / "grefcoco")),
        load_samples(write_own(tmp_path / "own")),
    ]


def test_a_batch_is_what_it_says(samples: list[list[Sample]], encoder: DialogEncoder) -> None:
    batches = PaperBatches(samples, encoder, 224, seed=5)
    seen = set()
    for step in range(12):
        batch = batches.draw(step, 3)
        assert batch.squares.shape == (3, 224, 224, 3)
        assert batch.dialogs.input_ids.shape[0] == len(batch.targets) == 3
        for dialog, target in zip(batch.dialogs.dialogs, batch.targets, strict=True):
            assert target.shape == (len(dialog.has_target), HEIGHT, WIDTH)
            assert target.dtype == torch.bool
            assert target.flatten(1).any(1).tolist() == list(dialog.has_target)
            assert any(dialog.has_target)
            seen.add(len(dialog.has_target))
    assert seen == {1, 2, 3, 4}


def test_a_batch_depends_on_seed_and_step_alone(
    samples: list[list[Sample]], encoder: DialogEncoder
) -> None:
    first, again = (PaperBatches(samples, encoder, 224, seed=5).draw(7, 2) for _ in range(2))
    other = PaperBatches(samples, encoder, 224, seed=5).draw(8, 2)
    assert torch.equal(first.squares, again.squares)
    assert torch.equal(first.dialogs.input_ids, again.dialogs.input_ids)
    assert not torch.equal(first.squares, other.squares)


def test_at_most_five_expressions(samples: list[list[Sample]], encoder: DialogEncoder) -> None:
    (sample, *_) = samples[2]
    many = replace(sample.targets[0], expressions=tuple(f"thing {i}" for i in range(9)))
    batches = PaperBatches([[replace(sample, targets=(many,))]], encoder, 224, seed=0)
    (dialog,) = batches.draw(0, 1).dialogs.dialogs
    assert len(dialog.has_target) == 5
    assert len(set(dialog.answer_positions)) == 5


def test_images_pass_through_jpeg_unless_told_otherwise(
    samples: list[list[Sample]], encoder: DialogEncoder
) -> None:
    plain = PaperBatches(samples[2:], encoder, 224, seed=1, recompress=False)
    squares = {plain.draw(step, 1).squares.numpy().tobytes() for step in range(6)}
    assert len(squares) == 1  # both images show the same, and nothing changes them
    jpeg = PaperBatches(samples[2:], encoder, 224, seed=1)
    assert len({jpeg.draw(step, 1).squares.numpy().tobytes() for step in range(6)}) > 1


def test_what_cannot_be_drawn_is_named(samples: list[list[Sample]], encoder: DialogEncoder) -> None:
    with pytest.raises(ValueError, match="no sample to train on"):
        PaperBatches([samples[0], []], encoder, 224, seed=0)
    nothing = replace(samples[2][0].targets[2])
    assert nothing.region is None
    absent = [replace(samples[2][0], targets=(nothing,))]
    with pytest.raises(ValueError, match="none has an expression with a target"):
        PaperBatches([absent], encoder, 224, seed=0).draw(0, 1)
    (first, *_) = samples[2]
    first.image.unlink()
    with pytest.raises(ValueError, match=r"a\.png cannot be read"):
        PaperBatches([[first]], encoder, 224, seed=0).draw(0, 1)
