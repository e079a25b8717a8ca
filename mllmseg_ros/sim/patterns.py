# SPDX-License-Identifier: Apache-2.0
"""Patterns of two colours, for the table and the objects on it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["pattern_mix"]

PATTERNS = ("flat", "checker", "gradient", "noise", "planks", "stripes", "dots", "weave")


def pattern_mix(pattern: str, side: int, seed: int) -> NDArray[np.float64]:
    """Return the share of the second colour, (side, side) in [0, 1].

    Args:
        pattern: one of PATTERNS.
        side: px.
        seed: of its noise.
    """
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, side)
    mix: NDArray[np.float64]
    if pattern == "flat":
        mix = np.zeros((side, side))
    elif pattern == "checker":
        halves = (ramp >= 0.5).astype(float)
        mix = np.abs(halves[:, None] - halves[None])
    elif pattern == "gradient":
        mix = np.broadcast_to(np.abs(2 * ramp - 1), (side, side))
    elif pattern == "planks":
        tone = np.repeat(rng.uniform(0, 1, size=8), side // 8)
        grain = cv2.resize(rng.uniform(0, 1, size=(side, 4)), (side, side)) - 0.5
        mix = np.clip(0.7 * tone[:, None] + 0.6 * grain, 0, 1)
    elif pattern == "stripes":
        turns = int(rng.integers(2, 6))
        mix = np.broadcast_to((np.sin(2 * np.pi * turns * ramp) > 0).astype(float), (side, side))
    elif pattern == "dots":
        turns = int(rng.integers(2, 5))
        wave = np.sin(2 * np.pi * turns * ramp)
        mix = (wave[:, None] * wave[None] > 0.45).astype(float)
    elif pattern == "weave":
        wave = np.sin(2 * np.pi * int(rng.integers(6, 14)) * ramp)
        mix = np.clip(0.5 + 0.3 * wave[:, None] + 0.3 * wave[None], 0, 1)
    else:
        coarse = cv2.resize(rng.uniform(0, 1, size=(16, 16)), (side, side))
        mix = np.clip(coarse + rng.uniform(-0.25, 0.25, size=(side, side)), 0, 1)
    return mix
