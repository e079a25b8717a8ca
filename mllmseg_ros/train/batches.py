# SPDX-License-Identifier: Apache-2.0
"""Batches from rendered scenes: pictures, dense labels, fresh expressions with their masks.

A batch is a function of (seed, step) alone, so a resumed run sees what an unbroken one would have.

Entry point: :class:`TabletopBatches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mllmseg_ros.pixels import to_pixel_values
from mllmseg_ros.prompt import PromptBuilder
from mllmseg_ros.sim.dataset import SceneCache
from mllmseg_ros.sim.expressions import draw_expressions, mirrored
from mllmseg_ros.sim.objects import COLORS, KINDS
from mllmseg_ros.train.packed import PackedPrompts, pack

DENSE_CELLS = 4  # dense labels a side of a vision patch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B pictures; N expressions over all of them, M of which have a target."""

    pixel_values: Tensor  # (B, 3, S, S) float32
    color: Tensor  # (B, 4G, 4G) int64, 0 = background, k = k-th colour
    kind: Tensor  # (B, 4G, 4G) int64, 0 = background, k = k-th kind
    prompts: PackedPrompts | None
    has_target: Tensor  # (N,) bool
    target: Tensor  # (M, S, S) bool


class TabletopBatches:
    """Draw batches from one or more rendered splits."""

    def __init__(self, cache: SceneCache, prompts: PromptBuilder, patch_px: int, seed: int) -> None:
        """Draw from rendered scenes.

        Args:
            cache: rendered scenes.
            prompts: the model's prompt builder.
            patch_px: side of a vision patch, px.
            seed: of the whole run.
        """
        self._cache = cache
        self._prompts = prompts
        self._patch = patch_px
        self._seed = seed

    def draw(
        self,
        step: int,
        n_images: int,
        n_expressions: int = 0,
        no_target_share: float = 0.2,
        forms: Sequence[str] | None = None,
    ) -> Batch:
        """Draw the batch of one step.

        Args:
            step: number of the step, from 0 over all stages.
            n_images: B.
            n_expressions: expressions per picture; 0 leaves them out.
            no_target_share: share of expressions that name nothing.
            forms: of expressions; with them the share above does not count. None for all.
        """
        rng = np.random.default_rng((self._seed, step))
        pictures, colors, kinds, rows, has_target, targets = [], [], [], [], [], []
        for index in rng.integers(len(self._cache), size=n_images):
            rgb = self._cache.rgb(int(index))
            instances = self._cache.instances(int(index))
            objects = self._cache.objects(int(index))
            if rng.random() < 0.5:
                rgb, instances, objects = rgb[:, ::-1], instances[:, ::-1], mirrored(objects)
            pictures.append(_augmented(rgb, rng))
            cells = self._sampled(instances)
            # Row 0: background; row k: the k-th object's colour and kind, both from 1 on.
            table = np.zeros((256, 2), np.int64)
            for thing in objects:
                table[thing.instance_id] = (
                    1 + COLORS.index(thing.color),
                    1 + KINDS.index(thing.kind),
                )
            colors.append(table[cells, 0])
            kinds.append(table[cells, 1])
            row = []
            if n_expressions:
                drawn = draw_expressions(
                    objects, rng, n_expressions, no_target_share=no_target_share, forms=forms
                )
                for expression in drawn:
                    row.append(self._prompts.build([expression.text]))
                    has_target.append(bool(expression.targets))
                    if expression.targets:
                        targets.append(np.isin(instances, expression.targets))
                rows.append(row)
        squares = torch.from_numpy(np.stack(pictures))
        side = squares.shape[1]
        return Batch(
            pixel_values=to_pixel_values(squares),
            color=torch.from_numpy(np.stack(colors)),
            kind=torch.from_numpy(np.stack(kinds)),
            prompts=pack(rows) if n_expressions else None,
            has_target=torch.tensor(has_target, dtype=torch.bool),
            target=torch.from_numpy(np.stack(targets))
            if targets
            else torch.zeros(0, side, side, dtype=torch.bool),
        )

    def _sampled(self, instances: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Instance ids at the centres of DENSE_CELLS x DENSE_CELLS cells of each patch."""
        n_patches = instances.shape[0] // self._patch
        within = ((np.arange(DENSE_CELLS) + 0.5) * self._patch / DENSE_CELLS).astype(int)
        places = (np.arange(n_patches)[:, None] * self._patch + within).ravel()
        return instances[np.ix_(places, places)]


def _augmented(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vary brightness, contrast and noise; colours keep their names."""
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.95, 1.05, size=3)
    pixels = rgb.astype(np.float32) * gain.astype(np.float32) + np.float32(rng.uniform(-12, 12))
    if rng.random() < 0.5:
        noise = rng.standard_normal(rgb.shape, dtype=np.float32)
        pixels += noise * np.float32(rng.uniform(1, 7))
    return np.clip(pixels, 0, 255).astype(np.uint8)
