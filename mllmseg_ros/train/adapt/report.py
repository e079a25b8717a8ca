# SPDX-License-Identifier: Apache-2.0
"""What an adaptation changed: a table, and each held-out expression before and after."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.check import grid_of_tiles
from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.eval.dataset import ProtocolScores
from mllmseg_ros.eval.worst import with_outline
from mllmseg_ros.segmenter import Segmenter

__all__ = ["AdaptReport", "draw_before_after"]

_SHEET_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class AdaptReport:
    """Scores under the deployment protocol, percent."""

    trained: str  # all, lora or decoder
    n_pictures: int  # learnt from
    step: int  # of the checkpoint that was kept
    share: float  # of the way that its weights have gone from the start's
    minutes: float
    new: tuple[ProtocolScores, ProtocolScores]  # held-out pictures, before and after
    known: tuple[ProtocolScores, ProtocolScores] | None
    max_forgetting: float  # points of gIoU

    @property
    def forgotten(self) -> float:
        """Points of gIoU lost on what the model knew; 0 where it was not measured."""
        return self.known[0].g_iou - self.known[1].g_iou if self.known else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.n_pictures} pictures learnt from, trained: {self.trained}, "
            f"{self.minutes:.1f} minutes; kept: step {self.step}, {self.share:.0%} of the way",
            f"{'percent':<26}{'n':>6}{'empty':>7}{'gIoU':>8}{'cIoU':>8}{'N-acc':>8}{'T-acc':>8}",
        ]
        groups = [("new, held out", self.new)]
        if self.known:
            groups.append(("known before", self.known))
        for name, pair in groups:
            for when, scores in zip(("before", "after"), pair, strict=True):
                cells = (scores.g_iou, scores.c_iou, scores.n_acc, scores.t_acc)
                percents = "".join("-".rjust(8) if c != c else f"{c:8.1f}" for c in cells)
                lines.append(f"{name + ', ' + when:<26}{scores.n:>6}{scores.n_empty:>7}{percents}")
        if not self.known:
            lines.append("what was forgotten was not measured: name a set with --keep")
        elif self.forgotten > self.max_forgetting:
            lines.append(
                f"WARNING: {self.forgotten:.1f} points of gIoU lost on what the model knew; "
                "more rehearsal (recipe: rehearsal_share) or fewer steps forget less"
            )
        return "\n".join(lines)


def draw_before_after(
    before: Segmenter, after: Segmenter, samples: Sequence[Sample], folder: Path
) -> NDArray[np.uint8]:
    """Draw each expression as answered before and after, side by side; the truth in white.

    Args:
        before: the model as it was.
        after: as it is.
        samples: held-out pictures.
        folder: gets one PNG per expression.

    Returns:
        The first of them as one RGB picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tiles: list[NDArray[np.uint8]] = []
    number = 0
    for sample in samples:
        rgb = read_rgb(sample)
        contexts = [(each, each.encode(rgb)) for each in (before, after)]
        for target in sample.targets:
            meant = sample.mask(target)
            for expression in target.expressions:
                pair = [
                    with_outline(draw_overlay(rgb, segmenter.segment(context, [expression])), meant)
                    for segmenter, context in contexts
                ]
                words = re.sub(r"\W+", "_", expression).strip("_")[:40]
                path = folder / f"{number:04d}_{words}.png"
                cv2.imwrite(str(path), cv2.cvtColor(np.hstack(pair), cv2.COLOR_RGB2BGR))
                tiles += pair
                number += 1
    # Two pairs a row, from all over the set.
    every = max(1, len(tiles) // 2 // (2 * _SHEET_ROWS))
    shown = [tile for k in range(0, len(tiles) // 2, every) for tile in tiles[2 * k : 2 * k + 2]]
    return grid_of_tiles(shown[: 4 * _SHEET_ROWS])
