# SPDX-License-Identifier: Apache-2.0
"""Batches of one's own pictures and of what the model knows already.

Each picture is read once for all its expressions, every expression asked on its own. A batch is a
function of (seed, step) alone, so a resumed run sees what an unbroken one would have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.sample import Sample, Target
from mllmseg_ros.model.pixels import resize_to_square
from mllmseg_ros.model.prompt import Prompt, PromptBuilder
from mllmseg_ros.train.augment import jitter_colors, random_window

__all__ = ["AdaptBatches"]

_SIDES = re.compile("left|right", re.IGNORECASE)  # leftmost, right-hand and the like too


@dataclass(frozen=True, kw_only=True)
class AdaptBatch:
    """B pictures; N expressions over all of them, M of which have a target."""

    squares: Tensor  # (B, S, S, 3) uint8 RGB
    prompts: tuple[tuple[Prompt, ...], ...]  # per picture
    has_target: Tensor  # (N,) bool
    target: Tensor  # (M, S, S) bool


class AdaptBatches:
    """Draw batches from new samples, and from known ones for a share of the pictures."""

    def __init__(
        self,
        new: Sequence[Sample],
        known: Sequence[Sample],
        prompts: PromptBuilder,
        side_px: int,
        seed: int,
        *,
        augment: bool = True,
        flip: bool = True,
    ) -> None:
        """Draw from samples.

        Args:
            new: what is to be learnt; not empty.
            known: what is rehearsed; may be empty.
            prompts: the model's prompt builder.
            side_px: side S of the network's square.
            seed: of the whole run.
            augment: vary light, window and side; off where a picture's features are kept.
            flip: mirror pictures of which nothing is said with "left" or "right".
        """
        self._new, self._known = new, known
        self._prompts = prompts
        self._side = side_px
        self._seed = seed
        self._augment, self._flip = augment, flip

    def draw(
        self, step: int, n_pictures: int, n_expressions: int, rehearsal_share: float
    ) -> AdaptBatch:
        """Draw the batch of one step.

        Args:
            step: number of the step.
            n_pictures: B.
            n_expressions: of each picture, at most.
            rehearsal_share: of pictures that are known, where there are any.

        Raises:
            ValueError: if a picture or a mask cannot be read; names the entry.
        """
        rng = np.random.default_rng((self._seed, step))
        squares, prompts, has_target, targets = [], [], [], []
        n_known = round(rehearsal_share * n_pictures) if self._known else 0
        for place in range(n_pictures):
            samples = self._known if place < n_known else self._new
            sample = samples[int(rng.integers(len(samples)))]
            said = [(each, target) for target in sample.targets for each in target.expressions]
            chosen = [said[int(k)] for k in rng.permutation(len(said))[:n_expressions]]
            masks = [sample.mask(target) for _, target in chosen]
            # All that is annotated stays in sight: the second from the left needs the first.
            kept = np.any([sample.mask(target) for target in sample.targets], axis=0)
            square, masks = self._seen(read_rgb(sample), chosen, masks, kept, rng)
            squares.append(square)
            prompts.append(tuple(self._prompts.build([each]) for each, _ in chosen))
            there = [target.region is not None for _, target in chosen]
            has_target += there
            targets += [mask for mask, yes in zip(masks, there, strict=True) if yes]
        return AdaptBatch(
            squares=torch.from_numpy(np.stack(squares)),
            prompts=tuple(prompts),
            has_target=torch.tensor(has_target),
            target=(
                torch.from_numpy(np.stack(targets))
                if targets
                else torch.zeros(0, self._side, self._side, dtype=torch.bool)
            ),
        )

    def _seen(
        self,
        rgb: NDArray[np.uint8],
        chosen: Sequence[tuple[str, Target]],
        masks: Sequence[NDArray[np.bool_]],
        kept: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
        """Picture and masks as the network's squares."""
        if self._augment:
            top, bottom, left, right = random_window(kept, rng)
            rgb = jitter_colors(rgb[top:bottom, left:right], rng)
            masks = [mask[top:bottom, left:right] for mask in masks]
            sided = any(_SIDES.search(each) for each, _ in chosen)
            if self._flip and not sided and rng.random() < 0.5:
                rgb, masks = rgb[:, ::-1], [mask[:, ::-1] for mask in masks]
        size = (self._side, self._side)
        squares = [
            cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
            for mask in masks
        ]
        return resize_to_square(rgb, self._side), squares
