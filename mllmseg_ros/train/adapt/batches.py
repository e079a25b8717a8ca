# SPDX-License-Identifier: Apache-2.0
"""Batches of new images and of the rehearsal set.

An image is encoded once for all its expressions, each of which has a prompt of its own. A batch is
a function of (seed, step) alone, so a resumed run draws the same batches as an unbroken one.
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
    """B images; N expressions over all of them, M of which have a target."""

    squares: Tensor  # (B, S, S, 3) uint8 RGB
    prompts: tuple[tuple[Prompt, ...], ...]  # per image
    has_target: Tensor  # (N,) bool
    target: Tensor  # (M, S, S) bool


class AdaptBatches:
    """Draws batches from new samples, and from the rehearsal set for a share of the images."""

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
            new: samples to learn; not empty.
            known: samples to rehearse; may be empty.
            prompts: the model's prompt builder.
            side_px: side S of the network's square.
            seed: of the whole run.
            augment: vary light, window and side; off where the features of images are kept.
            flip: mirror images whose expressions contain neither "left" nor "right".
        """
        self._new, self._known = new, known
        self._prompts = prompts
        self._side = side_px
        self._seed = seed
        self._augment, self._flip = augment, flip

    @property
    def expressions(self) -> list[str]:
        """The expressions of the samples to learn."""
        targets = (target for sample in self._new for target in sample.targets)
        return [expression for target in targets for expression in target.expressions]

    def draw(
        self, step: int, n_images: int, n_expressions: int, rehearsal_share: float
    ) -> AdaptBatch:
        """Draw the batch of one step.

        Args:
            step: number of the step.
            n_images: B.
            n_expressions: of each image, at most.
            rehearsal_share: share of images from the rehearsal set, where there is one.

        Raises:
            ValueError: if an image or a mask cannot be read; names the entry.
        """
        rng = np.random.default_rng((self._seed, step))
        squares, prompts, has_target, targets = [], [], [], []
        n_known = round(rehearsal_share * n_images) if self._known else 0
        for place in range(n_images):
            samples = self._known if place < n_known else self._new
            sample = samples[int(rng.integers(len(samples)))]
            pairs = [(text, target) for target in sample.targets for text in target.expressions]
            chosen = [pairs[int(k)] for k in rng.permutation(len(pairs))[:n_expressions]]
            masks = [sample.mask(target) for _, target in chosen]
            # Keep everything annotated in view: "the second from the left" needs the first.
            kept = np.any([sample.mask(target) for target in sample.targets], axis=0)
            square, masks = self._prepare(read_rgb(sample), chosen, masks, kept, rng)
            squares.append(square)
            prompts.append(tuple(self._prompts.build([text]) for text, _ in chosen))
            present = [target.region is not None for _, target in chosen]
            has_target += present
            targets += [mask for mask, yes in zip(masks, present, strict=True) if yes]
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

    def _prepare(
        self,
        rgb: NDArray[np.uint8],
        chosen: Sequence[tuple[str, Target]],
        masks: Sequence[NDArray[np.bool_]],
        kept: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
        """Augment image and masks, and resize them to the network's square."""
        if self._augment:
            top, bottom, left, right = random_window(kept, rng)
            rgb = jitter_colors(rgb[top:bottom, left:right], rng)
            masks = [mask[top:bottom, left:right] for mask in masks]
            sided = any(_SIDES.search(text) for text, _ in chosen)
            if self._flip and not sided and rng.random() < 0.5:
                rgb, masks = rgb[:, ::-1], [mask[:, ::-1] for mask in masks]
        size = (self._side, self._side)
        squares = [
            cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
            for mask in masks
        ]
        return resize_to_square(rgb, self._side), squares
