# SPDX-License-Identifier: Apache-2.0
"""Report of an adaptation: scores before and after, and images of the held-out expressions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.drawing.contact_sheet import LEGEND, Tile, draw_contact_sheet, format_iou
from mllmseg_ros.drawing.image_file import write_image
from mllmseg_ros.eval.dataset_report import ProtocolScores
from mllmseg_ros.files import make_folder
from mllmseg_ros.segmenter import Segmenter, Status

__all__ = ["AdaptReport", "draw_before_after"]

_SHEET_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class AdaptReport:
    """Scores under the deployment protocol, percent."""

    trained: str  # all, lora or decoder
    n_images: int  # trained on
    step: int  # of the checkpoint that was kept
    share: float  # of its weights in their mixture with the start's
    minutes: float
    new: tuple[ProtocolScores, ProtocolScores]  # held-out images, before and after
    known: tuple[ProtocolScores, ProtocolScores] | None
    max_forgetting: float  # points of gIoU

    @property
    def forgotten(self) -> float:
        """Points of gIoU lost on what the model knew; 0 where it was not measured."""
        return self.known[0].g_iou - self.known[1].g_iou if self.known else 0.0

    @property
    def is_worse(self) -> bool:
        """Whether the model got worse: on the held-out images, or by forgetting too much."""
        return self.new[1].g_iou < self.new[0].g_iou or self.forgotten > self.max_forgetting

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        former = {"n_images": "n_pictures"}  # the key in existing reports
        return {former.get(name, name): value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        lines = [
            f"{self.n_images} images trained on, trained: {self.trained}, "
            f"{self.minutes:.1f} minutes; kept: step {self.step}, {self.share:.0%} of the way",
            f"{'percent':<26}{'n':>6}{'empty':>7}"
            f"{'gIoU':>8}{'cIoU':>8}{'N-acc':>8}{'T-acc':>8}{'MCC':>8}",
        ]
        groups = [("new, held out", self.new)]
        if self.known:
            groups.append(("known before", self.known))
        for name, pair in groups:
            for when, scores in zip(("before", "after"), pair, strict=True):
                cells = (
                    scores.g_iou,
                    scores.c_iou,
                    scores.n_acc,
                    scores.t_acc,
                    scores.presence,
                )
                percents = "".join("-".rjust(8) if c != c else f"{c:8.1f}" for c in cells)
                lines.append(f"{name + ', ' + when:<26}{scores.n:>6}{scores.n_empty:>7}{percents}")
        if self.new[1].g_iou < self.new[0].g_iou:
            lines.append(
                f"WARNING: worse than before: gIoU {self.new[1].g_iou:.1f} on held-out images, "
                f"{self.new[0].g_iou:.1f} before; more images or another recipe may help"
            )
        if not self.known:
            lines.append("forgetting was not measured: name a data set with --keep")
        elif self.forgotten > self.max_forgetting:
            lines.append(
                f"WARNING: {self.forgotten:.1f} points of gIoU lost on what the model knew; "
                "more rehearsal (recipe: rehearsal_share) or fewer steps forget less"
            )
        return "\n".join(lines)


def draw_before_after(
    before: Segmenter, after: Segmenter, samples: Sequence[Sample], folder: Path
) -> NDArray[np.uint8]:
    """Draw the result of each expression before and after, side by side, with the truth.

    Args:
        before: the start model.
        after: the adapted model.
        samples: held-out images.
        folder: for one PNG per expression.

    Returns:
        Some of them as one contact sheet, RGB (H, W, 3).
    """
    make_folder(folder)
    pairs: list[list[Tile]] = []
    for sample in samples:
        rgb = read_rgb(sample)
        contexts = [(segmenter, segmenter.encode(rgb)) for segmenter in (before, after)]
        for target in sample.targets:
            truth = sample.mask(target)
            for expression in target.expressions:
                pair = []
                for badge, (segmenter, context) in zip(("before", "after"), contexts, strict=True):
                    (segmentation,) = segmenter.segment(context, [expression])
                    result = segmentation.mask & (segmentation.status is not Status.NO_TARGET)
                    note = format_iou(result, truth)
                    pair.append(
                        Tile(
                            rgb=rgb,
                            caption=expression,
                            note=note,
                            badge=badge,
                            result=result,
                            truth=truth,
                        )
                    )
                words = re.sub(r"\W+", "_", expression).strip("_")[:40]
                path = folder / f"{len(pairs):04d}_{words}.png"
                write_image(path, draw_contact_sheet(pair, expression, LEGEND))
                pairs.append(pair)
    # Two pairs per row, evenly from the whole set.
    every = max(1, len(pairs) // (2 * _SHEET_ROWS))
    chosen = [tile for pair in pairs[::every][: 2 * _SHEET_ROWS] for tile in pair]
    title = "Held-out images, before and after the adaptation"
    return draw_contact_sheet(chosen, title, LEGEND)
