# SPDX-License-Identifier: Apache-2.0
"""Calibration of scores: reliability curves, and the threshold for a wanted error rate.

NumPy and OpenCV only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["draw_reliability", "reliability", "threshold_for"]

_SIDE, _MARGIN = 320, 48  # px, of a plot


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
    """Draw one plot per curve side by side, RGB.

    Bars show the share of correct results, with their number above; on the diagonal confidence and
    share are equal.
    """
    plots = []
    for name, curve in curves.items():
        plot = np.full((_SIDE + 2 * _MARGIN, _SIDE + 2 * _MARGIN, 3), 255, np.uint8)
        left, bottom = _MARGIN, _MARGIN + _SIDE
        for each in curve.bins:
            if not each.n:
                continue
            x0, x1 = (round(left + _SIDE * side) for side in (each.low, each.high))
            y = round(bottom - _SIDE * each.right)
            cv2.rectangle(plot, (x0 + 2, y), (x1 - 2, bottom), (120, 170, 230), cv2.FILLED)
            _write(plot, str(each.n), (x0 + 2, max(y - 4, _MARGIN + 10)))
        cv2.line(plot, (left, bottom), (left + _SIDE, bottom - _SIDE), (60, 60, 60), 1, cv2.LINE_AA)
        cv2.rectangle(plot, (left, _MARGIN), (left + _SIDE, bottom), (0, 0, 0), 1)
        _write(plot, f"{name}: expected error {curve.expected_error:.3f}", (left, _MARGIN - 12))
        _write(plot, "0", (left - 4, bottom + 16))
        _write(plot, "confidence", (left + _SIDE // 2 - 36, bottom + 16))
        _write(plot, "1", (left + _SIDE - 4, bottom + 16))
        plots.append(plot)
    return np.hstack(plots)


def _write(canvas: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
