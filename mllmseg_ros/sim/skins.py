# SPDX-License-Identifier: Apache-2.0
"""Coloured textures for things and surfaces: prints, labels, grain, stone, tiles, cloth.

A skin has a main colour that covers more than half of it, so that the colour's name stays true,
and a second one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["DECORS", "GROUNDS", "MATERIALS", "draw_ground", "draw_skin", "fractal_noise"]

Mix = NDArray[np.float32]  # (S, S), share of the second colour, [0, 1]


def fractal_noise(
    side: int, rng: np.random.Generator, *, cells: int = 4, octaves: int = 4, stretch: float = 1.0
) -> Mix:
    """Draw smooth noise with finer and finer detail, (side, side) in [0, 1].

    Args:
        side: px.
        rng: random generator.
        cells: of the coarsest octave, per side.
        octaves: each has twice the cells and 0.55 of the weight of the one before.
        stretch: how much longer than wide its grains are, along the rows.
    """
    total = np.zeros((side, side), np.float32)
    weight = 1.0
    for _ in range(octaves):
        grid = rng.random((max(2, cells), max(2, round(cells / stretch))), dtype=np.float32)
        total += weight * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        weight, cells = 0.55 * weight, 2 * cells
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


# ---- prints on things; the rows go from top to bottom


def _plain(side: int, rng: np.random.Generator) -> Mix:
    return np.zeros((side, side), np.float32)


def _bands(side: int, rng: np.random.Generator) -> Mix:
    turns, share = int(rng.integers(2, 7)), rng.uniform(0.2, 0.42)
    rows = (np.arange(side) / side * turns + rng.random()) % 1 < share
    return np.repeat(rows[:, None], side, axis=1).astype(np.float32)


def _stripes(side: int, rng: np.random.Generator) -> Mix:
    turns, share = int(rng.integers(4, 12)), rng.uniform(0.2, 0.42)
    slant = int(rng.integers(-2, 3))
    columns, rows = np.meshgrid(np.arange(side) / side, np.arange(side) / side)
    return ((columns * turns + rows * slant) % 1 < share).astype(np.float32)


def _checks(side: int, rng: np.random.Generator) -> Mix:
    turns = int(rng.integers(2, 6))
    cells = np.floor(np.arange(side) / side * 2 * turns).astype(int)
    both = (cells[:, None] + cells[None]) % 2
    if rng.random() < 0.5:  # crossing bands, as of cloth
        line = (np.arange(side) / side * turns) % 1 < 0.35
        return (0.49 * line[:, None] + 0.49 * line[None]).astype(np.float32)
    return both.astype(np.float32) * np.float32(0.95)


def _dots(side: int, rng: np.random.Generator) -> Mix:
    turns = int(rng.integers(3, 8))
    wave = np.abs(((np.arange(side) / side * turns) % 1) - 0.5)
    return (np.hypot(wave[:, None], wave[None]) < rng.uniform(0.2, 0.36)).astype(np.float32)


def _flowers(side: int, rng: np.random.Generator) -> Mix:
    mix = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(5, 14))):
        middle, radius = rng.uniform(0, side, size=2), rng.uniform(0.04, 0.11) * side
        petals, turn = int(rng.integers(3, 8)), rng.uniform(0, np.pi)
        for angle in turn + 2 * np.pi * np.arange(petals) / petals:
            x, y = middle + radius * np.array([np.cos(angle), np.sin(angle)])
            cv2.circle(mix, (round(x), round(y)), max(1, round(radius * 0.55)), 1.0, -1)
    return mix


def _label(side: int, rng: np.random.Generator) -> Mix:
    """Draw two or three patches with marks like lines of writing."""
    mix = np.zeros((side, side), np.float32)
    top, bottom = sorted(rng.uniform(0.12, 0.9, size=2) * side)
    bottom = max(bottom, top + 0.25 * side)
    width = rng.uniform(0.25, 0.45) * side
    for start in np.arange(2) * side / 2 + rng.uniform(0, side / 4):
        left, right = round(start), round(start + width)
        cv2.rectangle(mix, (left, round(top)), (right, round(bottom)), 1.0, -1)
        for y in np.arange(top + 3, bottom - 2, rng.uniform(3, 7)):
            end = round(left + (right - left) * rng.uniform(0.4, 0.95))
            cv2.line(mix, (left + 2, round(y)), (end, round(y)), float(rng.uniform(0, 0.6)), 1)
    return mix


def _emblem(side: int, rng: np.random.Generator) -> Mix:
    mix = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        corners = rng.uniform(0.1, 0.9, size=2) + rng.uniform(-0.22, 0.22, size=(5, 2))
        hull = cv2.convexHull((corners * side).astype(np.int32))
        cv2.fillConvexPoly(mix, hull, float(rng.uniform(0.5, 1)))
    return mix


# ---- materials


def _wood(side: int, rng: np.random.Generator) -> Mix:
    warp = fractal_noise(side, rng, cells=3, octaves=3, stretch=3.0)
    rows = np.arange(side, dtype=np.float32)[:, None] / side
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(2, 6) * rows + 2.5 * warp))
    grain = fractal_noise(side, rng, cells=24, octaves=2, stretch=8.0)
    return (0.48 * rings + 0.32 * grain).astype(np.float32)


def _marble(side: int, rng: np.random.Generator) -> Mix:
    noise = fractal_noise(side, rng, cells=3, octaves=5)
    veins = 1 - np.abs(2 * fractal_noise(side, rng, cells=3, octaves=5) - 1)
    return np.clip(0.35 * noise + veins ** rng.uniform(6, 16), 0, 1)


def _speckle(side: int, rng: np.random.Generator) -> Mix:
    grain = fractal_noise(side, rng, cells=side // 4, octaves=2)
    return (grain > rng.uniform(0.55, 0.72)).astype(np.float32) * np.float32(rng.uniform(0.4, 1))


def _weave(side: int, rng: np.random.Generator) -> Mix:
    turns = int(rng.integers(5, 12))
    wave = np.sin(2 * np.pi * turns * np.arange(side, dtype=np.float32) / side)
    mix = np.clip(0.5 + 0.5 * np.sign(wave[:, None]) * wave[None], 0, 1) * 0.9
    return (mix * (0.7 + 0.3 * fractal_noise(side, rng, cells=8))).astype(np.float32)


def _worn(side: int, rng: np.random.Generator) -> Mix:
    return fractal_noise(side, rng, cells=int(rng.integers(2, 6)), octaves=5) ** 2


# ---- grounds: tables, floors, walls


def _planks(side: int, rng: np.random.Generator) -> Mix:
    n = int(rng.choice((4, 5, 8)))
    mix = np.zeros((side, side), np.float32)
    edges = np.linspace(0, side, n + 1).round().astype(int)
    grain = fractal_noise(side, rng, cells=16, octaves=4, stretch=rng.uniform(5, 20))
    contrast, gap = rng.uniform(0.2, 0.8), rng.uniform(0.2, 1.0)
    for top, bottom in itertools.pairwise(edges):
        start = int(rng.integers(side))
        for at in (start, start + side // 2):
            tone, length = rng.uniform(0, 1 - contrast), side // 2
            columns = np.arange(at, at + length) % side
            mix[top:bottom, columns] = (
                tone + contrast * np.roll(grain, int(rng.integers(side)), 0)[top:bottom, columns]
            )
            mix[top:bottom, at % side] = gap
        mix[top] = gap
    return mix


def _tiles(side: int, rng: np.random.Generator) -> Mix:
    n = int(rng.integers(2, 6))
    stone = fractal_noise(side, rng, cells=4, octaves=5)
    veins = _marble(side, rng) if rng.random() < 0.5 else stone
    mix = np.clip(rng.uniform(0.2, 0.6) * veins + 0.2 * stone, 0, 1)
    tone = rng.uniform(0, rng.uniform(0.05, 0.5), size=(n, n))
    mix += np.kron(tone, np.ones((-(-side // n),) * 2))[:side, :side].astype(np.float32)
    groove = np.arange(side) % (side / n) < rng.uniform(1, 5)
    mix[groove], mix[:, groove] = rng.uniform(0.5, 1.0, size=2)
    return mix


def _cloth(side: int, rng: np.random.Generator) -> Mix:
    base = (_checks, _bands, _dots, _flowers, _stripes)[int(rng.integers(5))](side, rng)
    thread = 0.15 * rng.random((side, side), dtype=np.float32)
    return np.clip(0.85 * base + thread, 0, 1)


def _two_boards(side: int, rng: np.random.Generator) -> Mix:
    mix = _wood(side, rng) * np.float32(rng.uniform(0.3, 1))
    edge = int(rng.integers(side // 3, side))
    mix[:, edge:] = np.clip(mix[:, edge:] + np.float32(rng.uniform(0.1, 0.5)), 0, 1)
    return mix


DECORS: dict[str, Callable[[int, np.random.Generator], Mix]] = {
    "plain": _plain,
    "banded": _bands,
    "striped": _stripes,
    "checkered": _checks,
    "dotted": _dots,
    "flowered": _flowers,
    "labelled": _label,
    "printed": _emblem,
}
MATERIALS: dict[str, Callable[[int, np.random.Generator], Mix]] = {
    "wood": _wood,
    "marble": _marble,
    "speckle": _speckle,
    "weave": _weave,
    "worn": _worn,
}
GROUNDS: dict[str, Callable[[int, np.random.Generator], Mix]] = {
    "floorboards": _planks,
    "tiles": _tiles,
    "cloth": _cloth,
    "two boards": _two_boards,
    "wood": _wood,
    "marble": _marble,
    "speckle": _speckle,
    "worn": _worn,
    "plain": _plain,
}
_ALL = {**GROUNDS, **MATERIALS, **DECORS}


def draw_skin(
    name: str, rgb: Sequence[float], second: Sequence[float], side: int, seed: int
) -> NDArray[np.uint8]:
    """Draw a texture (side, side, 3) in two colours.

    Args:
        name: a key of DECORS, MATERIALS or GROUNDS.
        rgb: the main colour, [0, 1].
        second: the second colour, [0, 1].
        side: px.
        seed: of its randomness.
    """
    mix = np.clip(_ALL[name](side, np.random.default_rng(seed)), 0, 1)[..., None]
    first = np.array(rgb, np.float32)
    colors = first + mix * (np.array(second, np.float32) - first)
    return np.round(255 * colors).astype(np.uint8)


def draw_ground(
    name: str, rgb: Sequence[float], second: Sequence[float], side: int, seed: int
) -> NDArray[np.uint8]:
    """Draw a ground (side, side, 3): a skin with slight stains in all colours."""
    skin = draw_skin(name, rgb, second, side, seed).astype(np.float32)
    rng = np.random.default_rng((seed, 1))
    tint = 1 + 0.12 * (fractal_noise(side, rng, cells=3)[..., None] - 0.5) * rng.uniform(-1, 1, 3)
    return np.clip(np.round(skin * tint), 0, 255).astype(np.uint8)
