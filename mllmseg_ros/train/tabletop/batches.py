# SPDX-License-Identifier: Apache-2.0
"""Batches from rendered scenes: images, what each cell shows, fresh expressions with their masks.

A batch is a function of (seed, step) alone, so a resumed run draws the same as an unbroken one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mllmseg_ros.language.household import HOUSEHOLD_COLORS, HOUSEHOLD_KINDS
from mllmseg_ros.language.vocabulary import CLUTTER, SIZES, Vocabulary
from mllmseg_ros.model.packing import PackedPrompts, pack
from mllmseg_ros.model.pixels import to_pixel_values
from mllmseg_ros.model.prompt import PromptBuilder
from mllmseg_ros.sim.dataset import SceneCache
from mllmseg_ros.sim.expressions import draw_expressions, mirror_objects
from mllmseg_ros.sim.view import VisibleObject
from mllmseg_ros.train.augment import cut_view, jitter_colors, jitter_sharpness, jitter_tones

__all__ = ["TabletopBatches"]

CELLS = 4  # cells per side of a vision patch; the dense losses are computed per cell
PLACE = 3  # numbers of a place: u and v of the object's middle, its depth in metres


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """A rendered split, and the language of its expressions."""

    cache: SceneCache
    language: Vocabulary


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B images; N expressions over all of them, M of which have a target.

    All M targets are given per cell, K of them also per pixel.
    """

    pixel_values: Tensor  # (B, 3, S, S) float32
    color: Tensor  # (B, 4G, 4G) int64, 0 = background, k = k-th colour
    kind: Tensor  # (B, 4G, 4G) int64, 0 = background, k = k-th kind
    size: Tensor  # (B, 4G, 4G) int64, 0 = background, k = k-th size
    place: Tensor  # (B, PLACE, 4G, 4G) float32, of the object that the cell belongs to
    prompts: PackedPrompts | None
    has_target: Tensor  # (N,) bool
    cell_target: Tensor  # (M, 4G, 4G) bool
    drawn: Tensor  # (K,) indices into the M
    target: Tensor  # (K, S, S) bool


class TabletopBatches:
    """Draws batches from rendered splits."""

    def __init__(
        self, scenes: Sequence[Scenes], prompts: PromptBuilder, patch_px: int, seed: int
    ) -> None:
        """Draw from rendered scenes.

        Args:
            scenes: one or more splits.
            prompts: the model's prompt builder.
            patch_px: side of a vision patch, px.
            seed: of the whole run.
        """
        self._scenes = scenes
        self._prompts = prompts
        self._patch = patch_px
        self._seed = seed

    def draw(
        self,
        step: int,
        n_images: int,
        n_expressions: int = 0,
        n_drawn: int | None = None,
        no_target_share: float = 0.2,
        forms: Sequence[str] | None = None,
        shares: Sequence[float] = (1.0,),
        augmented: bool = False,
    ) -> Batch:
        """Draw the batch of one step.

        Args:
            step: number of the step, from 0 over all stages.
            n_images: B.
            n_expressions: expressions per image; 0 leaves them out.
            n_drawn: largest number of targets per image that are given per pixel; None for all.
            no_target_share: share of expressions without a target.
            forms: of expressions; if given, no_target_share is ignored. None for all.
            shares: of the first splits in the images; they sum to 1.
            augmented: whether images are cut at random, with other proportions, and their colours
                and sharpness varied more.
        """
        rng = np.random.default_rng((self._seed, step))
        images, cells, tables, rows, has_target, drawn = [], [], [], [], [], []
        cell_targets: list[NDArray[np.bool_]] = []
        targets: list[NDArray[np.bool_]] = []
        for source in rng.choice(len(shares), size=n_images, p=shares):
            scenes = self._scenes[source]
            index = int(rng.integers(len(scenes.cache)))
            rgb = scenes.cache.rgb(index)
            instances = scenes.cache.instances(index)
            objects = scenes.cache.objects(index)
            if rng.random() < 0.5:
                rgb, instances, objects = rgb[:, ::-1], instances[:, ::-1], mirror_objects(objects)
            if augmented:
                rgb, instances, objects = cut_view(rgb, instances, objects, rng)
                rgb = jitter_sharpness(jitter_tones(rgb, rng), rng)
            images.append(jitter_colors(rgb, rng))
            cells.append(self._sample_cells(instances))
            tables.append(_table(objects))
            if not n_expressions:
                continue
            expressions = draw_expressions(
                objects,
                rng,
                n_expressions,
                no_target_share=no_target_share,
                forms=forms,
                language=scenes.language,
            )
            rows.append([self._prompts.build([expression.text]) for expression in expressions])
            has_target += [bool(expression.targets) for expression in expressions]
            target_ids = [expression.targets for expression in expressions if expression.targets]
            for count, ids in enumerate(target_ids):
                is_target = np.zeros(256, np.bool_)
                is_target[list(ids)] = True
                if n_drawn is None or count < n_drawn:
                    drawn.append(len(cell_targets))
                    targets.append(is_target[instances])
                cell_targets.append(is_target[cells[-1]])
        squares = torch.from_numpy(np.stack(images))
        # (B, 4G, 4G, columns of a table)
        cell_values = np.stack([table[ids] for table, ids in zip(tables, cells, strict=True)])
        color, kind, size = np.moveaxis(cell_values[..., :-PLACE], -1, 0).astype(np.int64)
        return Batch(
            pixel_values=to_pixel_values(squares),
            color=torch.from_numpy(color),
            kind=torch.from_numpy(kind),
            size=torch.from_numpy(size),
            place=torch.from_numpy(cell_values[..., -PLACE:]).permute(0, 3, 1, 2),
            prompts=pack(rows) if n_expressions else None,
            has_target=torch.tensor(has_target, dtype=torch.bool),
            cell_target=_stack_masks(cell_targets, cell_values.shape[1]),
            drawn=torch.tensor(drawn, dtype=torch.long),
            target=_stack_masks(targets, squares.shape[1]),
        )

    def _sample_cells(self, instances: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the instance ids at the centres of CELLS x CELLS cells of each patch."""
        n_patches = instances.shape[0] // self._patch
        within = ((np.arange(CELLS) + 0.5) * self._patch / CELLS).astype(int)
        places = (np.arange(n_patches)[:, None] * self._patch + within).ravel()
        return instances[np.ix_(places, places)]


def _table(objects: Sequence[VisibleObject]) -> NDArray[np.float32]:
    """Tabulate colour, kind and size (from 1 on) and place by instance id; 0 for background."""
    table = np.zeros((256, 3 + PLACE), np.float32)
    for thing in objects:
        if thing.kind == CLUTTER:
            continue
        table[thing.instance_id] = (
            1 + HOUSEHOLD_COLORS.index(thing.color),
            1 + HOUSEHOLD_KINDS.index(thing.kind),
            1 + SIZES.index(thing.size_name),
            *thing.centroid_uv,
            thing.depth_m,
        )
    return table


def _stack_masks(masks: Sequence[NDArray[np.bool_]], side: int) -> Tensor:
    if not masks:
        return torch.zeros(0, side, side, dtype=torch.bool)
    return torch.from_numpy(np.stack(masks))
