# SPDX-License-Identifier: Apache-2.0
"""Rehearsal sets: samples that a model knows already, to prevent and measure forgetting."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mllmseg_ros.data.dataset import load_samples
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.files import FolderLock, make_folder, write_file

__all__ = ["RehearsalSet", "render_rehearsal_set", "split_rehearsal_set", "split_train_val"]

# Split, number of scenes, expressions of each. `mllmseg eval tabletop` begins at seed 0 and uses
# none of these scenes. With 160 + 160 scenes of six expressions to rehearse, a model memorised
# those and lost 3.2 points on others.
_FIRST_SEED = 500_000
_TRAIN = (("train", 400, 20), ("varied_train", 240, 20))
_VAL = (("test", 60, 6), ("varied_test", 30, 6))
_DONE = "done"  # the file of a split that is complete
_MAX_VAL = 100  # images of a user's own set, used in every evaluation


@dataclass(frozen=True, kw_only=True)
class RehearsalSet:
    """Samples that the model knew before: to rehearse, and to measure forgetting."""

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]


def split_train_val(
    samples: Sequence[Sample], held_out_share: float, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split samples by image: to train on, and held out (at least one of each).

    Raises:
        ValueError: if there are fewer than two.
    """
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} image: at least 2 are needed, one of them for validation")
    order = np.random.default_rng(seed).permutation(len(samples))
    n = min(len(samples) - 1, max(1, round(held_out_share * len(samples))))
    held_out = {int(index) for index in order[:n]}
    return (
        tuple(sample for index, sample in enumerate(samples) if index not in held_out),
        tuple(sample for index, sample in enumerate(samples) if index in held_out),
    )


def render_rehearsal_set(folder: Path) -> RehearsalSet | None:
    """Render simulated scenes into a folder, once; None where the simulator is not installed.

    Raises:
        ValueError: if another process does so, or there is a symbolic link in place of a folder.
    """
    if importlib.util.find_spec("mujoco") is None:
        return None
    from mllmseg_ros.sim.export import export_scenes

    make_folder(folder)
    with FolderLock(folder):
        for split, n_scenes, n_expressions in (*_TRAIN, *_VAL):
            done = folder / split / _DONE
            if done.is_file():
                continue
            make_folder(folder / split)  # not a link, of which everything would be deleted
            shutil.rmtree(folder / split)  # of an interrupted run
            try:
                export_scenes(
                    folder / split, split, _FIRST_SEED, n_scenes, n_expressions=n_expressions
                )
            except RuntimeError:  # no off-screen OpenGL
                return None
            write_file(done, "")
    train, val = (
        tuple(sample for split, *_ in splits for sample in load_samples(folder / split, split))
        for splits in (_TRAIN, _VAL)
    )
    return RehearsalSet(train=train, val=val)


def split_rehearsal_set(
    samples: Sequence[Sample], held_out_share: float, seed: int
) -> RehearsalSet:
    """Split a user's data set that must not be forgotten."""
    train, val = split_train_val(samples, held_out_share, seed)
    return RehearsalSet(train=train, val=val[:_MAX_VAL])
