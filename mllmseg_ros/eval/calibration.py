# SPDX-License-Identifier: Apache-2.0
"""Calibration of scores: reliability curves, and the threshold for a wanted error rate.

NumPy and OpenCV only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mllmseg_ros.drawing.plot import Plot

__all__ = ["draw_reliability", "reliability", "threshold_for"]

_BAR = (120, 170, 230)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Results with a confidence in [low, high)."""

    low: float
    high: float
    n: int
    confidence: float  # mean; NaN if empty
    right: float  # share of correct results; NaN if empty


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Share of correct results by confidence."""

    bins: tuple[Bin, ...]
    expected_error: float  # mean |confidence - share of correct results|; NaN if empty


def reliability(confidence: ArrayLike, right: ArrayLike, n_bins: int = 10) -> Reliability:
    """Compare confidences (N,) in [0, 1] with whether results were right, (N,) bool."""
    scores, correct = np.asarray(confidence, np.float64), np.asarray(right, np.bool_)
    bin_of = np.minimum((scores * n_bins).astype(int), n_bins - 1)
    bins = []
    for index in range(n_bins):
        inside = bin_of == index
        n = int(inside.sum())
        bins.append(
            Bin(
                low=index / n_bins,
                high=(index + 1) / n_bins,
                n=n,
                confidence=float(scores[inside].mean()) if n else float("nan"),
                right=float(correct[inside].mean()) if n else float("nan"),
            )
        )
    gaps = [each.n * abs(each.confidence - each.right) for each in bins if each.n]
    return Reliability(
        bins=tuple(bins), expected_error=sum(gaps) / len(scores) if len(scores) else float("nan")
    )


def threshold_for(false_accept: float, absent_scores: Sequence[float]) -> float:
    """Return the lowest threshold at which at most that share of absent targets is accepted.

    Args:
        false_accept: wanted share, 0 to 1.
        absent_scores: scores of expressions without a target.

    Returns:
        A threshold for ``score >= threshold``; above 1 where no lower one is enough.

    Raises:
        ValueError: if the share is out of range, or there is no score.
    """
    if not 0 <= false_accept <= 1:
        raise ValueError(f"false-accept rate is {false_accept}, expected 0 to 1")
    if not len(absent_scores):
        raise ValueError("no expression without a target here: the rate cannot be measured")
    descending = np.sort(np.asarray(absent_scores, np.float64))[::-1]
    allowed = int(np.floor(false_accept * len(descending) + 1e-9))
    if allowed >= len(descending):
        return 0.0
    # Just above the highest score that must not be accepted.
    return float(np.nextafter(descending[allowed], 2.0))


def draw_reliability(curves: dict[str, Reliability]) -> NDArray[np.uint8]:
    """Draw one plot per curve side by side, RGB (H, W, 3).

    Bars show the share of correct results, with their number at the foot; on the diagonal
    confidence and share are equal.
    """
    plots = []
    for name, curve in curves.items():
        plot = Plot(
            f"{name}: expected calibration error {100 * curve.expected_error:.1f} %",
            x=(f"{name} of the model", 0.0, 1.0),
            y=(
                "right results, %, with their number; line: perfect calibration",
                0.0,
                100.0,
            ),
            size_wh=(440, 360),
        )
        for each in curve.bins:
            if each.n:
                plot.bar((each.low, each.high), 100 * each.right, _BAR, str(each.n))
        plot.guide([(0.0, 0.0), (1.0, 100.0)])
        plots.append(plot.image)
    return np.hstack(plots)
