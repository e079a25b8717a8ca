# SPDX-License-Identifier: Apache-2.0
"""Check a data set: read every entry, decode every mask, list all problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.data.image_file import read_depth, read_rgb
from mllmseg_ros.data.region import decode, decode_checked
from mllmseg_ros.data.sample import MALFORMED, Problem, Sample, Skipped, describe_error
from mllmseg_ros.drawing.contact_sheet import Tile, draw_contact_sheet

__all__ = ["check", "contact_sheet"]


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
            f"expressions ({self.n_no_target} without a target); {len(self.problems)} problems"
        )
        lines += [str(skipped) for skipped in self.skipped]
        if self.n_empty:
            lines.append(f"{self.n_empty} targets have a mask without a pixel")
        if np.isfinite(middle):
            lines.append(
                f"a target covers {middle:.1f} % of its image (median; 5 % of them less than "
                f"{low:.1f} %, 5 % more than {high:.1f} %)"
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
            problems.append(Problem(file=each.file, entry=each.entry, reason=reason))
            continue
        try:
            read_depth(each)
        except MALFORMED as error:  # the image can be used without
            reason = describe_error(error)
            problems.append(Problem(file=each.file, entry=each.entry, reason=reason, is_used=True))
        valid = []
        for target in each.targets:
            entry = target.entry or each.entry
            try:
                if target.region is not None:
                    mask, faults = decode_checked(target.region, each.size_hw)
                    areas.append(100 * float(mask.mean()))
                    problems += [
                        Problem(file=each.file, entry=entry, reason=fault, is_used=True)
                        for fault in faults
                    ]
                valid.append(target)
            except MALFORMED as error:
                reason = describe_error(error)
                problems.append(Problem(file=each.file, entry=entry, reason=reason))
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
    """Draw random samples, each with the mask of one of its targets and an expression for it.

    Returns:
        RGB (H, W, 3).

    Raises:
        ValueError: if there is no sample.
    """
    if not samples:
        raise ValueError("no sample to draw")
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.permutation(len(samples))[:n].tolist())
    tiles = [_draw_sample(samples[index], rng) for index in chosen]
    title = f"{len(tiles)} of {len(samples)} images, with one of their targets"
    return draw_contact_sheet(tiles, title, "orange: the annotated mask")


def _draw_sample(sample: Sample, rng: np.random.Generator) -> Tile:
    """Choose a target of a sample, if it has one with a mask, and draw it."""
    present = [target for target in sample.targets if target.region is not None]
    targets = present or list(sample.targets)
    target = targets[int(rng.integers(len(targets)))]
    expression = target.expressions[int(rng.integers(len(target.expressions)))]
    n_others = sum(len(each.expressions) for each in sample.targets) - 1
    note = f"{sample.image.name}, {n_others} more expressions"
    if target.region is None:
        expression, mask = f"{expression} (not there)", None
    else:
        mask = decode(target.region, sample.size_hw)
    return Tile(rgb=read_rgb(sample), caption=expression, note=note, result=mask)
