# SPDX-License-Identifier: Apache-2.0
"""Batches as the paper's code draws them: data set, then image, then up to five expressions.

A batch is a function of (seed, step) alone, so a resumed run draws the same as an unbroken one.

Source: docs/reference.md, sections 2, 3 and 11.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.sample import Sample, Target
from mllmseg_ros.model.pixels import resize_to_square
from mllmseg_ros.train.paper.dialog_ids import DialogEncoder, PaddedDialogs, pad
from mllmseg_ros.train.paper.templates import MAX_EXPRESSIONS, draw_dialog

__all__ = ["PaperBatches"]

_JPEG_QUALITY = (75, 100)
_TRIES = 1000  # images drawn to find one with a target


@dataclass(frozen=True, kw_only=True)
class PaperBatch:
    """B images with their dialogs and masks."""

    squares: Tensor  # (B, S, S, 3) uint8 RGB
    dialogs: PaddedDialogs
    targets: tuple[Tensor, ...]  # per image bool (N, H, W) at its own size
    expressions: tuple[str, ...]  # of all images, for the log

    def to(self, device: torch.device) -> PaperBatch:
        """The same batch on a device."""
        return replace(
            self,
            squares=self.squares.to(device),
            dialogs=self.dialogs.to(device),
            targets=tuple(target.to(device) for target in self.targets),
        )


class PaperBatches:
    """Draws batches from one or more data sets."""

    def __init__(
        self,
        data_sets: Sequence[Sequence[Sample]],
        encoder: DialogEncoder,
        image_size_px: int,
        seed: int,
        *,
        recompress: bool = True,
        learn_padding: bool = True,
    ) -> None:
        """Draw from all data sets equally often, whatever their sizes.

        Args:
            data_sets: samples of each.
            encoder: writes the dialogs.
            image_size_px: side S of the network's square.
            seed: of the whole run.
            recompress: pass each image through JPEG at a random quality of 75 to 100; off where
                the features of images are kept.
            learn_padding: see :func:`~mllmseg_ros.train.paper.dialog_ids.pad`.

        Raises:
            ValueError: if there is no data set, or one is empty.
        """
        if not data_sets or not all(data_sets):
            raise ValueError("there is no sample to train on")
        self._data_sets = data_sets
        self._encoder = encoder
        self._image_size_px = image_size_px
        self._seed = seed
        self._recompress = recompress
        self._learn_padding = learn_padding

    def draw(self, step: int, n_images: int) -> PaperBatch:
        """Draw the batch of one step.

        Raises:
            ValueError: if an image or mask cannot be read, or none of the images drawn has a
                target.
        """
        rng = np.random.default_rng((self._seed, step))
        squares, dialogs, targets, expressions = [], [], [], []
        for _ in range(n_images):
            sample, chosen = self._draw_sample(rng)
            rgb = read_rgb(sample)
            if self._recompress:
                rgb = _compress_jpeg(rgb, int(rng.integers(*_JPEG_QUALITY, endpoint=True)))
            squares.append(resize_to_square(rgb, self._image_size_px))
            has_target = [target.region is not None for _, target in chosen]
            texts = [text for text, _ in chosen]
            expressions += texts
            dialogs.append(self._encoder.encode(draw_dialog(texts, has_target, rng)))
            targets.append(torch.from_numpy(np.stack([sample.mask(t) for _, t in chosen])))
        return PaperBatch(
            squares=torch.from_numpy(np.stack(squares)),
            dialogs=pad(dialogs, learn_padding=self._learn_padding),
            targets=tuple(targets),
            expressions=tuple(expressions),
        )

    def _draw_sample(self, rng: np.random.Generator) -> tuple[Sample, list[tuple[str, Target]]]:
        """Draw an image and up to five of its expressions, at least one with a target."""
        for _ in range(_TRIES):
            data_set = self._data_sets[int(rng.integers(len(self._data_sets)))]
            sample = data_set[int(rng.integers(len(data_set)))]
            pairs = [(text, target) for target in sample.targets for text in target.expressions]
            order = rng.permutation(len(pairs))[:MAX_EXPRESSIONS]
            chosen = [pairs[int(index)] for index in order]
            if any(target.region is not None for _, target in chosen):
                return sample, chosen
        raise ValueError(f"of {_TRIES} images drawn, none has an expression with a target")


def _compress_jpeg(rgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    PIL.Image.fromarray(rgb).save(buffer, format="JPEG", quality=quality)
    return np.asarray(PIL.Image.open(buffer))
