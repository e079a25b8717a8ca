# SPDX-License-Identifier: Apache-2.0
"""Check a data set: read every entry, decode every mask, list all problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.region import decode, decode_checked
from mllmseg_ros.data.sample import MALFORMED, Problem, Sample, Skipped, describe_error
from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

__all__ = ["check", "contact_sheet"]

_TILE_HW = (240, 320)  # px
_COLUMNS = 4
_TARGETS_SHOWN = 4  # per image; more hide each other


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Contents and problems of a data set."""

    samples: tuple[Sample, ...]  # without the targets that cannot be used
    problems: tuple[Problem, ...]
    skipped: tuple[Skipped, ...]
    n_targets: int
    n_expressions: int
    n_no_target: int  # expressions without a target
    n_empty: int  # targets whose mask has no pixel
    area_percent: tuple[float, float, float]  # of the image: 5th, 50th, 95th percentile; NaN

    def __str__(self) -> str:
        low, middle, high = self.area_percent
        lines = [str(problem) for problem in self.problems]
        lines.append(
            f"{len(self.samples)} images, {self.n_targets} targets, {self.n_expressions} "
            f"expressions, {self.n_no_target} of them name nothing; {len(self.problems)} problems"
        )
        lines += [str(skipped) for skipped in self.skipped]
        if self.n_empty:
            lines.append(f"{self.n_empty} targets have a mask without a pixel")
        if np.isfinite(middle):
            lines.append(
                f"a target covers {middle:.1f} % of its image (5 % of them under {low:.1f} %, "
                f"5 % over {high:.1f} %)"
            )
        return "\n".join(lines)


def check(entries: Iterable[Sample | Problem | Skipped]) -> CheckReport:
    """Check everything that :func:`~mllmseg_ros.data.dataset.read_samples` yields."""
    samples: list[Sample] = []
    problems: list[Problem] = []
    skipped: list[Skipped] = []
    areas: list[float] = []
    for each in tqdm(entries, desc="checking the data", unit="image", mininterval=2):
        if isinstance(each, Problem):
            problems.append(each)
            continue
        if isinstance(each, Skipped):
            skipped.append(each)
            continue
        try:
            read_rgb(each)
        except MALFORMED as error:
            reason = describe_error(error)
            problems.append(Problem(file=each.image, entry=each.entry, reason=reason))
            continue
        valid = []
        for target in each.targets:
            entry = target.entry or each.entry
            try:
                if target.region is not None:
                    mask, faults = decode_checked(target.region, each.size_hw)
                    areas.append(100 * float(mask.mean()))
                    problems += [
                        Problem(file=each.image, entry=entry, reason=fault, is_used=True)
                        for fault in faults
                    ]
                valid.append(target)
            except MALFORMED as error:
                reason = describe_error(error)
                problems.append(Problem(file=each.image, entry=entry, reason=reason))
        if valid:
            samples.append(replace(each, targets=tuple(valid)))
    targets = [target for sample in samples for target in sample.targets]
    low, middle, high = np.percentile(areas, (5, 50, 95)) if areas else (np.nan,) * 3
    return CheckReport(
        samples=tuple(samples),
        problems=tuple(problems),
        skipped=tuple(skipped),
        n_targets=len(targets),
        n_expressions=sum(len(target.expressions) for target in targets),
        n_no_target=sum(len(target.expressions) for target in targets if target.region is None),
        n_empty=sum(area == 0 for area in areas),
        area_percent=(float(low), float(middle), float(high)),
    )


def contact_sheet(samples: Sequence[Sample], n: int = 24, seed: int = 0) -> NDArray[np.uint8]:
    """Draw random samples with their masks and expressions, side by side.

    Returns:
        RGB (H, W, 3).

    Raises:
        ValueError: if there is no sample.
    """
    if not samples:
        raise ValueError("no sample to draw")
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(samples))[:n]
    return draw_grid([_draw_sample(samples[int(index)], rng) for index in sorted(chosen)])


def draw_grid(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Arrange images of any size in a grid, each scaled to fit a tile of 320 x 240 px.

    Raises:
        ValueError: if there is none.
    """
    if not images:
        raise ValueError("no image to draw")
    columns = min(_COLUMNS, len(images))
    tiles = []
    for image in images:
        width, height = _fit_tile(image.shape[:2])
        tile = np.zeros((*_TILE_HW, 3), np.uint8)
        tile[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        tiles.append(tile)
    tiles += [np.zeros((*_TILE_HW, 3), np.uint8)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _fit_tile(size_hw: tuple[int, ...]) -> tuple[int, int]:
    """Return width and height of an image in a tile, px."""
    scale = min(_TILE_HW[0] / size_hw[0], _TILE_HW[1] / size_hw[1])
    return max(1, round(size_hw[1] * scale)), max(1, round(size_hw[0] * scale))


def _draw_sample(sample: Sample, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw an image at the size of a tile, so that text is legible, with some of its targets."""
    size = _fit_tile(sample.size_hw)
    small = cv2.resize(read_rgb(sample), size, interpolation=cv2.INTER_AREA)
    chosen = rng.permutation(len(sample.targets))[:_TARGETS_SHOWN]
    truth = [_to_segmentation(sample, int(index), size, rng) for index in chosen]
    return draw_overlay(np.asarray(small, dtype=np.uint8), truth)


def _to_segmentation(
    sample: Sample, index: int, size: tuple[int, int], rng: np.random.Generator
) -> Segmentation:
    """Return a target as a segmentation of (width, height), to be drawn like the model's."""
    target = sample.targets[index]
    expression = target.expressions[int(rng.integers(len(target.expressions)))]
    if target.region is None:
        empty = np.zeros(size[::-1], np.bool_)
        return build_segmentation(
            expression, Status.NO_TARGET, 0.0, 0.0, empty.astype(np.float32), empty
        )
    full = decode(target.region, sample.size_hw).astype(np.uint8)
    mask = cv2.resize(full, size, interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    return build_segmentation(expression, Status.FOUND, 1.0, 1.0, mask.astype(np.float32), mask)
